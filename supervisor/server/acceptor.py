"""Waitress's listeners, with clocks, limits and threads of our own."""

import errno
import socket
import time
from _thread import get_ident  # the real one, whatever an app patches
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import Any

from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer, UnixWSGIServer

from supervisor.server.app_adapter import AppAdapter, WsgiApp
from supervisor.server.connection import Counters, ServerChannel
from supervisor.server.error_log import log
from supervisor.server.overload import Overloaded
from supervisor.server.poll import SocketMap
from supervisor.server.slow_clients import STREAM_UNSENT_MAX, notice_vanished
from supervisor.server.thread_pool import Pool
from supervisor.values.metrics import Metrics

_CLEANUP_S = 5.0  # the longest time between two looks at the connections
_ACCEPTED_MAX = 32  # connections in one round of the loop
_QUEUE_MAX = 32  # requests that may wait where some are urgent; others are rejected
_CLOSED_IDLE_S = 0.3  # at once would lose a request that is on its way
_ACCEPT_PAUSE_S = 1.0  # after an accept failed because too many files are open


class Listening:
    """What TCP and Unix listeners share; mixed into waitress's servers."""

    channel_class = ServerChannel
    draining = False
    closed = False  # `Server.set_open`: its connections end
    paused = False
    full = False  # at its own limit of connections, none of which is idle
    settled = False  # see `poll`: other code sets `accepting`
    # set by `listen_on`
    name: str
    counters: Counters
    pool: Pool
    connections_max: int | None  # of this listener alone
    evict_idle: Callable[[], None]
    has_room: Callable[["Listening"], bool]
    wake: Callable[[], None]
    is_crowded: Callable[[], bool]
    stream_adj: Adjustments  # for answers of unknown length
    urgent: frozenset[str]  # paths that don't wait behind others
    # set by waitress
    accepting: bool
    active_channels: dict[int, ServerChannel]
    adj: Adjustments
    access_log = False  # each request is logged
    _cleanup_at = 0.0
    _accepts_after = 0.0

    def tend(self, now: float) -> float | None:
        """Close idle connections, resize the pool; return the seconds to the next time, or None."""
        if now >= self._cleanup_at or self.closed:
            idle_s = _CLOSED_IDLE_S if self.closed else self.adj.channel_timeout
            self._cleanup_at = now + min(self.adj.cleanup_interval, _CLEANUP_S)
            for channel in self.channels():
                if channel.is_body_late(now):
                    channel.give_up_on_body()
                elif not channel.requests and channel.waits_since < now - idle_s:
                    channel.close_soon()
        wait_s = self.pool.tend(now)
        if self._accepts_after > now:
            return min(wait_s or _ACCEPT_PAUSE_S, self._accepts_after - now)
        return wait_s

    def readable(self) -> bool:
        """Return whether to accept the next connection; else it waits in the kernel's queue."""
        return (
            self.accepting
            and not (self.paused or self.full)
            and self.has_room(self)
            and (not self._accepts_after or time.monotonic() >= self._accepts_after)
        )

    def handle_accept(self) -> None:
        """Accept a connection; several where some requests are urgent and others may be many.

        Usually only one: another worker of the app may have less to do.
        """
        for _ in range(_ACCEPTED_MAX if self.urgent else 1):
            if not self.accepting:  # a drain has begun since the poll
                return
            before = len(self.active_channels)
            super().handle_accept()  # type: ignore[misc]  # of the waitress server that it extends
            is_accepted = len(self.active_channels) > before
            self.evict_idle()
            if not is_accepted or not self.readable():
                return

    def accept(self) -> Any:
        """Return the next connection and its address, or None."""
        try:
            return super().accept()  # type: ignore[misc]
        except OSError as error:
            if error.errno == errno.EINVAL:  # the main process has shut it down
                return None
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._accepts_after = time.monotonic() + _ACCEPT_PAUSE_S
            log.notice(
                "cannot accept a connection: too many open files; trying again in %g s",
                _ACCEPT_PAUSE_S,
            )
            return None

    def handle_close(self) -> None:
        """Stop accepting: the owner of the listener has shut it down (`listeners.shut_down`)."""
        self.accepting = False

    def add_task(self, channel: ServerChannel) -> None:
        """Queue the first request of ``channel`` for a thread; reject it when overloaded.

        What the loop has just received, and needs no app, the loop answers.
        """
        request = channel.requests[0]
        is_urgent = request.error is None and request.path in self.urgent
        if channel.overloaded is not None and not is_urgent:
            request.error = channel.overloaded
        if channel.receiving_in == get_ident() and request.error is not None:
            channel.answers_at_once = True
            return
        channel.queued_at, channel.queued_behind = time.monotonic(), self.counters.total
        if is_urgent:
            self.pool.add_first(channel)
        else:
            self.pool.add_task(channel)

    def overloaded(self, now: float) -> Overloaded | None:
        """Return why a new request has to be rejected, or None if it doesn't."""
        return self.pool.overloaded(now, queue_max=_QUEUE_MAX if self.urgent else None)

    def pull_trigger(self) -> None:
        """Wake the loop; callable from any thread and from a signal handler."""
        self.wake()

    def channels(self) -> list[ServerChannel]:
        """Return the open connections."""
        return list(self.active_channels.values())

    def metrics(self, now: float) -> Metrics:
        """Return the metrics of this listener; callable from any thread."""
        return self.pool.metrics(now, connections=len(self.active_channels))


