"""What apps printed: filtered, followed, downloaded."""

from typing import Any

from flask import Blueprint, Response, render_template, request
from werkzeug.utils import secure_filename

from apps.admin import link

_SHOWN = 200
_LINE_MAX = 400  # characters on the page; the download has all
_DOWNLOADED = 2000
LEVELS = {"all": "all lines", "warning": "warnings and errors", "error": "errors"}
_WANTED = {"error": ("error", "critical"), "warning": ("warning", "error", "critical")}

logs = Blueprint("logs", __name__)

Line = dict[str, Any]


@logs.get("/apps/<name>/logs")
def index(name: str) -> str:
    """Show the newest lines; with ``follow`` the page keeps itself up to date."""
    level, words = request.args.get("level", "all"), request.args.get("q", "")
    found = chosen(link.ask("logs", app=name)["lines"], level, words)
    return render_template(
        "logs.html",
        name=name,
        lines=[{**line, "text": _cut(line["text"])} for line in found[-_SHOWN:]],
        more=max(0, len(found) - _SHOWN),
        levels=LEVELS,
        follow="follow" in request.args or not request.args,
    )


@logs.get("/apps/<name>/logs.txt")
def download(name: str) -> Response:
    """Send the lines as a text file."""
    level, words = request.args.get("level", "all"), request.args.get("q", "")
    found = chosen(link.ask("logs", app=name, newest=_DOWNLOADED)["lines"], level, words)
    text = "".join(f"{line['time']} {line['text']}\n" for line in found)
    headers = {"Content-Disposition": f'attachment; filename="{secure_filename(name)}.log"'}
    return Response(text, content_type="text/plain; charset=utf-8", headers=headers)


def chosen(lines: list[Line], level: str, words: str) -> list[Line]:
    """Return the lines of at least ``level`` that contain ``words``."""
    wanted = _WANTED.get(level)
    return [
        line
        for line in lines
        if (wanted is None or line.get("level") in wanted)
        and words.casefold() in line["text"].casefold()
    ]


def _cut(text: str) -> str:
    return text if len(text) <= _LINE_MAX else f"{text[:_LINE_MAX]} …"
