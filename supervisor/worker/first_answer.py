"""Waits, as a client of its port, until a program answers for the first time."""

import contextlib
import re
import select
import socket
import time
from collections.abc import Callable

from supervisor.values.constants import STAND_IN_HEADER
from supervisor.values.records import dataclass

_AGAIN_S = 0.1
_STEP_S = 2.0  # for the kernel to accept a connection, and to take a request
_HEADER_MAX = 16 * 1024
_CLOSED_MAX = 3  # a server of another protocol closes the connection without an answer
_BAD = 400
_SILENT, _ENDED = "it does not answer", "it has ended"
_HEADER_END = b"\r\n\r\n"
_STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})")
_ALL_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - a key


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAnswer:
    """What a program has to answer at ``listener`` before it is ready.

    Without ``health_path`` anything will do, else a status below 400 there. ``steer`` is called
    with the port from which the next connection comes, before it is made.
    """

    listener: socket.socket
    health_path: str | None
    steer: Callable[[int], None] | None

    def wait(self, pidfd: int, deadline: float) -> str | None:
        """Return None as soon as the program answers, else why it doesn't.

        Returns when the process of ``pidfd`` ends, at the latest at ``deadline`` (monotonic
        seconds). A program that has answered is not called silent: the last request may have come
        too late, or have reached the stand-in.
        """
        closed = 0
        reason = _SILENT
        while time.monotonic() < deadline:
            answer = self._ask(pidfd, deadline)
            closed += answer == b""
            fault = self._fault(answer, closed)
            if fault is None:
                return None
            if fault != _SILENT:
                reason = fault
            if _is_readable(pidfd, _AGAIN_S):
                return _ENDED
        return reason

    def _ask(self, pidfd: int, deadline: float) -> bytes | str:
        """Send one request; return the header of the answer, or why there is none."""
        path = self.health_path or "/"
        request = (
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: flask-supervisor\r\n"
            "Connection: close\r\n\r\n"
        )
        try:
            with self._connect() as client:
                client.sendall(request.encode())
                return _header(client, pidfd, deadline)
        except TimeoutError:
            return "it accepts no connection"
        except OSError as error:
            return f"it can't be reached: {error.strerror or error}"

    def _connect(self) -> socket.socket:
        address = self.listener.getsockname()
        client = socket.socket(self.listener.family, socket.SOCK_STREAM)
        try:
            client.settimeout(_STEP_S)
            if self.listener.family != socket.AF_UNIX:
                host = _ALL_ADDRESSES.get(address[0], address[0])
                client.bind((host, 0, *address[2:]))
                address = (host, *address[1:])
                if self.steer is not None:
                    self.steer(client.getsockname()[1])
            client.connect(address)
        except BaseException:
            client.close()
            raise
        return client

    def _fault(self, answer: bytes | str, closed: int) -> str | None:
        """Return why an answer, after ``closed`` empty ones, doesn't show that it is ready."""
        if isinstance(answer, str):
            return answer
        if not answer and (closed < _CLOSED_MAX or self.health_path is not None):
            return "it closes connections without an answer"
        if STAND_IN_HEADER.lower().encode() in answer.lower():
            return _SILENT
        status = _STATUS_LINE.match(answer)
        if self.health_path is not None and status is not None and int(status[1]) >= _BAD:
            return f"{self.health_path} answers {int(status[1])}"
        return None


def _header(client: socket.socket, pidfd: int, deadline: float) -> bytes | str:
    """Return the header of the answer, or what else the program sends first."""
    received = b""
    while _HEADER_END not in received and len(received) < _HEADER_MAX:
        if received and not received.startswith(b"HTTP/"[: len(received)]):
            return received
        waiting = select.poll()
        waiting.register(client, select.POLLIN)
        waiting.register(pidfd, select.POLLIN)
        readable = waiting.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not readable:
            return _SILENT
        if readable == [(pidfd, select.POLLIN)]:
            return _ENDED
        part = b""
        with contextlib.suppress(ConnectionResetError):
            part = client.recv(4096)
        if not part:
            return received
        received += part
    return received


def _is_readable(fd: int, timeout_s: float) -> bool:
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    return bool(waiting.poll(timeout_s * 1000))
