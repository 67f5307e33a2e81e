"""Waitress's connections and tasks: when a connection is busy, and what is counted.

Requests are counted in the tasks, where the status is known and the answer ends; a WSGI middleware
would cost several times as much.
"""

import contextlib
import socket
import threading
import time
from _thread import get_ident  # the real one, whatever an app patches
from dataclasses import dataclass
from typing import Any

from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.task import ErrorTask, Task, WSGITask

from supervisor.server import access_log
from supervisor.server.error_log import log
from supervisor.server.overload import Overloaded
from supervisor.server.slow_clients import BODY_GRACE_S, BODY_RATE, RequestTimeout, send_fresh
from supervisor.values.metrics import CLASSES, LATENCY_BOUNDS_MS, bucket

_JOINED_MAX = 64 * 1024  # bytes; copying a larger body costs more than another packet


class AppExitError(Exception):
    """An app raised an exception that is no `Exception` while it answered, as `sys.exit` does.

    Waitress would neither answer the request nor free its connection.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"{type(error).__name__} ends a request here, and not the process")


ENDLESS_TYPES = ("text/event-stream", "multipart/x-mixed-replace")


@dataclass(slots=True)
class InThread:
    """A request that a thread answers; ``since``: when it was complete, in monotonic seconds.

    ``stream`` names an answer whose length is not known, once it has begun. ``endless``: by its
    type, such an answer doesn't end by itself.
    """

    channel: "ServerChannel"
    since: float
    stream: str = ""
    endless: bool = False


class Counters:
    """Counts the answers of one listener; all its threads use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._classes = [0] * len(CLASSES)
        self._latency = [0] * (len(LATENCY_BOUNDS_MS) + 1)
        self._latency_sum_s = 0.0
        self.rejected_count = 0  # answers 503 because the server was overloaded
        self.total = 0  # all other answers
        self.serving: dict[object, InThread] = {}

    def answered(self, status: str, latency_s: float) -> None:
        """Count an answer."""
        index = _class_index(status)
        slot = bucket(latency_s * 1000)
        with self._lock:
            self._classes[index] += 1
            self._latency[slot] += 1
            self._latency_sum_s += latency_s
            self.total += 1

    def rejected(self) -> None:
        """Count a request that was rejected because the server is overloaded."""
        with self._lock:
            self._classes[4] += 1
            self.rejected_count += 1

    @property
    def oldest(self) -> float | None:
        """When the oldest request in a thread was complete, in monotonic seconds; None without."""
        return min((one.since for one in list(self.serving.values())), default=None)

    def counted(self) -> dict[str, Any]:
        """Return the counters of `metrics.Metrics`."""
        with self._lock:
            return {
                "total": sum(self._classes),
                "by_class": dict(zip(CLASSES, self._classes, strict=True)),
                "rejected": self.rejected_count,
                "latency": tuple(self._latency),
                "latency_sum_s": self._latency_sum_s,
            }


def _class_index(status: str) -> int:
    """Return the index of a status line's class; an invalid status counts as 5xx."""
    index = ord(status[0]) - ord("1") if status else -1
    return index if 0 <= index < len(CLASSES) else 4


class _CountedTask(Task):
    """Counts its answer; mixed into waitress's tasks."""

    channel: "ServerChannel"
    wrote_header: bool
    status: str
    logger = log

    def service(self) -> None:
        since = self.channel.received_at
        try:
            super().service()
        except ClientDisconnected:
            self._answered(self.status, since)
            raise
        except BaseException as error:
            if self.wrote_header:  # else waitress answers with 500, and that is counted
                self._answered("500", since)
            if isinstance(error, Exception):
                raise
            raise AppExitError(error) from error
        else:
            self._answered(self.status, since)

    def _answered(self, status: str, since: float) -> None:
        server, seconds = self.channel.server, time.monotonic() - since
        server.counters.answered(status, seconds)
        if server.access_log:
            access_log.write(self, status, seconds)


class _AppTask(_CountedTask, WSGITask):
    """Answers one request by calling the app."""

    body_bytes = 0  # that it has written

    def build_response_header(self) -> bytes:
        """Return the header; the last answer of a drain says ``Connection: close``."""
        channel, server = self.channel, self.channel.server
        is_last = server.draining and len(channel.requests) <= 1
        if channel.closes_always or is_last or server.is_crowded():  # others want the connection
            self.request.headers["CONNECTION"] = "close"
        header: bytes = super().build_response_header()
        if self.content_length is None and self.has_body:
            channel.begin_stream(self.request, self.response_headers)
        return header

    def write(self, data: bytes) -> None:
        """Send ``data``; the header is sent with its first part, in one packet and one call."""
        self.body_bytes += len(data)
        joined = type(data) is bytes and 0 < len(data) < _JOINED_MAX
        if self.wrote_header or not self.complete or not joined:
            super().write(data)
            return
        channel = self.channel
        channel.held_header = self.build_response_header()
        self.wrote_header = True
        super().write(data)
        if channel.held_header:  # the answer has no body
            channel.write_soon(b"")


class _ErrorTask(_CountedTask, ErrorTask):
    """Answers a request without calling the app."""

    logged_write_no_body = True  # waitress warns about the body of an answer to HEAD

    @property
    def has_body(self) -> bool:
        """Whether the answer has a body; here waitress doesn't consider HEAD."""
        return bool(super().has_body) and getattr(self.request, "command", None) != "HEAD"

    def service(self) -> None:
        if not isinstance(self.request.error, Overloaded):
            super().service()
            return
        server = self.channel.server
        server.counters.rejected()
        Task.service(self)
        if server.access_log:
            access_log.write(self, self.status, time.monotonic() - self.channel.received_at)


