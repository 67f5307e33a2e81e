"""The status worker: serves health to monitors on a port of its own; runs checks, watches files.

The main process pushes a snapshot on every change, and a heartbeat every second; all answers come
from that copy, so no request reaches the main process. When its heartbeats stop, health says that
the main process is stuck or has ended.
"""

import json
import math
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from supervisor import __version__
from supervisor.health.file_watcher import FileWatcher
from supervisor.policy.health_document import aged, not_ready
from supervisor.process import heartbeat_page
from supervisor.process.channel import Channel, Message
from supervisor.server.server import NoBodyParser, Server, ServerChannel
from supervisor.values.constants import SNAPSHOT_MAX_AGE_S
from supervisor.values.errors import ChannelClosed
from supervisor.values.watch_requests import WatchKey
from supervisor.worker.entry import serve

STALE_S = 3.0  # a heartbeat comes every second; after this long without one, health fails
_THREADS = 4
_SWITCH_S = 0.0005  # the loop, which has to accept, doesn't wait long for busy threads
_HEADER_MAX = 16 * 1024  # bytes; monitors send far less
_SEND_TIMEOUT_S = 1.0
_FIRST_SNAPSHOT_S = 1.0  # the main process sends it when this worker starts

Snapshot = dict[str, Any]

ENDPOINTS = {
    "/livez": "200 while the main process works, else 503",
    "/readyz": "200 when every app is ready (stopped ones aside), else 503 with the list",
    "/health": "the whole snapshot; 200 for pass and warn, 503 for fail",
    "/health/APP": "one app, by the same rule",
    "/metrics": "metrics for Prometheus",
}


class _StatusChannel(ServerChannel):
    """Takes no bodies: nothing here is ever sent to."""

    parser_class = NoBodyParser


