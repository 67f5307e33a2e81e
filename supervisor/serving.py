"""Serves WSGI apps on inherited listeners: waitress, with a drain and clocks of our own.

waitress parses, queues and answers; this module adds what it lacks for being replaced while
clients are connected:

* a drain that loses nothing: requests in flight are finished, a connection that has sent
  nothing yet gets its first answer, idle keep-alive connections are closed after a while (at
  once loses one in eight requests of a client that paces them);
* the monotonic clock for idle connections, since a Raspberry Pi's wall clock steps;
* ``poll`` instead of ``select``, and a full house that closes the longest idle connection
  instead of accepting nobody.

Needs the standard library and waitress alone; runs in the main thread of a worker.
"""

import logging
import resource
import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer, UnixWSGIServer
from waitress.task import ThreadedTaskDispatcher, WSGITask

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Any]

CONNECTIONS_MAX = 400  # of one worker; well below the usual limit of 1024 open files
_OWN_FILES = 64  # open files that are no connections, beside three for each listener
_TURN_S = 5.0  # the loop looks up at least this often; everything urgent wakes it
_DRAIN_TURN_S = 0.02


class _Task(WSGITask):
    """Answers one request, and says ``Connection: close`` with the last one of a drain."""

    def build_response_header(self) -> bytes:
        channel = self.channel
        if channel.closes_always or (channel.server.draining and len(channel.requests) <= 1):
            self.request.headers["CONNECTION"] = "close"
        header: bytes = super().build_response_header()
        return header


class ServerChannel(HTTPChannel):
    """A connection that knows whether it is busy, fresh or idle."""

    task_class = _Task
    closes_always = False  # every answer is the last one of its connection
    heard = False  # something has been received
    _active_at = 0.0

    @property
    def last_activity(self) -> float:
        """Monotonic seconds; waitress assigns wall time, which steps."""
        return self._active_at

    @last_activity.setter
    def last_activity(self, _wall_time: float) -> None:
        self._active_at = time.monotonic()

    def received(self, data: bytes) -> bool:
        """Take what came from the client."""
        self.heard = True
        taken: bool = super().received(data)
        return taken

    @property
    def busy(self) -> bool:
        """Whether a request is on its way in, being answered, or being sent."""
        return bool(
            self.requests
            or self.request
            or self.total_outbufs_len
            or self.will_close
            or self.close_when_flushed
        )


class _Listening:
    """What both kinds of listeners have in common; mixed into waitress's servers."""

    channel_class = ServerChannel
    draining = False
    next_maintenance = 0.0
    make_room: Callable[[], None]  # given by the `Server`
    # given by waitress
    accepting: bool
    active_channels: dict[int, ServerChannel]
    adj: Adjustments

    def readable(self) -> bool:
        now = time.monotonic()
        if now >= self.next_maintenance:
            self.next_maintenance = now + self.adj.cleanup_interval
            self._close_silent(now)
        return self.accepting

    def handle_accept(self) -> None:
        super().handle_accept()  # type: ignore[misc]  # of the waitress server this is mixed into
        self.make_room()

    def _close_silent(self, now: float) -> None:
        cutoff = now - self.adj.channel_timeout
        for channel in self.active_channels.values():
            if not channel.requests and channel.last_activity < cutoff:
                channel.will_close = True


class _TcpListener(_Listening, TcpWSGIServer):
    pass


class _UnixListener(_Listening, UnixWSGIServer):
    pass


class Listener(Protocol):
    """A listener of a `Server`; set ``accepting`` to let it take new connections or not."""

    accepting: bool
    draining: bool
    active_channels: dict[int, ServerChannel]

    def pull_trigger(self) -> None:
        """Wake the server's loop; callable from any thread and from a signal handler."""


