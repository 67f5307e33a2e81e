"""One glance: is all well, what isn't, why, and what to do."""

import time

from flask import Blueprint, render_template

from apps.admin import link
from apps.admin.access.guard import Right, needs
from apps.admin.fields import inner
from apps.admin.overview import overview_of
from apps.admin.pages.machine import facts_of
from apps.admin.rendering import browser_host, charts

EVENTS_SHOWN = 6

overview = Blueprint("overview", __name__)


@overview.get("/")
@needs(Right.GLANCE)
def index() -> str:
    """Show the supervisor's snapshot, the machine, and the newest events."""
    snapshot = link.snapshot()
    found = overview_of(snapshot, browser_host(), charts(), time.monotonic())
    return render_template(
        "overview.html",
        overview=found,
        events=found.events[:EVENTS_SHOWN],
        facts=facts_of(inner(snapshot, "host"))[:4],
    )