class SnapshotCopy:
    """The last snapshot that the main process pushed, and its age.

    ``alive_at`` returns the monotonic time of the main process's last heartbeat.
    """

    def __init__(
        self, alive_at: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._alive_at = alive_at
        self._snapshot: Snapshot | None = None
        self._pushed_s = clock()
        self._started_s = math.inf

    def push(self, snapshot: Snapshot) -> None:
        """Replace the snapshot."""
        self._snapshot = snapshot
        self._pushed_s = self._clock()
        if "age_s" in snapshot:  # rounded, and late: still the uptime never goes back
            self._started_s = min(self._started_s, self._pushed_s - snapshot["age_s"])

    @property
    def age_s(self) -> float:
        """Seconds since the main process was known to work.

        Heartbeats don't count when a new snapshot is overdue.
        """
        alive_at = min(self._alive_at(), self._pushed_s + SNAPSHOT_MAX_AGE_S)
        return self._clock() - max(alive_at, self._pushed_s)

    @property
    def fresh(self) -> bool:
        """Whether the main process is known to work."""
        return self._snapshot is not None and self.age_s < STALE_S

    def snapshot(self) -> Snapshot:
        """Return the snapshot, with ages as of now and a check of the main process."""
        snapshot = self._snapshot or {"status": "fail", "version": __version__, "apps": {}}
        now = self._clock()
        snapshot = aged(snapshot, now - self._pushed_s)
        if "age_s" in snapshot:
            snapshot["age_s"] = round(now - self._started_s, 1)
        reason = None
        if not self.fresh:
            reason = f"the main process has sent no heartbeat for {self.age_s:.0f} s"
        check = {
            "status": "fail" if reason else "pass",
            "reason": reason,
            "hint": "it is stopped or overloaded: restart the service" if reason else None,
            "critical": True,
        }
        return {
            **snapshot,
            "status": "fail" if reason else snapshot["status"],
            "checks": {"main_process": check, **snapshot.get("checks", {})},
        }


def create_app(copy: SnapshotCopy, added_to: Callable[[Snapshot], Snapshot]) -> Flask:
    """Return the status app, which answers from ``copy`` and what ``added_to`` adds to it."""
    app = Flask(__name__, static_folder=None)

    def current() -> Snapshot:
        return added_to(copy.snapshot())

    @app.get("/")
    def index() -> Response:
        return _answer({"name": "flask-supervisor", "version": __version__, "paths": ENDPOINTS})

    @app.get("/livez")
    def livez() -> Response:
        if copy.fresh:
            return _answer({"status": "pass"})
        return _answer({"status": "fail", "reason": _main_reason(copy.snapshot())}, 503)

    @app.get("/readyz")
    def readyz() -> Response:
        missing = not_ready(current())
        if missing:
            return _answer({"status": "fail", "not_ready": missing}, 503)
        return _answer({"status": "pass"})

    @app.get("/health")
    def health() -> Response:
        snapshot = current()
        return _health(snapshot, snapshot["status"])

    @app.get("/metrics")
    def metrics() -> Response:
        from supervisor.health.metrics_text import metrics_text  # few are asked for it

        text, content_type = metrics_text(current(), request.headers.get("Accept", ""))
        return Response(text, content_type=content_type)

    @app.get("/health/<name>")
    def health_of(name: str) -> Response:
        snapshot = current()
        found = snapshot["apps"].get(name)
        if found is None:
            known = ", ".join(snapshot["apps"]) or "none"
            return _problem(404, f"there is no app '{name}'; known: {known}")
        if not copy.fresh:
            found = {**found, "status": "fail", "reason": _main_reason(snapshot)}
        return _health(found, found["status"])

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response:
        hint = f"the paths are: {', '.join(['/', *ENDPOINTS])}"
        answer = _problem(error.code or 500, f"{error.name}: {request.path}; {hint}")
        allowed = getattr(error, "valid_methods", None)
        if allowed:
            answer.headers["Allow"] = ", ".join(sorted(allowed))
        return answer

    @app.after_request
    def uncached(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return app


def _main_reason(snapshot: Snapshot) -> Any:
    return snapshot["checks"]["main_process"]["reason"]


def _answer(body: Any, code: int = 200, kind: str = "application/json") -> Response:
    text = json.dumps(body, ensure_ascii=False, indent=2) + "\n"
    return Response(text, code, content_type=kind)


def _health(body: Snapshot, status: str) -> Response:
    return _answer(body, 503 if status == "fail" else 200, "application/health+json")


def _problem(code: int, detail: str) -> Response:
    body = {"type": "about:blank", "status": code, "detail": detail}
    return _answer(body, code, "application/problem+json")


def _receive_first(channel: Channel, on_message: Callable[[Message], None]) -> bool:
    """Receive the first snapshot before any client is answered; return False to end instead."""
    deadline = time.monotonic() + _FIRST_SNAPSHOT_S
    while (left_s := deadline - time.monotonic()) > 0:
        if select.select([channel], [], [], left_s)[0]:
            try:
                messages = channel.receive()
            except ChannelClosed:
                return False
            for message in messages:
                if message["type"] != "snapshot":
                    return False
                on_message(message)
            if messages:
                break
    return True


def run_status(
    connection: socket.socket,
    listener: tuple[socket.socket, ...],
    *,
    shutdown_timeout_s: float,
    before_serving: Callable[[], None],
) -> int:
    """Run the status worker on ``listener`` and return its exit code.

    It calls ``before_serving`` when it is about to accept connections.
    Raises RuntimeError where it shares no page with the main process, whose heartbeats it needs.
    """
    from supervisor.health.live_checks import LiveChecks  # much, for this worker alone

    channel = Channel(connection, takes_sockets=True)
    page = heartbeat_page.own_page()
    if page is None:
        raise RuntimeError("the status worker has to be forked with a heartbeat page")
    copy = SnapshotCopy(lambda: page.main.at)
    lock = threading.Lock()

    def report(message: Message) -> None:
        try:
            with lock:
                channel.send_all(message, timeout_s=_SEND_TIMEOUT_S)
        except ChannelClosed:
            return  # the loop notices that too, and ends this worker

    def report_change(key: WatchKey, changed: bool) -> None:
        report({"type": "files", "key": key.to_json(), "changed": changed})

    watcher = FileWatcher(report_change)
    live = LiveChecks(
        copy.snapshot,
        lambda checks, host: report({"type": "checks", "checks": checks, "host": host}),
    )

    def on_message(message: Message) -> None:
        if message["type"] == "listener":
            server.replace(status, channel.take_sockets(message["sockets"]))
            return
        copy.push(message["snapshot"])
        watcher.set(message["watches"])
        live.follow(message["checks"], message["snapshot"])

    sys.setswitchinterval(_SWITCH_S)
    server = Server()
    status = server.add(
        listener,
        create_app(copy, live.added_to),
        name="status",
        threads=_THREADS,
        options={"max_request_header_size": _HEADER_MAX},
        channel_class=_StatusChannel,
        urgent=["/livez"],
    )
    watcher.start()
    if _receive_first(channel, on_message):
        before_serving()
        serve(server, channel, shutdown_timeout_s=shutdown_timeout_s, on_message=on_message)
    return 0
