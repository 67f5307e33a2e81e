"""The only page: the state of all apps, or the reason why it is unknown."""

import re
from typing import Any

from flask import Blueprint, current_app, render_template, request

from apps.admin.overview import overview_of
from supervisor.client import Client, ControlError

pages = Blueprint("pages", __name__)


@pages.get("/")
def index() -> str | tuple[str, int, dict[str, str]]:
    """Show the supervisor's snapshot; answer 503 with the reason if there is none."""
    try:
        snapshot = _snapshot()
    except ControlError as error:
        page = render_template("unreachable.html", error=error)
        return page, 503, {"Retry-After": "2"}
    host = re.sub(r":\d+$", "", request.host)
    return render_template("overview.html", overview=overview_of(snapshot, host))


def _snapshot() -> dict[str, Any]:
    client = Client.from_environment()
    client.timeout_s = current_app.config["CONTROL_TIMEOUT_S"]
    snapshot = client.call("snapshot")
    if not isinstance(snapshot, dict):
        raise ControlError("the supervisor's answer is not a snapshot", code="protocol")
    return snapshot
