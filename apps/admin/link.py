"""Talks to the supervisor, and remembers the last picture of when it did."""

import threading
import time
from typing import Any

from flask import Flask, current_app

from supervisor.client import Client, ControlError

_SETTINGS_S = 2.0  # so long a change of [admin] may take to have an effect
# codes that mean: no answer from the supervisor, whatever was asked
UNREACHABLE = ("not_running", "timeout", "io", "denied", "protocol")


class _Memory:
    """What was last known, for all threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.snapshot: tuple[float, dict[str, Any]] | None = None
        self.settings: tuple[float, dict[str, Any]] | None = None


def add_link(app: Flask) -> None:
    """Give ``app`` its memory of what the supervisor said last."""
    app.extensions["link"] = _Memory()


def _memory() -> _Memory:
    found: _Memory = current_app.extensions["link"]
    return found


def ask(method: str, *, timeout_s: float | None = None, **params: Any) -> Any:
    """Call a method of the supervisor; raises `ControlError`."""
    client = Client.from_environment()
    client.timeout_s = timeout_s or current_app.config["CONTROL_TIMEOUT_S"]
    return client.call(method, **params)


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
