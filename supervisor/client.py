"""The one client of the control socket: commands and apps with ``control = true`` use it.

The protocol is one JSON object a line: ``{"id", "method", "params"}`` is answered by
``{"id", "result"}`` or ``{"id", "error": {"code", "message", "hint"}}``.

    >>> from supervisor.client import Client            # doctest: +SKIP
    >>> Client.from_environment().call("snapshot")["status"]   # doctest: +SKIP
    'pass'
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from supervisor.values.errors import ControlError, NotRunning

__all__ = ["SOCKET_VARIABLE", "Client", "ControlError", "NotRunning", "socket_address"]

SOCKET_VARIABLE = "FLASK_SUPERVISOR_SOCKET"
_SUN_PATH_MAX = 107  # unix(7): sun_path holds 108 bytes, its closing NUL included
_RETRY_S = 0.02
_ANSWER_MAX = 16 * 1024 * 1024


@contextlib.contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Give an address for the Unix socket at ``path``, however long that path is.

    The address is valid inside the ``with`` block only: a path too long for ``sun_path`` is
    reached through a descriptor of its folder.
    """
    if len(os.fsencode(path)) <= _SUN_PATH_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class Client:
    """Asks the supervisor whose control socket is at ``path``; each call is a connection.

    A call blocks for at most ``timeout_s`` seconds per read or write. Safe to use from several
    threads.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout_s: float = 5.0) -> None:
        self.path = Path(path)
        self.timeout_s = timeout_s

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Client":
        """Make the client of the supervisor that runs this app.

        Raises `NotRunning` where the app isn't run by a supervisor, or lacks ``control = true``.
        """
        path = environment.get(SOCKET_VARIABLE)
        if not path:
            raise NotRunning(
                f"the supervisor's control socket is not known: {SOCKET_VARIABLE} is not set",
                hint="run this app under flask-supervisor, with `control = true` in its section",
            )
        return cls(path)

    def call(self, method: str, **params: Any) -> Any:
        """Ask for ``method`` and give its result.

        Raises `NotRunning` when nobody answers, else `ControlError` with what was answered.
        """
        request = {"id": 1, "method": method, "params": params}
        try:
            with self._connect() as connection:
                connection.sendall(json.dumps(request).encode() + b"\n")
                answer = self._read_line(connection)
        except TimeoutError as error:
            raise ControlError(
                f"no answer from the supervisor within {self.timeout_s:g} s",
                code="timeout",
                hint="its main process may be stopped or overloaded: look at its log",
            ) from error
        except OSError as error:
            raise ControlError(f"cannot talk to the supervisor: {error}", code="io") from error
        return self._result(answer)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self.timeout_s)
        try:
            with socket_address(self.path) as address:
                self._connect_patiently(connection, address)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            connection.close()
            raise NotRunning(
                f"no supervisor is running for {self.path.parent}",
                hint="start it with: flask-supervisor run",
            ) from error
        except PermissionError as error:
            connection.close()
            raise ControlError(
                f"access to {self.path} is refused",
                code="denied",
                hint="the supervisor runs as another user: repeat the command with sudo",
            ) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect_patiently(self, connection: socket.socket, address: str) -> None:
        """Connect; a Unix socket whose queue is full refuses at once, where TCP would wait."""
        deadline = time.monotonic() + self.timeout_s
        while True:
            try:
                return connection.connect(address)
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise TimeoutError from error
                time.sleep(_RETRY_S)

    @staticmethod
    def _read_line(connection: socket.socket) -> bytes:
        received = bytearray()
        while not received.endswith(b"\n"):
            part = connection.recv(65536)
            if not part:
                break
            received += part
            if len(received) > _ANSWER_MAX:
                raise ControlError("the supervisor's answer is too long", code="protocol")
        return bytes(received)

    @staticmethod
    def _result(line: bytes) -> Any:
        if not line:
            raise ControlError("the supervisor closed the connection", code="protocol")
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ControlError("the supervisor's answer is not JSON", code="protocol") from error
        match answer:
            case {
                "error": {"code": str(code), "message": str(message), "hint": str() | None as hint}
            }:
                raise ControlError(message, code=code, hint=hint)
            case {"result": result}:
                return result
        raise ControlError("the supervisor's answer is not one of this protocol", code="protocol")
