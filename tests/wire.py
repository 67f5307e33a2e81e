"""Sends and receives HTTP byte by byte, for tests of what a client sees on its connection."""

import socket
import struct
import time
from types import TracebackType

from harness import Answer

_NO_BODY = (204, 304)


def answer_each(listener: socket.socket, *answers: bytes) -> None:
    """Accept a connection for each of ``answers``, wait for a request, send it, and close."""
    for answer in answers:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)


class Wire:
    """One connection; ``answer`` and ``rest`` raise ConnectionResetError when it is reset."""

    def __init__(
        self, port: int = 0, *, host: str = "127.0.0.1", path: str = "", timeout_s: float = 20.0
    ) -> None:
        self._opened_at = self._sent_at = time.monotonic()
        if path:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.settimeout(timeout_s)
            self.socket.connect(path)
        else:
            self.socket = socket.create_connection((host, port), timeout=timeout_s)
        self._stream = self.socket.makefile("rb")

    def __enter__(self) -> "Wire":
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: object, _tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()
        self.socket.close()

    def reset(self) -> None:
        """Close the connection with RST, as a client that crashed or lost its network."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def send(self, data: bytes | str) -> "Wire":
        """Send ``data`` completely."""
        self._sent_at = time.monotonic()
        self.socket.sendall(data.encode() if isinstance(data, str) else data)
        return self

    def get(self, path: str = "/", *headers: str) -> "Wire":
        """Send a GET request that leaves the connection open."""
        lines = [f"GET {path} HTTP/1.1", "Host: example.test", *headers, "", ""]
        return self.send("\r\n".join(lines))

    def answer(self, method: str = "GET", *, since_sent: bool = False) -> Answer:
        """Read one answer to a request of ``method``; leave what follows it unread.

        Its seconds count from the opening of the connection, or from the last time it sent.
        """
        first = self._line()
        headers: dict[str, str] = {}
        while line := self._line():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        status = int(first.split()[1])
        body = b""
        if method == "HEAD" or status < 200 or status in _NO_BODY:
            pass
        elif headers.get("transfer-encoding") == "chunked":
            body = self._chunks()
        elif "content-length" in headers:
            body = self._exactly(int(headers["content-length"]))
        else:
            body = self._stream.read()
        since = self._sent_at if since_sent else self._opened_at
        return Answer(status, headers, body, time.monotonic() - since)

    def rest(self) -> bytes:
        """Read until the server closes the connection."""
        return self._stream.read()

    def rest_or_nothing(self) -> bytes:
        """Read until the server closes the connection; nothing if it resets it."""
        try:
            return self.rest()
        except ConnectionResetError:
            return b""

    def _line(self) -> str:
        line = self._stream.readline()
        if not line.endswith(b"\n"):
            raise ConnectionError(f"the connection was closed, after {line!r}")
        return line.decode("latin-1").rstrip("\r\n")

    def _exactly(self, length: int) -> bytes:
        data = self._stream.read(length)
        if len(data) < length:
            raise ConnectionError(f"the connection was closed, {length - len(data)} bytes early")
        return data

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._line(), 16):
            body += self._exactly(size)
            self._line()
        self._line()
        return body