class _TcpListener(Listening, TcpWSGIServer):
    logger = log

    def set_socket_options(self, connection: socket.socket) -> None:
        """Set those of the configuration, and those by which vanished clients are noticed."""
        super().set_socket_options(connection)
        notice_vanished(connection)

    def fix_addr(self, addr: Any) -> Any:
        """Return the address of a client; one that came by IPv4 is shown as such on every socket.

        On a socket for both families it would be ``::ffff:192.0.2.1`` (RFC 4291, section 2.5.5.2),
        which no app knows, nor ``trusted_proxy``.
        """
        return (unmapped(addr[0]), *addr[1:])


class _UnixListener(Listening, UnixWSGIServer):
    logger = log


class _Another:
    """A further socket of a listener, in the map."""

    accepting = True
    settled = False

    def __init__(self, listener: Any, other: socket.socket) -> None:
        self._listener = listener
        self._socket = other
        self.readable = listener.readable
        self.handle_close = listener.handle_close
        self.handle_error = listener.handle_error

    def writable(self) -> bool:
        """Return False: nothing is ever written."""
        return False

    def handle_read_event(self) -> None:
        """Accept a connection, as the listener does on its first socket."""
        first, self._listener.socket = self._listener.socket, self._socket
        try:
            self._listener.handle_accept()
        finally:
            self._listener.socket = first

    handle_expt_event = handle_read_event


def unmapped(host: str) -> str:
    """Return an IPv4 address that is written as one of IPv6 as IPv4 writes it; others unchanged."""
    address = host.lower().removeprefix("::ffff:")
    return address if "." in address and ":" not in address else host


def listen_on(
    listening: tuple[socket.socket, ...],
    app: WsgiApp,
    sockets: SocketMap,
    *,
    name: str,
    threads: int,
    max_threads: int,
    options: Mapping[str, Any],
    urgent: Iterable[str],
    wake: Callable[[], None],
) -> Listening:
    """Add a listener with ``listening`` to the map, with a thread pool of its own.

    ``options`` are waitress's.
    """
    listener, *others = listening
    options = dict(options)
    if options.get("trusted_proxy"):
        options["trusted_proxy"] = unmapped(options["trusted_proxy"])
    counters = Counters()
    pool = Pool(name=name, threads=threads, max_threads=max_threads, counters=counters)
    kind: Any = _UnixListener if listener.family == socket.AF_UNIX else _TcpListener
    server: Any = kind(
        AppAdapter(app, name),
        map=sockets,
        _sock=listener,
        dispatcher=pool,
        adj=Adjustments(sockets=[listener], **options),
        sockinfo=(listener.family, listener.type, listener.proto, listener.getsockname()),
        bind_socket=False,
    )
    server.trigger.close()  # `wake` serves all listeners with one descriptor
    server.name, server.counters, server.pool, server.wake = name, counters, pool, wake
    server.stream_adj = copy(server.adj)
    server.stream_adj.outbuf_high_watermark = min(
        STREAM_UNSENT_MAX, server.adj.outbuf_high_watermark
    )
    server.urgent = frozenset(urgent)
    server.connections_max = options.get("connection_limit")
    server.others = []
    _add_others(server, others, sockets)
    return server  # type: ignore[no-any-return]


def move(listener: Any, listening: tuple[socket.socket, ...], sockets: SocketMap) -> None:
    """Let a listener of `listen_on` accept on other sockets; its own are closed."""
    first, *others = listening
    for old in (listener.socket, *listener.others):
        del sockets[old.fileno()]
        old.close()
    listener.others = []
    listener.set_socket(first, sockets)
    listener.accepting = not listener.draining
    _add_others(listener, others, sockets)


def _add_others(listener: Any, others: list[socket.socket], sockets: SocketMap) -> None:
    for other in others:
        listener.others.append(other)
        sockets[other.fileno()] = _Another(listener, other)
