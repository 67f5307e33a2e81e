"""The process of the stand-in: one worker that answers every port whose app doesn't serve.

It inherits the listeners, and receives for each whether to answer, and the snapshot that the answer
is made of (`page`). Each answer closes its connection, because the app itself may answer the next.
"""

import socket
import time
from collections.abc import Iterable
from typing import Any

from supervisor.process.channel import Channel
from supervisor.server.server import HeaderParser, Listener, Server, ServerChannel
from supervisor.standin.page import Snapshot, answer
from supervisor.worker.entry import serve

_LINGER_S = 2.0  # a client that has sent nothing for this long has had time to read the answer
_LINGER_MAX_S = 30.0
_DISCARD_MAX = 64 * 1024 * 1024


class _LingeringChannel(ServerChannel):
    """Keeps reading for a moment after the answer: the lingering close of RFC 9112, section 9.6.

    Closing a socket with unread data resets the connection, and the client loses the answer.
    """

    parser_class = HeaderParser  # the answer doesn't depend on the body
    closes_always = True
    will_close: bool
    _lingers_until: float | None = None
    _lingers_at_most = 0.0
    _discarded = 0

    def handle_write(self) -> None:
        """Send the answer; afterwards check whether the lingering is over."""
        if self._lingers_until is not None:
            self._finish_lingering()
            return
        super().handle_write()

    def handle_close(self) -> None:
        """Close, or start to linger when the answer has just been sent."""
        if self._lingers_until is None and self.will_close and self.connected and self.has_received:
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                super().handle_close()
                return
            now = time.monotonic()
            self._lingers_until, self._lingers_at_most = now + _LINGER_S, now + _LINGER_MAX_S
            self.will_close = False
            return
        super().handle_close()

    def handle_read(self) -> None:
        """Receive a request, or discard what arrives after the answer."""
        if self._lingers_until is None:
            super().handle_read()
            return
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._discarded += len(data)
        self._lingers_until = min(time.monotonic() + _LINGER_S, self._lingers_at_most)
        if not data or self._discarded > _DISCARD_MAX:
            super().handle_close()

    def readable(self) -> bool:
        """Return whether to read; while lingering too, until its time is over."""
        if self._lingers_until is None:
            return bool(super().readable())
        self._finish_lingering()
        return self.socket is not None

    @property
    def busy(self) -> bool:
        """Whether the client is being served, which includes the lingering."""
        return super().busy or self._lingers_until is not None

    def _finish_lingering(self) -> None:
        if self._lingers_until is not None and time.monotonic() >= self._lingers_until:
            super().handle_close()


class StandIn:
    """The WSGI side: what each port answers; each message replaces all of it."""

    def __init__(self) -> None:
        self.snapshot: Snapshot = {"apps": {}}

    def app_for(self, name: str, *, control: bool) -> Any:
        """Return the WSGI app that answers for the app ``name``."""

        def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            found = answer(name, self.snapshot, environ, control=control)
            start_response("503 Service Unavailable", found.headers)
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [found.body]

        return application


def run_stand_in(
    connection: socket.socket,
    listeners: dict[str, tuple[tuple[socket.socket, ...], bool]],
    *,
    shutdown_timeout_s: float,
) -> int:
    """Run the stand-in and return its exit code.

    ``listeners`` are, by app, its sockets and whether the app shows the others (`control`).
    """
    server = Server()
    stand_in = StandIn()
    ports: dict[str, Listener] = {}
    for name, (sockets, control) in listeners.items():
        app = stand_in.app_for(name, control=control)
        # answered in the loop: where no thread can be started, there is still an answer
        ports[name] = server.add(
            sockets, app, name=name, threads=0, max_threads=0, channel_class=_LingeringChannel
        )
        ports[name].accepting = False

    def on_message(message: dict[str, Any]) -> None:
        stand_in.snapshot = message["snapshot"]
        answered = set(message["answer"])
        for name, port in ports.items():
            port.accepting = name in answered

    channel = Channel(connection)
    serve(server, channel, shutdown_timeout_s=shutdown_timeout_s, on_message=on_message)
    return 0
