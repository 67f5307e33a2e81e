"""A connection of waitress, and the answering of its requests: when it is busy, and what counts.

Accounting sits in the tasks, where the status is known and the answer ends; as a WSGI middleware
it would cost several times as much.
"""

import threading
import time
from typing import Any

from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.task import ErrorTask, Task, WSGITask

from supervisor.server.overload import Overloaded
from supervisor.values.metrics import CLASSES, LATENCY_BOUNDS_MS, bucket

_JOINED_MAX = 64 * 1024  # beyond, copying costs more than a packet more


class Tally:
    """Counts the answers of one listener; used by all its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._classes = [0] * len(CLASSES)
        self._latency = [0] * (len(LATENCY_BOUNDS_MS) + 1)
        self._latency_sum_s = 0.0
        self.turned_away = 0  # those 503s
        self.total = 0  # answers, but for the 503s of a full house
        self.serving: dict[object, float] = {}  # by thread: since when its request is complete

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
        """Count the 503 of a full house."""
        with self._lock:
            self._classes[4] += 1
            self.turned_away += 1

    @property
    def oldest(self) -> float | None:
        """Since when the oldest of the requests being answered is complete; monotonic seconds."""
        return min(list(self.serving.values()), default=None)

    def counted(self) -> dict[str, Any]:
        """Return the counters of `metrics.Metrics`."""
        with self._lock:
            return {
                "total": sum(self._classes),
                "by_class": dict(zip(CLASSES, self._classes, strict=True)),
                "rejected": self.turned_away,
                "latency": tuple(self._latency),
                "latency_sum_s": self._latency_sum_s,
            }


def _class_index(status: str) -> int:
    """Return the index of a status line's class; what is no status is the app's failure."""
    index = ord(status[0]) - ord("1") if status else -1
    return index if 0 <= index < len(CLASSES) else 4


class _CountedTask(Task):
    """Counts what it answers; mixed into waitress's tasks."""

    channel: "ServerChannel"
    wrote_header: bool
    status: str

    def service(self) -> None:
        channel = self.channel
        tally: Tally = channel.server.tally
        since = channel.heard_at
        try:
            super().service()
        except ClientDisconnected:
            tally.answered(self.status, time.monotonic() - since)
            raise
        except Exception:
            if self.wrote_header:  # else waitress answers with 500, and that is counted
                tally.answered("500", time.monotonic() - since)
            raise
        else:
            tally.answered(self.status, time.monotonic() - since)


class _AppTask(_CountedTask, WSGITask):
    """Answers one request by the app."""

    def build_response_header(self) -> bytes:
        """Say ``Connection: close`` with the last answer of a drain."""
        channel = self.channel
        if channel.closes_always or (channel.server.draining and len(channel.requests) <= 1):
            self.request.headers["CONNECTION"] = "close"
        header: bytes = super().build_response_header()
        return header

    def write(self, data: bytes) -> None:
        """Send ``data``; the header goes with the first of it, in one packet and one call."""
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
    """Answers a request that the app isn't asked about."""

    logged_write_no_body = True  # says nothing about the body that HEAD has not

    @property
    def has_body(self) -> bool:
        """Whether the answer has a body; waitress forgets about HEAD here."""
        return bool(super().has_body) and getattr(self.request, "command", None) != "HEAD"

    def service(self) -> None:
        if not isinstance(self.request.error, Overloaded):
            super().service()
            return
        self.channel.server.tally.rejected()
        Task.service(self)


class ServerChannel(HTTPChannel):
    """A connection that knows whether it is busy, fresh or idle."""

    task_class = _AppTask
    error_task_class = _ErrorTask
    closes_always = False  # every answer is the last one of its connection
    heard = False  # something has been received
    heard_at = 0.0  # monotonic seconds; after a request is complete: since when it is
    queued_at = 0.0  # since when it waits for a thread
    queued_behind = 0  # how many requests of its listener were answered before
    began_at = 0.0  # when the request that is on its way in began
    overloaded: Overloaded | None = None  # while a request is being turned away
    held_header = b""
    _active_at = 0.0

    @property
    def last_activity(self) -> float:
        """Monotonic seconds; waitress assigns wall time, which steps."""
        return self._active_at

    @last_activity.setter
    def last_activity(self, _wall_time: float) -> None:
        self._active_at = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether a request is on its way in, being answered, or being sent.

        Only then can a thread change what the connection waits for.
        """
        return bool(
            self.requests
            or self.request
            or self.total_outbufs_len
            or self.will_close
            or self.close_when_flushed
        )

    @property
    def waits_since(self) -> float:
        """Since when nothing has come of this connection; monotonic seconds.

        A header that trickles in is no activity, a body is.
        """
        request = self.request
        if request is not None and not request.headers_finished:
            return self.began_at
        return self._active_at

    @property
    def settled(self) -> bool:
        """Whether only an event of the socket changes what to wait for, see `polling`."""
        return not self.busy

    def let_go(self) -> None:
        """Close soon; for the thread of the loop."""
        self.will_close = True
        self._map.look(self._fileno)

    def received(self, data: bytes) -> bool:
        """Take what came from the client; in a full house, answer a complete request at once."""
        self.heard = True
        self.heard_at = self._active_at
        if self.request is None:
            self.began_at = self.heard_at
        if not self.requests:  # no thread has to do with this connection
            self.overloaded = self.server.overloaded(self.heard_at)
        taken: bool = super().received(data)
        if self.overloaded is not None:
            if self.requests:
                self.service()  # waits for nothing: the answer fits into the buffer
            self.overloaded = None
        return taken

    def service(self) -> None:
        """Answer the first of the requests; the thread is busy until all of this is done."""
        serving, key = self.server.tally.serving, object()  # another may have the next one soon
        serving[key] = self.heard_at
        try:
            super().service()
        finally:
            del serving[key]

    def write_soon(self, data: bytes) -> int:
        """Send, with the header that was held back for it."""
        if self.held_header:
            header, self.held_header = self.held_header, b""
            data = header + data
        sent: int = super().write_soon(data)
        return sent
