"""What happened: all events, filtered."""

from flask import Blueprint, render_template, request

from apps.admin.access.guard import Right, needs
from apps.admin.access.guard import events as known_events
from apps.admin.overview import events_of

_SHOWN = 200

events = Blueprint("events", __name__)


@events.get("/events")
@needs(Right.GLANCE)
def index() -> str:
    """Show the newest events of an app, of a kind, or with some words in them."""
    every = events_of(known_events()["events"])
    app, kind = request.args.get("app", ""), request.args.get("kind", "")
    words = request.args.get("q", "").casefold()
    found = [
        event
        for event in every
        if (not app or event.app == app)
        and (not kind or event.kind == kind)
        and words in event.text.casefold()
    ]
    return render_template(
        "events.html",
        events=found[:_SHOWN],
        more=max(0, len(found) - _SHOWN),
        apps=sorted({event.app for event in every if event.app}),
        kinds=sorted({event.kind for event in every if event.kind}),
    )
