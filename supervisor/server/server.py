"""Serves WSGI apps on inherited listeners: waitress, with a drain, limits and clocks of our own.

waitress parses requests, queues and answers them. This package adds what it lacks to be replaced
while clients are connected, and to withstand any client:

* a drain that drops no request: requests in flight are finished, a connection without a request
  gets its first answer, idle keep-alive connections are closed after a while (closing them at once
  drops one in eight requests of a client that sends them at intervals);
* the monotonic clock for idle connections, because the wall clock of a Raspberry Pi is set;
* ``poll`` instead of ``select``, over what may have changed (`poll`); at the limit of connections
  the longest idle one is closed, where waitress stops accepting;
* threads that grow with the queue (`thread_pool`), and a quick 503 beyond that (`overload`);
* metrics (`connection`).

Needs the standard library and waitress alone; runs in the main thread of a worker.
"""

import resource
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from supervisor.server.acceptor import Listening, listen_on, move
from supervisor.server.app_adapter import WsgiApp
from supervisor.server.connection import ServerChannel
from supervisor.server.error_log import log
from supervisor.server.poll import SocketMap, Waker, Watched
from supervisor.server.slow_clients import HeaderParser, NoBodyParser
from supervisor.values.metrics import Metrics

__all__ = [
    "CONNECTIONS_MAX",
    "HeaderParser",
    "Listener",
    "NoBodyParser",
    "Server",
    "ServerChannel",
    "WsgiApp",
]

CONNECTIONS_MAX = 400  # of one worker; well below the usual limit of 1024 open files
_OWN_FILES = 64  # open files that are no connections, beside three for each listener
_FILES_AT_START = 24  # open files beside the listeners, while no app has opened any
_CONNECTIONS_LEAST = 64  # also where the limit of open files leaves no room for those of apps
_ROUND_S = 5.0  # the longest round of the loop; whatever is urgent wakes it
_DRAIN_ROUND_S = 0.02
_CROWDED_ROUND_S = 0.1
_CROWDED_S = 1.0  # so long after most were busy, answers end their connections: others wait
_IDLE_MIN_S = 0.3  # a client that has just connected is about to send a request
_NO_OPTIONS: Mapping[str, Any] = {}