class Server:
    """One loop, one thread pool, any number of listeners with an app each."""

    def __init__(self, *, threads: int) -> None:
        # A full queue is told by health, with a number; not by a log line per request.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._map: dict[int, Any] = {}
        self._listeners: list[Any] = []
        self._pool = ThreadedTaskDispatcher()
        self._pool.set_thread_count(threads)
        self._drain: _Drain | None = None

    def add(
        self,
        listener: socket.socket,
        app: WsgiApp,
        *,
        channel_class: type[ServerChannel] = ServerChannel,
    ) -> Listener:
        """Serve ``app`` on ``listener``, from now on."""
        tcp = listener.family != socket.AF_UNIX
        kind: Any = _TcpListener if tcp else _UnixListener
        server = kind(
            app,
            map=self._map,
            _sock=listener,
            dispatcher=self._pool,
            adj=Adjustments(sockets=[listener]),
            sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
            bind_socket=False,
        )
        server.channel_class = channel_class
        server.make_room = self._make_room
        self._listeners.append(server)
        return server  # type: ignore[no-any-return]

    def _make_room(self) -> None:
        """Close the longest idle connection when there are too many, of all listeners."""
        channels = [c for server in self._listeners for c in _channels(server)]
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        room = files - _OWN_FILES - 3 * len(self._listeners)
        if len(channels) <= max(1, min(CONNECTIONS_MAX, room)):
            return
        waiting = [c for c in channels if not c.requests and not c.will_close]
        if waiting:
            min(waiting, key=lambda channel: channel.last_activity).will_close = True

    def watch(self, fd: int, readable: Callable[[], None]) -> None:
        """Call ``readable`` in the loop whenever ``fd`` can be read."""
        self._map[fd] = _Watched(readable)

    def forget(self, fd: int) -> None:
        """Watch ``fd`` no more; to be called in the loop."""
        self._map.pop(fd, None)

    def drain(self, *, timeout_s: float, idle_s: float) -> None:
        """Accept nothing more and let `run` return when all clients are served.

        Requests get ``timeout_s``, idle connections ``idle_s`` seconds; a second call may only
        shorten that. Callable from any thread and from a signal handler.
        """
        now = time.monotonic()
        if self._drain is not None:
            self._drain.deadline = min(self._drain.deadline, now + timeout_s)
        else:
            self._drain = _Drain(deadline=now + timeout_s, idle_until=now + idle_s)
            for listener in self._listeners:
                listener.accepting = False  # it stays in the map: closing it closes its trigger
                listener.draining = True
        for listener in self._listeners:
            listener.pull_trigger()

    def run(self) -> int:
        """Serve until a drain is over; gives the number of requests it cut off."""
        while True:
            drain = self._drain
            if drain is not None:
                channels = [c for server in self._listeners for c in _channels(server)]
                if drain.is_over(channels, time.monotonic()):
                    return sum(1 for channel in channels if channel.requests)
            wasyncore.poll2(_TURN_S if drain is None else _DRAIN_TURN_S, self._map)


def _channels(server: Listener) -> list[ServerChannel]:
    return list(server.active_channels.values())


class _Drain:
    """A drain under way; times are monotonic seconds."""

    def __init__(self, *, deadline: float, idle_until: float) -> None:
        self.deadline = deadline
        self.idle_until = min(idle_until, deadline)

    def is_over(self, channels: list[ServerChannel], now: float) -> bool:
        """Close connections that are idle for good; say whether nobody is left to serve."""
        if now >= self.deadline:
            return True
        if now >= self.idle_until:
            for channel in channels:
                if not channel.busy:
                    channel.handle_close()
        return all(channel.socket is None or not channel.connected for channel in channels)


class _Watched:
    """An entry of the socket map for a descriptor that isn't a connection."""

    accepting = False

    def __init__(self, readable: Callable[[], None]) -> None:
        self._callback = readable

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        self._callback()

    handle_close = handle_read_event  # a hang-up is found by reading

    def handle_expt_event(self) -> None:
        """Ignore out-of-band data: these descriptors have none."""

    def handle_error(self) -> None:
        """Raise what wasyncore is handling: a worker that can't hear is of no use."""
        raise
