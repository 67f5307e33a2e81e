"""Checks the keys of an app that is a program of its own (``command``), as they are written."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from supervisor.config.problems import Problems, did_you_mean

PLACEHOLDERS = ("fd", "port")  # replaced in the words of a command
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
# Of a worker that imports the app and answers its requests:
_OF_WORKERS = (
    *("access_log", "after_import", "max_requests", "max_threads", "process", "request_timeout_s"),
    *("threads", "waitress"),
)
_OF_PORTS = ("bind", "health_path", "host", "smoke")
_ENTRY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(\(\))?")  # as servers of Python name an app


def entry_of(command: Sequence[str]) -> str:
    """Return the module, or ``module:app``, that a command of Python names; "" if there is none."""
    for before, word in pairwise(command):
        if _ENTRY.fullmatch(word):
            return word
        if before == "-m" and Path(command[0]).name.startswith("python"):
            return word
        if word.endswith(".py") and "/" not in word:
            return word.removesuffix(".py")
    return ""


def is_background(app: dict[str, Any]) -> bool:
    """Return whether an app that has no port needs none."""
    return "command" in app and app.get("bind") != "app"


def check(path: str, app: dict[str, Any], problems: Problems) -> None:
    """Add what is wrong between ``command`` and the other keys of the app at key path ``path``."""
    if "command" not in app:
        if "target" not in app:
            text = "this key is required (or `command`)"
            problems.add(f"{path}.target", text)
        return
    command, place = app["command"], f"{path}.command"
    if command == []:
        problems.add(place, 'must be a list of words, as ["uvicorn", "--fd", "{fd}", "app:app"]')
    if "target" in app:
        problems.add(f"{path}.target", "exclude each other: either `target` or `command`")
    for key in _OF_WORKERS:
        if key in app:
            text = "has no effect with `command`: the program answers requests itself"
            problems.add(f"{path}.{key}", text)
    if app.get("workers", 1) != 1:
        text = "must be 1 with `command`: let the program start its own workers"
        problems.add_value(f"{path}.workers", app["workers"], text)
    words = [word for word in command if isinstance(word, str)] if isinstance(command, list) else []
    _check_placeholders(place, app, words, problems)
    if "port" not in app and not str(app.get("host", "")).startswith("unix:"):
        for key in _OF_PORTS:
            if key in app and app[key] not in ("supervisor", []):
                problems.add(f"{path}.{key}", "needs a `port`")


def _check_placeholders(
    place: str, app: dict[str, Any], words: list[str], problems: Problems
) -> None:
    has_listener = app.get("bind") != "app" and (
        "port" in app or str(app.get("host", "")).startswith("unix:")
    )
    for word in words:
        for name in _PLACEHOLDER.findall(word):
            if name not in PLACEHOLDERS:
                known = did_you_mean(name.lower(), PLACEHOLDERS, otherwise="known here")
                problems.add_value(place, word, f"unknown placeholder {{{name}}}{known}")
            elif name == "fd" and not has_listener:
                text = "{fd} is the listener of the app's port, and here is none"
                problems.add_value(place, word, text)
            elif name == "port" and "port" not in app:
                problems.add_value(place, word, "the app has no port")
