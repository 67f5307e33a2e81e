"""HTTP connections to ports of this machine and others, and to Unix sockets."""

import http.client
import socket

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}  # noqa: S104 - a key


class PortConnection(http.client.HTTPConnection):
    """A connection to a port, or to the Unix socket that ``host`` names (``unix:/path``).

    An address that stands for all of this machine is reached by loopback. ``timeout`` is for each
    step, in seconds.
    """

    def __init__(self, host: str, port: int | None, *, timeout: float) -> None:
        address = host.removeprefix("unix:")
        super().__init__(_LOOPBACK.get(address, address), port, timeout=timeout)

    def connect(self) -> None:
        """Connect; raise OSError."""
        if not self.host.startswith("/"):
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.host)
