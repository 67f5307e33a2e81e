"""The one client of the control socket: commands and apps with ``control = true`` use it.

The protocol is one JSON object a line: ``{"id", "method", "params"}`` is answered by
``{"id", "result"}`` or ``{"id", "error": {"code", "message", "hint"}}``.

    >>> from supervisor.client import Client            # doctest: +SKIP
    >>> Client.from_environment().call("snapshot")["status"]   # doctest: +SKIP
    'pass'
"""

import contextlib
import hashlib
import json
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from supervisor.values.errors import ControlError, NotRunning

__all__ = [
    "SOCKET_VARIABLE",
    "Client",
    "ControlError",
    "NotRunning",
    "Peer",
    "abstract_name",
    "peer_of",
    "socket_address",
]

SOCKET_VARIABLE = "FLASK_SUPERVISOR_SOCKET"
_SUN_PATH_MAX = 107  # unix(7): sun_path holds 108 bytes, its closing NUL included
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid; unix(7)
_RETRY_S = 0.02
_ANSWER_MAX = 16 * 1024 * 1024


@contextlib.contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Yield an address of the Unix socket at ``path``, however long that path is.

    The address is valid inside the ``with`` block only: for a path too long for ``sun_path`` it
    goes through a descriptor of the folder.
    """
    if len(os.fsencode(path)) <= _SUN_PATH_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def abstract_name(folder: Path) -> str:
    """Return the abstract address (unix(7)) of the supervisor with the state folder ``folder``.

    It needs no disk: it is there while the folder is missing, or can't be written. One process at a
    time has it, until its end.
    """
    return f"\0flask-supervisor-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]}"


class Peer:
    """The process ``pid`` of the user ``uid`` that listens at an abstract name."""

    def __init__(self, pid: int, uid: int) -> None:
        self.pid = pid
        self.uid = uid

    def shares_root(self) -> bool:
        """Return whether a path is the same there and here: not in a container.

        True where that can't be found out.
        """
        if self.pid == 0:  # it is in another pid namespace
            return False
        try:
            return os.path.samestat(os.stat(f"/proc/{self.pid}/root"), os.stat("/"))
        except OSError:
            return True


def peer_of(connection: socket.socket) -> Peer:
    """Return who is at the other end of a Unix socket; raises OSError."""
    fields = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _gid = _CREDENTIALS.unpack(fields)
    return Peer(pid, uid)


class Client:
    """A client of the supervisor whose control socket is at ``path``, in its state folder.

    Each call opens a connection, and blocks for at most ``timeout_s`` seconds per read or write.
    Several threads may share a client. Errors name ``start`` as the command that starts the
    supervisor.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        timeout_s: float = 5.0,
        start: str = "flask-supervisor run",
    ) -> None:
        self.path = Path(path)
        self.timeout_s = timeout_s
        self._start = start

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Client":
        """Return a client of the supervisor that runs this app.

        Raises `NotRunning` if no supervisor runs the app, or if it lacks ``control = true``.
        """
        path = environment.get(SOCKET_VARIABLE)
        if not path:
            raise NotRunning(
                f"cannot find the supervisor: {SOCKET_VARIABLE} is not set",
                hint="run this app under flask-supervisor, with `control = true` in its section",
            )
        return cls(path)

    def call(self, method: str, **params: Any) -> Any:
        """Call ``method`` and return its result.

        Raises `NotRunning` if no supervisor listens, and `ControlError` for every other failure.
        """
        request = {"id": 1, "method": method, "params": params}
        try:
            with self._connect() as connection:
                # not as ASCII, which takes three times the bytes: the server limits them
                text = json.dumps(request, ensure_ascii=False)
                connection.sendall(text.encode("utf-8", "surrogatepass") + b"\n")
                answer = self._read_line(connection)
        except TimeoutError as error:
            raise ControlError(
                f"the supervisor did not answer within {self.timeout_s:g} s",
                code="timeout",
                hint="its main process may be stopped or overloaded: see its log",
            ) from error
        except OSError as error:
            raise ControlError(f"cannot reach the supervisor: {error}", code="io") from error
        return self._result(answer)

    def _connect(self) -> socket.socket:
        named = self._connect_by_name()
        if named is not None:
            return named
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self.timeout_s)
        try:
            with socket_address(self.path) as address:
                self._connect_patiently(connection, address)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            connection.close()
            raise NotRunning(
                f"no supervisor is running for {self.path.parent}",
                hint=f"start it with: {self._start}",
            ) from error
        except PermissionError as error:
            connection.close()
            raise ControlError(
                f"cannot connect to {self.path}: permission denied",
                code="denied",
                hint="the supervisor runs as another user: repeat the command with sudo",
            ) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect_by_name(self) -> socket.socket | None:
        """Connect to the abstract name, if a supervisor of ours has it.

        Any user of the machine can take a name that is free, so root trusts only the owner of the
        folder, and others only themselves.
        """
        folder = self.path.parent
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self.timeout_s)
        try:
            self._connect_patiently(connection, abstract_name(folder))
            peer = peer_of(connection)
            if peer.shares_root() and (peer.uid == os.geteuid() or self._may_trust(peer.uid)):
                return connection
        except ConnectionRefusedError:
            pass  # nobody has it
        except BaseException:
            connection.close()
            raise
        connection.close()
        return None

    def _may_trust(self, uid: int) -> bool:
        """Return whether root may trust a user as the owner of the folder, if there is one."""
        try:
            return os.geteuid() == 0 and self.path.parent.stat().st_uid == uid
        except OSError:
            return True

    def _connect_patiently(self, connection: socket.socket, address: str) -> None:
        """Connect, again and again while the queue is full: a Unix socket then refuses at once."""
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
        raise ControlError("the supervisor's answer is not of this protocol", code="protocol")
