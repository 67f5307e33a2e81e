"""Serves WSGI apps on inherited listeners: waitress, with a drain and clocks of our own.

waitress parses, queues and answers; this module and its parts add what it lacks for being
replaced while clients are connected, and for being left alone with any client:

* a drain that loses nothing: requests in flight are finished, a connection that has sent
  nothing yet gets its first answer, idle keep-alive connections are closed after a while (at
  once loses one in eight requests of a client that paces them);
* the monotonic clock for idle connections, since a Raspberry Pi's wall clock steps;
* ``poll`` instead of ``select``, over what may have changed (`polling`); at the limit of
  connections the longest idle one is closed, instead of accepting nobody;
* threads that grow with the queue (`pool`), a quick 503 when that is not enough (`overload`);
* metrics of it all (`answering`).

Needs the standard library and waitress alone; runs in the main thread of a worker.
"""

import resource
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from supervisor.server.acceptor import Listening, WsgiApp, listen_on
from supervisor.server.connection import ServerChannel
from supervisor.server.poll import SocketMap, Waker, Watched
from supervisor.values.metrics import Metrics

__all__ = ["CONNECTIONS_MAX", "Listener", "Server", "ServerChannel", "WsgiApp"]

CONNECTIONS_MAX = 400  # of one worker; well below the usual limit of 1024 open files
_OWN_FILES = 64  # open files that are no connections, beside three for each listener
_TURN_S = 5.0  # the loop looks up at least this often; everything urgent wakes it
_DRAIN_TURN_S = 0.02
_CROWDED_TURN_S = 0.1
_IDLE_MIN_S = 1.0  # a client that has just connected is about to ask: it isn't in the way
_NO_OPTIONS: Mapping[str, Any] = {}


class Listener(Protocol):
    """A listener of a `Server`; set ``accepting`` to let it take new connections or not."""

    accepting: bool
    draining: bool
    active_channels: dict[int, ServerChannel]

    def pull_trigger(self) -> None:
        """Wake the server's loop; callable from any thread and from a signal handler."""


class Server:
    """One loop, and any number of listeners with an app and a thread pool each."""

    def __init__(self) -> None:
        self._sockets = SocketMap()
        self._waker = Waker(self._sockets)
        self._listeners: list[Listening] = []
        self._drain: _Drain | None = None
        self._paused = False
        self._full = False  # at the limit of connections, and none of them is idle
        self._crowded = False  # that, or a listener is at its own limit
        self._every_s = 0.0
        self._beat: Callable[[float], None] | None = None
        self._beat_at = 0.0  # monotonic seconds

    def add(
        self,
        listener: socket.socket,
        app: WsgiApp,
        *,
        name: str = "",
        threads: int = 4,
        max_threads: int | None = None,
        options: Mapping[str, Any] = _NO_OPTIONS,
        channel_class: type[ServerChannel] = ServerChannel,
    ) -> Listener:
        """Serve ``app`` on ``listener``, from now on.

        It has threads of its own: ``threads``, growing up to ``max_threads`` (by default not at
        all). ``options`` are those of waitress, checked already (`waitress_options`). ``name``
        is that of its metrics.
        """
        server = listen_on(
            listener,
            app,
            self._sockets,
            name=name,
            threads=threads,
            max_threads=max(threads, max_threads or 0),
            options=options,
            wake=self._waker.wake,
        )
        server.channel_class = channel_class
        server.make_room = self._make_room
        server.has_room = self._has_room
        server.paused = self._paused
        if self._drain is not None:  # it came too late
            server.accepting, server.draining = False, True
        self._listeners.append(server)
        return server

    def watch(self, fd: int, readable: Callable[[], None]) -> None:
        """Call ``readable`` in the loop whenever ``fd`` can be read."""
        self._sockets[fd] = Watched(readable)

    def pause(self) -> None:
        """Accept nobody until `resume`: who connects waits in the kernel's queue meanwhile.

        Connections that are open are served as ever. Does nothing during a drain.
        """
        self._set_paused(True)

    def resume(self) -> None:
        """Accept again."""
        self._set_paused(False)

    def _set_paused(self, paused: bool) -> None:
        self._paused = paused
        for listener in self._listeners:
            listener.paused = paused
        self.wake()

    def wake(self) -> None:
        """Make the loop turn soon; callable from any thread and from a signal handler."""
        self._waker.wake()

    def every(self, seconds: float, beat: Callable[[float], None]) -> None:
        """Call ``beat`` in the loop with the monotonic time: at once, then every ``seconds``."""
        self._every_s, self._beat = seconds, beat
        self._beat_at = 0.0

    def metrics(self, now: float) -> dict[str, Metrics]:
        """Return the metrics of each listener, by name; callable from any thread."""
        return {listener.name: listener.metrics(now) for listener in self._listeners}

    def unwatch(self, fd: int) -> None:
        """Watch ``fd`` no more; to be called in the loop."""
        self._sockets.pop(fd, None)

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
                listener.accepting = False  # it stays in the map, and in the hands of its owner
                listener.draining = True
        self.wake()

    def run(self) -> int:
        """Serve until a drain is over; returns the number of requests it cut off."""
        while True:
            self._waker.going_to_wait()
            now = time.monotonic()
            drain = self._drain
            if drain is not None:
                channels = self._channels()
                if drain.is_over(channels, now):
                    return sum(1 for channel in channels if channel.requests)
            events = self._sockets.wait(
                self._tend(now, _TURN_S if drain is None else _DRAIN_TURN_S)
            )
            self._waker.is_awake()
            self._sockets.handle(events)

    def _tend(self, now: float, wait_s: float) -> float:
        """Do what is due; returns how long to wait for events."""
        if self._beat is not None:
            if now >= self._beat_at:
                self._beat_at = now + self._every_s
                self._beat(now)
            wait_s = min(wait_s, self._beat_at - now)
        for listener in self._listeners:
            due_s = listener.tend(now)
            if due_s is not None:
                wait_s = min(wait_s, due_s)
        if self._crowded:
            self._make_room()
        return min(wait_s, _CROWDED_TURN_S) if self._crowded else wait_s

    def _channels(self) -> list[ServerChannel]:
        return [channel for listener in self._listeners for channel in listener.channels()]

    def _make_room(self) -> None:
        """Close the longest idle connection when there are too many."""
        now = time.monotonic()
        self._crowded = False
        for listener in self._listeners:
            if listener.connections_max is not None:
                listener.full = _is_full(listener.channels(), listener.connections_max, now)
                self._crowded |= listener.full
        self._full = False
        if sum(len(one.active_channels) for one in self._listeners) >= self._limit():
            self._full = _is_full(self._channels(), self._limit(), now)
            self._crowded |= self._full

    def _limit(self) -> int:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return max(1, min(CONNECTIONS_MAX, files - _OWN_FILES - 3 * len(self._listeners)))

    def _has_room(self, listener: Listening) -> bool:
        """Return whether to accept on ``listener``, when every connection is busy.

        Then a listener has a right to its share, so that one app's clients can't block another.
        """
        if not self._full:
            return True
        return len(listener.active_channels) < self._limit() // len(self._listeners)


def _is_full(channels: list[ServerChannel], limit: int, now: float) -> bool:
    """Close the longest idle of more than ``limit`` connections; say whether none could be."""
    if len(channels) < limit:
        return False
    idle = [
        channel
        for channel in channels
        if not (channel.requests or channel.will_close or channel.waits_since > now - _IDLE_MIN_S)
    ]
    if idle and len(channels) > limit:
        min(idle, key=lambda channel: channel.waits_since).let_go()
    return not idle


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