class Listener(Protocol):
    """A listener of a `Server`; `Server.set_open` lets it take new connections or not."""

    accepting: bool
    draining: bool
    closed: bool
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
        self._full = False  # at the limit of connections, none of which is idle
        self._crowded = False  # that, or a listener is full
        self._crowded_until = 0.0
        self._every_s = 0.0
        self._heartbeat: Callable[[float], None] | None = None
        self._heartbeat_at = 0.0  # monotonic seconds

    def add(
        self,
        listener: socket.socket | tuple[socket.socket, ...],
        app: WsgiApp,
        *,
        name: str = "",
        threads: int = 4,
        max_threads: int | None = None,
        options: Mapping[str, Any] = _NO_OPTIONS,
        channel_class: type[ServerChannel] = ServerChannel,
        urgent: Iterable[str] = (),
        access_log: bool = False,
        is_open: bool = True,
    ) -> Listener:
        """Serve ``app`` on ``listener``, which may have several sockets, from now on.

        It has a thread pool of its own: ``threads``, growing up to ``max_threads`` (by default not
        at all). ``options`` are those of waitress, and valid. ``name`` is the key of its metrics.
        Requests for the paths ``urgent`` don't wait behind others. ``access_log``: each is logged.
        ``is_open``: see `set_open`.
        """
        server = listen_on(
            listener if isinstance(listener, tuple) else (listener,),
            app,
            self._sockets,
            name=name,
            threads=threads,
            max_threads=max(threads, max_threads or 0),
            options=options,
            urgent=urgent,
            wake=self._waker.wake,
        )
        server.channel_class = channel_class
        server.access_log = access_log
        server.evict_idle = self._evict_idle
        server.has_room = self._has_room
        server.is_crowded = lambda: time.monotonic() < self._crowded_until
        server.paused = self._paused
        self.set_open(server, is_open)
        self._listeners.append(server)
        return server

    def set_open(self, listener: Listener, is_open: bool) -> None:
        """Accept connections on ``listener``, unless a drain has begun; or no more of them.

        Those that are open then get their answers, and end. To be called in the loop.
        """
        listener.accepting = is_open and self._drain is None
        listener.draining = not listener.accepting
        listener.closed = not is_open

    def replace(self, listener: Listener, sockets: tuple[socket.socket, ...]) -> None:
        """Let ``listener`` accept on ``sockets`` in place of its own, which are closed.

        To be called in the loop. Its connections stay.
        """
        move(listener, sockets, self._sockets)

    def watch(self, fd: int, readable: Callable[[], None]) -> None:
        """Call ``readable`` in the loop whenever ``fd`` is readable.

        Before `run`: then a message that closes a listener counts before any later connection.
        """
        self._sockets.put_first(fd, Watched(readable))

    def pause(self) -> None:
        """Accept no connections until `resume`; new ones wait in the kernel's queue.

        Open connections are served. Does nothing during a drain.
        """
        self._set_paused(True)

    def resume(self) -> None:
        """Accept connections again."""
        self._set_paused(False)

    def _set_paused(self, paused: bool) -> None:
        self._paused = paused
        for listener in self._listeners:
            listener.paused = paused
        self.wake()

    def wake(self) -> None:
        """Wake the loop; callable from any thread and from a signal handler."""
        self._waker.wake()

    def every(self, seconds: float, heartbeat: Callable[[float], None]) -> None:
        """Call ``heartbeat`` in the loop with the monotonic time, at once and every ``seconds``."""
        self._every_s, self._heartbeat = seconds, heartbeat
        self._heartbeat_at = 0.0

    def metrics(self, now: float) -> dict[str, Metrics]:
        """Return the metrics of each listener, by name; callable from any thread."""
        return {listener.name: listener.metrics(now) for listener in self._listeners}

    def unwatch(self, fd: int) -> None:
        """Stop watching ``fd``; to be called in the loop."""
        self._sockets.pop(fd, None)

    def threads_run(self, *, timeout_s: float) -> bool:
        """Return whether a thread of each listener does a task within ``timeout_s`` seconds.

        Blocks; to be called before `run`.
        """
        return all(listener.pool.runs(timeout_s=timeout_s) for listener in self._listeners)

    def descriptors(self) -> list[int]:
        """Return the descriptors of listeners, connections and whatever else is watched."""
        return list(self._sockets)

    def drain(self, *, timeout_s: float, idle_s: float, cut_streams: bool = False) -> None:
        """Accept no more connections, and let `run` return when all requests are answered.

        Requests have ``timeout_s``, idle connections ``idle_s`` seconds; a second call can only
        shorten that. ``cut_streams``: so have answers that don't end by themselves. Callable from
        any thread and from a signal handler.
        """
        now = time.monotonic()
        if self._drain is not None:
            self._drain.deadline = min(self._drain.deadline, now + timeout_s)
        else:
            self._drain = _Drain(
                deadline=now + timeout_s, idle_until=now + idle_s, cut_streams=cut_streams
            )
            for listener in self._listeners:
                listener.accepting = False  # its owner closes it, not we
                listener.draining = True
        self.wake()

    def run(self) -> int:
        """Serve until a drain is over; return the number of requests that it cut off."""
        while True:
            self._waker.going_to_wait()
            now = time.monotonic()
            drain = self._drain
            if drain is not None:
                channels = self._channels()
                if drain.is_over(channels, now):
                    return sum(1 for channel in channels if channel.requests)
            events = self._sockets.wait(
                self._tend(now, _ROUND_S if drain is None else _DRAIN_ROUND_S)
            )
            self._waker.is_awake()
            self._sockets.handle(events)

    def _tend(self, now: float, wait_s: float) -> float:
        """Send a heartbeat and tend to the listeners, when due; return the seconds to wait."""
        if self._heartbeat is not None:
            if now >= self._heartbeat_at:
                self._heartbeat_at = now + self._every_s
                self._heartbeat(now)
            wait_s = min(wait_s, self._heartbeat_at - now)
        for listener in self._listeners:
            due_s = listener.tend(now)
            if due_s is not None:
                wait_s = min(wait_s, due_s)
        if self._crowded:
            self._evict_idle()
        return min(wait_s, _CROWDED_ROUND_S) if self._crowded else wait_s

    def _channels(self) -> list[ServerChannel]:
        return [channel for listener in self._listeners for channel in listener.channels()]

    def _evict_idle(self) -> None:
        """Close the longest idle connection when there are too many; note whether it is full."""
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
        channels = self._channels() if self._crowded else []
        if sum(1 for channel in channels if channel.requests) > len(channels) / 2:
            self._crowded_until = now + _CROWDED_S

    def _limit(self) -> int:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        ports = len(self._listeners)
        least = min(_CONNECTIONS_LEAST, files - _FILES_AT_START - ports)
        return max(1, least, min(CONNECTIONS_MAX, files - _OWN_FILES - 3 * ports))

    def _has_room(self, listener: Listening) -> bool:
        """Return whether to accept on ``listener``, also when every connection is busy.

        Each listener has its share of the connections, so that one app's clients can't block
        another app.
        """
        if not self._full:
            return True
        return len(listener.active_channels) < self._limit() // len(self._listeners)


def _is_full(channels: list[ServerChannel], limit: int, now: float) -> bool:
    """Close the longest idle of more than ``limit`` connections; return whether none is idle."""
    if len(channels) < limit:
        return False
    idle = [
        channel
        for channel in channels
        if not (channel.requests and not channel.blocked)
        and not channel.will_close
        and channel.waits_since <= now - _IDLE_MIN_S
    ]
    if idle and len(channels) > limit:
        min(idle, key=lambda channel: channel.waits_since).close_soon()
    return not idle


class _Drain:
    """A drain under way; times are monotonic seconds."""

    def __init__(self, *, deadline: float, idle_until: float, cut_streams: bool) -> None:
        self.deadline = deadline
        self._timeout_s = deadline - time.monotonic()
        self._idle_s = idle_until - time.monotonic()
        self._cut_streams = cut_streams
        self.idle_until = min(idle_until, deadline)

    def is_over(self, channels: list[ServerChannel], now: float) -> bool:
        """Close connections whose idle time is over; return whether the drain has ended."""
        if now >= self.deadline:
            return True
        if now >= self.idle_until:
            for channel in channels:
                if not channel.busy:
                    has_just_come = channel.waits_since > now - self._idle_s
                    if not (has_just_come or channel.has_unread):
                        channel.handle_close()
                elif self._cut_streams and channel.connected:
                    self._cut(channel, now)
        return all(channel.socket is None or not channel.connected for channel in channels)

    def _cut(self, channel: ServerChannel, now: float) -> None:
        """Close the connection of an answer that won't end in time by itself, and say so."""
        request = channel.in_thread if channel.requests else None
        if request is None or not request.stream:
            return
        lasts_s = now - request.since
        if request.endless or lasts_s > self._timeout_s:
            log.notice(
                "cut off %s, a stream that has lasted %.0f s: the app ends now, and would not "
                "be served until the stream ends",
                request.stream,
                lasts_s,
            )
            channel.handle_close()