class ServerChannel(HTTPChannel):
    """A connection that knows whether it is busy, fresh or idle."""

    logger = log
    task_class = _AppTask
    error_task_class = _ErrorTask
    requests: list[Any]  # complete ones that are not answered
    closes_always = False  # after each answer
    request: Any  # the one that is being received, or None
    blocked = False  # a thread waits until the client reads
    has_received = False
    received_at = 0.0  # monotonic seconds of the last data; of a complete request: its end
    queued_at = 0.0  # when its request began to wait for a thread
    queued_behind = 0  # how many requests of its listener had been answered by then
    began_at = 0.0  # when the first data of an incomplete request arrived
    overloaded: Overloaded | None = None  # while a request is being rejected
    receiving_in = 0  # the loop's thread, while it receives and no other uses this connection
    answers_at_once = False  # see `acceptor.Listening.add_task`
    held_header = b""
    in_thread: InThread | None = None  # the latest of its requests
    _active_at = 0.0

    @property
    def last_activity(self) -> float:
        """Monotonic seconds; waitress assigns the wall time, which may be set."""
        return self._active_at

    @last_activity.setter
    def last_activity(self, _wall_time: float) -> None:
        self._active_at = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether a request is being received or answered, or an answer being sent.

        Only then may a thread change what the connection waits for.
        """
        return bool(
            self.requests
            or self.request
            or self.total_outbufs_len
            or self.will_close
            or self.close_when_flushed
        )

    @property
    def has_unread(self) -> bool:
        """Whether the client has sent what nobody has read yet; called in the loop's thread."""
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:  # nothing, or the connection has broken
            return False

    @property
    def waits_since(self) -> float:
        """Since when this connection is idle; monotonic seconds.

        The parts of a header don't count as activity, those of a body do at the least rate.
        """
        request = self.request
        if request is None:
            return self._active_at
        if not request.headers_finished:
            return self.began_at
        return min(self._active_at, self._body_paid_until())

    def _body_paid_until(self) -> float:
        """Return until when, at the least rate, what has come of the body is enough."""
        received: int = self.request.body_bytes_received
        return self.began_at + received / BODY_RATE

    def is_body_late(self, now: float) -> bool:
        """Return whether a body is being received, and too slowly."""
        request = self.request
        is_body = request is not None and request.headers_finished and not self.requests
        return is_body and now > self._body_paid_until() + BODY_GRACE_S

    @property
    def settled(self) -> bool:
        """Whether only an event of the socket can change what to wait for; see `poll`."""
        return not self.busy

    def close_soon(self) -> None:
        """Close in the next round of the loop; called in the loop's thread."""
        self.will_close = True
        self._map.recheck(self._fileno)

    def give_up_on_body(self) -> None:
        """Answer 408, since the body comes too slowly; called in the loop's thread."""
        request = self.request
        with self.requests_lock:
            self.request = None
            request.error = RequestTimeout(f"less than {BODY_RATE:g} bytes of it came in a second")
            self.requests.append(request)
        self.service()  # doesn't block: the answer fits into the buffer

    def begin_stream(self, request: Any, headers: list[tuple[str, str]]) -> None:
        """Note that an answer of unknown length begins; its connection ends with it."""
        kind = next((v for name, v in headers if name.lower() == "content-type"), "")
        if self.in_thread is not None:
            self.in_thread.stream = f"{request.command} {request.path}"
            self.in_thread.endless = kind.lower().startswith(ENDLESS_TYPES)
        self.adj = self.server.stream_adj
        if self.socket is not None and self.socket.family != socket.AF_UNIX:
            send_fresh(self.socket)

    def _flush_outbufs_below_high_watermark(self) -> None:
        if self.total_outbufs_len <= self.adj.outbuf_high_watermark:
            return
        self.blocked = True
        try:
            super()._flush_outbufs_below_high_watermark()
        finally:
            self.blocked = False

    def received(self, data: bytes) -> bool:
        """Parse data from the client; answer a complete request at once if it needs no app."""
        self.has_received = True
        self.received_at = self._active_at
        if self.request is None:
            self.began_at = self.received_at
        if not self.requests:  # no thread uses this connection
            self.receiving_in = get_ident()
            self.overloaded = self.server.overloaded(self.received_at)
        taken: bool = super().received(data)
        self.overloaded, self.receiving_in = None, 0
        if self.answers_at_once:
            self.answers_at_once = False
            self.service()  # doesn't block: the answer fits into the buffer
        return taken

    def service(self) -> None:
        """Answer the first of the requests, in a thread."""
        serving, key = self.server.counters.serving, object()  # the next may start before the end
        self.in_thread = serving[key] = InThread(self, self.received_at)
        try:
            super().service()
        except BaseException:
            self._abandon()
            raise
        finally:
            del serving[key]
            if self.request is not None:  # it was not read from meanwhile
                self.began_at = time.monotonic()

    def _abandon(self) -> None:
        """Free the connection after an error that waitress doesn't handle, as on a full disk."""
        with self.requests_lock:
            waiting, self.requests = self.requests[1:], []
            self.close_when_flushed = True
        for request in waiting:
            with contextlib.suppress(OSError):  # of its temporary file
                request.close()
        self.server.pull_trigger()

    def write_soon(self, data: bytes) -> int:
        """Send ``data``, behind the header that was held back."""
        if self.held_header:
            header, self.held_header = self.held_header, b""
            data = header + data
        sent: int = super().write_soon(data)
        return sent
