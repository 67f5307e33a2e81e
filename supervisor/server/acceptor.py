"""The listeners of waitress, with clocks, limits and threads of our own."""

import errno
import logging
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer, UnixWSGIServer

from supervisor.server.connection import ServerChannel, Tally
from supervisor.server.overload import Overloaded
from supervisor.server.poll import SocketMap
from supervisor.server.thread_pool import Pool
from supervisor.values.metrics import Metrics

_REST_S = 1.0  # after an accept that failed for lack of open files: the next would fail too

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Any]


class Listening:
    """What both kinds of listeners have in common; mixed into waitress's servers."""

    channel_class = ServerChannel
    draining = False
    paused = False
    full = False  # at its own limit of connections, and none of them is idle
    settled = False  # see `polling`: `accepting` is set from outside
    # set by `listen_on`
    name: str
    tally: Tally
    pool: Pool
    connections_max: int | None  # of this listener alone
    make_room: Callable[[], None]
    has_room: Callable[["Listening"], bool]
    wake: Callable[[], None]
    # given by waitress
    accepting: bool
    active_channels: dict[int, ServerChannel]
    adj: Adjustments
    _cleanup_at = 0.0
    _rests_until = 0.0

    def tend(self, now: float) -> float | None:
        """Do what is due; returns the seconds after which something is due again, or None."""
        if now >= self._cleanup_at:
            self._cleanup_at = now + self.adj.cleanup_interval
            for channel in self.channels():
                if not channel.requests and channel.waits_since < now - self.adj.channel_timeout:
                    channel.let_go()
        wait_s = self.pool.tend(now)
        if self._rests_until > now:
            return min(wait_s or _REST_S, self._rests_until - now)
        return wait_s

    def readable(self) -> bool:
        """Return whether to accept the next connection; else the kernel keeps it."""
        return (
            self.accepting
            and not (self.paused or self.full)
            and self.has_room(self)
            and (not self._rests_until or time.monotonic() >= self._rests_until)
        )

    def handle_accept(self) -> None:
        """Accept a connection."""
        super().handle_accept()  # type: ignore[misc]  # of the waitress server this is mixed into
        self.make_room()

    def accept(self) -> Any:
        """Return the next connection, or None."""
        try:
            return super().accept()  # type: ignore[misc]
        except OSError as error:
            if error.errno == errno.EINVAL:  # shut down: see `handle_close`
                return None
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._rests_until = time.monotonic() + _REST_S
            logging.getLogger("waitress").warning(
                "cannot accept a connection: too many open files; trying again in %g s", _REST_S
            )
            return None

    def handle_close(self) -> None:
        """Accept nobody more: the listener's owner has shut it down, see `listeners.shut_down`."""
        self.accepting = False

    def add_task(self, channel: ServerChannel) -> None:
        """Let the first request of ``channel`` be answered, or turned away in a full house."""
        if channel.overloaded is not None:
            channel.requests[0].error = channel.overloaded
            return
        channel.queued_at, channel.queued_behind = time.monotonic(), self.tally.total
        self.pool.add_task(channel)

    def overloaded(self, now: float) -> Overloaded | None:
        """Say why a new request should be turned away, or None if it should not."""
        return self.pool.overloaded(now)

    def pull_trigger(self) -> None:
        """Make the loop turn soon; callable from any thread and from a signal handler."""
        self.wake()

    def channels(self) -> list[ServerChannel]:
        """Return the open connections."""
        return list(self.active_channels.values())

    def metrics(self, now: float) -> Metrics:
        """Return the metrics of this listener; callable from any thread."""
        return self.pool.metrics(now, connections=len(self.active_channels))


class _TcpListener(Listening, TcpWSGIServer):
    pass


class _UnixListener(Listening, UnixWSGIServer):
    pass


def listen_on(
    listener: socket.socket,
    app: WsgiApp,
    sockets: SocketMap,
    *,
    name: str,
    threads: int,
    max_threads: int,
    options: Mapping[str, Any],
    wake: Callable[[], None],
) -> Listening:
    """Put ``listener`` into the map, with a pool of its own; ``options`` are waitress's."""
    tally = Tally()
    pool = Pool(name=name, threads=threads, max_threads=max_threads, tally=tally)
    kind: Any = _UnixListener if listener.family == socket.AF_UNIX else _TcpListener
    server: Any = kind(
        app,
        map=sockets,
        _sock=listener,
        dispatcher=pool,
        adj=Adjustments(sockets=[listener], **options),
        sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
        bind_socket=False,
    )
    server.trigger.close()  # `wake` does it for all listeners, with fewer descriptors and calls
    server.name, server.tally, server.pool, server.wake = name, tally, pool, wake
    server.connections_max = options.get("connection_limit")
    return server  # type: ignore[no-any-return]
