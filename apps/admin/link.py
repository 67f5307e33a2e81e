"""Talks to the supervisor, and remembers the last picture of when it did."""

import http.client
import json
import threading
import time
from typing import Any

from flask import Flask, current_app

from supervisor.client import Client, ControlError

_SETTINGS_S = 2.0  # so long a change of [admin] may take to have an effect
_HOST_S = 5.0
_HOST_WAIT_S = 1.0
_HOST_MAX = 4 * 2**20  # bytes
# codes that mean: no answer from the supervisor, whatever was asked
UNREACHABLE = ("not_running", "timeout", "io", "denied", "protocol")


class _Memory:
    """What was last known, for all threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.snapshot: tuple[float, dict[str, Any]] | None = None
        self.settings: tuple[float, dict[str, Any]] | None = None
        self.host: tuple[float, dict[str, Any]] | None = None


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
    """Call a method that works with files, or asks other machines."""
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


def host_facts() -> dict[str, Any]:
    """Return what the status port says about the machine; empty where it doesn't answer.

    Only the status worker knows it. It is this machine's own port, asked as any monitor would.
    """
    with _memory().lock:
        known = _memory().host
    if known is not None and time.monotonic() - known[0] < _HOST_S:
        return known[1]
    try:
        facts = _ask_status_port()
    except (OSError, http.client.HTTPException, ValueError, ControlError):
        facts = {}
    with _memory().lock:
        _memory().host = (time.monotonic(), facts)
    return facts


def _ask_status_port() -> dict[str, Any]:
    found = settings()
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(found["status_host"], found["status_host"])  # noqa: S104
    if not found["status_port"]:
        return {}
    connection = http.client.HTTPConnection(host, found["status_port"], timeout=_HOST_WAIT_S)
    try:
        connection.request("GET", "/health")
        document = json.loads(connection.getresponse().read(_HOST_MAX))
    finally:
        connection.close()
    facts = document.get("host") if isinstance(document, dict) else None
    return facts if isinstance(facts, dict) else {}
