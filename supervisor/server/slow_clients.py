"""What clients may hold up that are slow, or that have vanished without a word.

A phone that leaves its Wi-Fi sends no FIN. The kernel then notices: by unanswered probes while
nothing is sent, by unacknowledged data otherwise (tcp(7)).
"""

import contextlib
import socket

from waitress.parser import HTTPRequestParser
from waitress.utilities import Error, RequestEntityTooLarge

_GONE_S = 40  # so long without an acknowledgement: well below a minute, and any network heals
_TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", 18)  # linux/tcp.h
_TCP_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)
_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),  # seconds
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
    (socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, _GONE_S * 1000),
)

# What a stream has sent, and its client has not received, gets old. Per stream in bytes: here, and
# in the kernel besides what the network carries.
STREAM_UNSENT_MAX = 64 * 1024
# A body may be slow, but not without end; as Apache's mod_reqtimeout has it: body=20,MinRate=500.
BODY_GRACE_S = 20.0
BODY_RATE = 500.0  # bytes a second
_WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")


class RequestTimeout(Error):
    """408: the body came too slowly; used as the error of a waitress request."""

    code = 408
    reason = "Request Timeout"


class HeaderParser(HTTPRequestParser):
    """Takes a request as complete after its header."""

    announces_body = False

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the header; its body won't be read."""
        super().parse_header(header_plus)
        self.announces_body = getattr(self, "body_rcv", None) is not None
        self.body_rcv = None
        self.content_length = 0
        self.expect_continue = False


class _MethodNotAllowed(Error):
    code = 405
    reason = "Method Not Allowed"

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        """Return status, headers and body, as waitress asks for them."""
        status, headers, body = super().to_response(ident)
        return status, [*headers, ("Allow", ", ".join(_WITHOUT_BODY))], body


class NoBodyParser(HeaderParser):
    """Refuses requests that announce a body, without waiting for it: with 405, or 413 for a GET."""

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the header."""
        super().parse_header(header_plus)
        if self.announces_body:
            kind = RequestEntityTooLarge if self.command in _WITHOUT_BODY else _MethodNotAllowed
            self.error = kind("this port takes no bodies")


def notice_vanished(connection: socket.socket) -> None:
    """Let the kernel end a TCP connection whose client doesn't answer any more."""
    with contextlib.suppress(OSError):  # closed again, or an emulated kernel
        for level, option, value in _OPTIONS:
            connection.setsockopt(level, option, value)


def send_fresh(connection: socket.socket) -> None:
    """Let a TCP connection take only little that the network can't carry yet."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, STREAM_UNSENT_MAX)
