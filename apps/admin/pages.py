"""The one page there is: the whole picture, or why there is none."""

import re
from typing import Any

from flask import Blueprint, current_app, render_template, request

from apps.admin.picture import picture_of
from supervisor.client import Client, ControlError

pages = Blueprint("pages", __name__)


@pages.get("/")
def index() -> str | tuple[str, int, dict[str, str]]:
    """Show the supervisor's snapshot; answer 503 with the reason where there is none."""
    try:
        snapshot = _ask()
    except ControlError as error:
        page = render_template("unreachable.html", error=error)
        return page, 503, {"Retry-After": "2"}
    host = re.sub(r":\d+$", "", request.host)
    return render_template("picture.html", picture=picture_of(snapshot, host))


def _ask() -> dict[str, Any]:
    client = Client.from_environment()
    client.timeout_s = current_app.config["CONTROL_TIMEOUT_S"]
    snapshot = client.call("snapshot")
    if not isinstance(snapshot, dict):
        raise ControlError("the supervisor's answer is not a snapshot", code="protocol")
    return snapshot
