"""The status worker: health for monitors on a port of its own, and the watch over files.

The main process pushes its snapshot here on every change, and shows every second that it lives;
answers come from that copy, so that no request ever reaches the main process. When it shows no
life any more, that is the news: it is stuck or gone.
"""

import json
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from supervisor import __version__
from supervisor.policy.health_document import aged, not_ready
from supervisor.process import heartbeat_page
from supervisor.process.channel import Channel, Message
from supervisor.server.server import Server
from supervisor.source.fingerprints import differs
from supervisor.values.constants import SNAPSHOT_MAX_AGE_S
from supervisor.values.errors import ChannelClosed
from supervisor.values.watch_requests import WatchKey, WatchRequest
from supervisor.worker.entry import serve

STALE_S = 3.0  # a sign of life comes every second; this long without one, something is wrong
_FIRST_LOOK_S = 0.5
_THREADS = 4
_SEND_TIMEOUT_S = 1.0
_FIRST_PICTURE_S = 1.0  # it is on its way when this worker starts

Snapshot = dict[str, Any]

ENDPOINTS = {
    "/livez": "200 while the main process works, else 503",
    "/readyz": "200 when every app is ready (stopped ones aside), else 503 with the list",
    "/health": "the whole snapshot; 200 for pass and warn, 503 for fail",
    "/health/APP": "one app, by the same rule",
}


class Copy:
    """The last snapshot pushed by the main process, and its age.

    ``alive_at`` gives the monotonic time of that one's last sign of life.
    """

    def __init__(
        self, alive_at: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._alive_at = alive_at
        self._snapshot: Snapshot | None = None
        self._pushed_s = clock()

    def push(self, snapshot: Snapshot) -> None:
        """Take a new snapshot as a whole."""
        self._snapshot = snapshot
        self._pushed_s = self._clock()

    @property
    def age_s(self) -> float:
        """Seconds since the main process was heard of.

        One that lives and can't make a new snapshot when it should is not well either.
        """
        alive_at = min(self._alive_at(), self._pushed_s + SNAPSHOT_MAX_AGE_S)
        return self._clock() - max(alive_at, self._pushed_s)

    @property
    def fresh(self) -> bool:
        """Whether the main process has been heard of lately."""
        return self._snapshot is not None and self.age_s < STALE_S

    def snapshot(self) -> Snapshot:
        """Give the snapshot, with the truth about its own age."""
        snapshot = self._snapshot or {"status": "fail", "version": __version__, "apps": {}}
        snapshot = aged(snapshot, self._clock() - self._pushed_s)
        reason = None
        if not self.fresh:
            reason = f"the main process has not been heard of for {self.age_s:.0f} s"
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


def create_app(copy: Copy) -> Flask:
    """Make the status app, which answers from ``copy``."""
    app = Flask(__name__, static_folder=None)

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
        missing = not_ready(copy.snapshot())
        if missing:
            return _answer({"status": "fail", "not_ready": missing}, 503)
        return _answer({"status": "pass"})

    @app.get("/health")
    def health() -> Response:
        snapshot = copy.snapshot()
        return _health(snapshot, snapshot["status"])

    @app.get("/health/<name>")
    def health_of(name: str) -> Response:
        snapshot = copy.snapshot()
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


class FileWatch(threading.Thread):
    """Compares the files of apps with what was imported, and reports when they differ, or agree.

    ``report`` is called, in this thread, with the key of a watch and whether its files differ.
    """

    def __init__(self, report: Callable[[WatchKey, bool], None]) -> None:
        super().__init__(name="file-watch", daemon=True)
        self._report = report
        self._condition = threading.Condition()
        self._requests: list[dict[str, Any]] = []
        self._watches: dict[WatchKey, WatchRequest] = {}
        self._due: dict[WatchKey, float] = {}  # monotonic seconds
        self._reported: dict[WatchKey, bool] = {}

    def set(self, requests: list[dict[str, Any]]) -> None:
        """Watch exactly what these ask for; see `WatchRequest`."""
        with self._condition:
            if requests == self._requests:
                return
            self._requests = requests
            before = self._watches
            watches = [WatchRequest.from_json(request) for request in requests]
            self._watches = {watch.key: watch for watch in watches}
            same = {key for key, watch in self._watches.items() if before.get(key) == watch}
            self._reported = {k: v for k, v in self._reported.items() if k in same}
            self._due = {k: v for k, v in self._due.items() if k in same}
            self._condition.notify()

    def run(self) -> None:
        """Compare whenever a watch is due, for ever."""
        while True:
            with self._condition:
                wait_s = self._wait_s(time.monotonic())
                if wait_s is None or wait_s > 0:
                    self._condition.wait(wait_s)
                watches = list(self._watches.values())
            self._compare(watches)

    def _wait_s(self, now: float) -> float | None:
        """Return the seconds until a watch is due, None while there is none."""
        return min(
            (
                self._due.get(key, now + min(watch.every_s, _FIRST_LOOK_S)) - now
                for key, watch in self._watches.items()
            ),
            default=None,
        )

    def _compare(self, watches: list[WatchRequest]) -> None:
        now = time.monotonic()
        for watch in watches:
            key = watch.key
            if now < self._due.setdefault(key, now + min(watch.every_s, _FIRST_LOOK_S)):
                continue
            differ = differs({"watch": watch.watch})
            self._due[key] = time.monotonic() + watch.every_s
            if differ != self._reported.get(key, False):
                self._reported[key] = differ
                self._report(key, differ)


def _hear_first(channel: Channel, tell: Callable[[Message], None]) -> bool:
    """Take the first snapshot before anybody is answered: clients wait in the kernel's queue.

    Gives False when this worker is to end instead of serving.
    """
    deadline = time.monotonic() + _FIRST_PICTURE_S
    while (left_s := deadline - time.monotonic()) > 0:
        if select.select([channel], [], [], left_s)[0]:
            try:
                messages = channel.receive()
            except ChannelClosed:
                return False
            for message in messages:
                if message["type"] != "snapshot":
                    return False
                tell(message)
            if messages:
                break
    return True


def run_status(
    connection: socket.socket, listener: socket.socket, *, shutdown_timeout_s: float
) -> int:
    """Be the status worker on ``listener``."""
    channel = Channel(connection)
    pulses = heartbeat_page.own()
    assert pulses is not None  # it is forked, and runs in no other interpreter
    copy = Copy(lambda: pulses.main.at)
    lock = threading.Lock()

    def report(key: WatchKey, changed: bool) -> None:
        message = {"type": "files", "key": key.to_json(), "changed": changed}
        try:
            with lock:
                channel.send_all(message, timeout_s=_SEND_TIMEOUT_S)
        except ChannelClosed:
            return  # the loop notices too, and ends this worker

    watch = FileWatch(report)

    def tell(message: Message) -> None:
        copy.push(message["snapshot"])
        watch.set(message["watches"])

    server = Server()
    server.add(listener, create_app(copy), name="status", threads=_THREADS)
    watch.start()
    if not _hear_first(channel, tell):
        return 0
    serve(server, channel, shutdown_timeout_s=shutdown_timeout_s, on_message=tell)
    return 0
