"""One app: why it is as it is, what it did, and the levers."""

import time

from flask import Blueprint, abort, flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from apps.admin import actions, link
from apps.admin.access import guard
from apps.admin.access.guard import Right, needs, visitor
from apps.admin.fields import mappings
from apps.admin.overview import app_overview, checks_of, events_of
from apps.admin.rendering import browser_host, charts

_EVENTS_SHOWN = 15

app_page = Blueprint("app", __name__)


@app_page.get("/apps/<name>")
@needs(Right.GLANCE)
def index(name: str) -> str:
    """Show the app; its traceback and the source only to those who have logged in."""
    snapshot = link.snapshot()
    found = dict(mappings(snapshot.get("apps"))).get(name)
    if found is None:
        abort(404)
    known = visitor().is_known
    failure = link.ask_long("admin.failure", app=name)["failure"] if known else None
    events = guard.events(app=name)["events"]
    return render_template(
        "app.html",
        app=app_overview(name, found, browser_host(), charts().of(name, time.monotonic())),
        failure=failure,
        checks=[one for one in checks_of(snapshot.get("checks")) if one.app == name],
        events=events_of(events[-_EVENTS_SHOWN:]),
    )


@app_page.post("/apps/<name>/<verb>")
def act(name: str, verb: str) -> Response:
    """Start, stop, restart or reload the app; the answer comes at once, the outcome shows."""
    if verb not in actions.VERBS:
        abort(404)
    actions.operate(name, verb)
    flash(actions.VERBS[verb].format(app=name))
    return redirect(url_for("app.index", name=name))
