"""Talks to the supervisor, and remembers the last picture of when it did."""

import os
import threading
import time
from pathlib import Path
from typing import Any

from flask import Flask, current_app

from supervisor.client import SOCKET_VARIABLE, Client, ControlError

_SETTINGS_S = 2.0  # so long a change of [admin] may take to have an effect
# codes that mean: no answer from the supervisor, whatever was asked
UNREACHABLE = ("not_running", "timeout", "io", "denied", "protocol")


class _Memory:
    """What was last known, for all threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.snapshot: tuple[float, dict[str, Any]] | None = None
        self.settings: tuple[float, dict[str, Any]] | None = None
        self.configuration: tuple[list[Any], dict[str, Any]] | None = None


def add_link(app: Flask) -> None:
    """Give ``app`` its memory of what the supervisor said last."""
    app.extensions["link"] = _Memory()


def _memory() -> _Memory:
    found: _Memory = current_app.extensions["link"]
    return found


def ask(method: str, *, timeout_s: float | None = None, **params: Any) -> Any:
    """Call a method of the supervisor; raises `ControlError`."""
    return client(timeout_s or current_app.config["CONTROL_TIMEOUT_S"]).call(method, **params)


def client(timeout_s: float) -> Client:
    """Return a client of the supervisor."""
    found = Client.from_environment()
    found.timeout_s = timeout_s
    return found


def ask_long(method: str, **params: Any) -> Any:
    """Call a method that works with files, or asks other machines.

    Only where the supervisor answers at all: else nobody has to wait long to read so.
    """
    ask("admin.settings")
    return ask(method, timeout_s=current_app.config["FILES_TIMEOUT_S"], **params)


def snapshot() -> dict[str, Any]:
    """Return the state of everything as of now; raises `ControlError`."""
    found = ask("snapshot")
    if not isinstance(found, dict):
        raise ControlError("the supervisor's answer is not a snapshot", code="protocol")
    with _memory().lock:
        _memory().snapshot = (time.monotonic(), found)
    return found


def last_snapshot() -> tuple[float, dict[str, Any]] | None:
    """Return the age in seconds and the last snapshot that there was, or None."""
    with _memory().lock:
        found = _memory().snapshot
    return None if found is None else (time.monotonic() - found[0], found[1])


def app_snapshot(name: str) -> dict[str, Any]:
    """Return the state of one app; raises `ControlError` with code ``unknown_app``."""
    apps = snapshot().get("apps")
    found = apps.get(name) if isinstance(apps, dict) else None
    if not isinstance(found, dict):
        raise ControlError(f"there is no app {name!r}", code="unknown_app")
    return found


def settings() -> dict[str, Any]:
    """Return what the configuration says about this app; raises `ControlError`."""
    with _memory().lock:
        known = _memory().settings
    if known is not None and time.monotonic() - known[0] < _SETTINGS_S:
        return known[1]
    found: dict[str, Any] = ask("admin.settings")
    with _memory().lock:
        _memory().settings = (time.monotonic(), found)
    return found


def configuration() -> dict[str, Any]:
    """Return the text of the configuration and its history; raises `ControlError`.

    The supervisor reads them in a process of their own: it is asked when one has changed.
    """
    with _memory().lock:
        known = _memory().configuration
    present = _stamps(known[1]["file"]) if known else []  # file unknown: the next call asks again
    if known is not None and present == known[0]:
        return known[1]
    found: dict[str, Any] = ask_long("config.text")
    with _memory().lock:
        _memory().configuration = (present, found)
    return found


def _stamps(file: str) -> list[Any]:
    """Return what changes when the file does, or the folder of the history."""
    found: list[Any] = [file]
    for path in (Path(file), Path(os.environ[SOCKET_VARIABLE]).parent / "config"):
        try:
            status = path.stat()
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        except OSError as error:
            found.append(error.errno)
    return found
