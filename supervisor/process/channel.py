"""Messages between the main process and a worker: one JSON object a line over a socketpair.

The main process may send sockets with a message (SCM_RIGHTS, unix(7)); it takes none itself.
Receiving never blocks. End of file, a socket error and a line that is no JSON object all raise
`ChannelClosed`: the other end is gone or can't be trusted.
"""

import itertools
import json
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from select import select  # the real one, whatever an app patches
from typing import Any

from supervisor.values.errors import ChannelClosed

Message = dict[str, Any]

LINE_MAX = 1024 * 1024  # bytes; no message of ours is longer
_SOCKETS_MAX = 16  # with one message
FILES_IN_MESSAGE = 4000  # their paths, with a little of each, fit into `LINE_MAX`
SEND_TIMEOUT_S = 10.0  # a worker waits so long for a main process that doesn't read


def in_parts(files: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield ``files`` in parts that fit into a message each."""
    left = iter(files.items())
    while part := dict(itertools.islice(left, FILES_IN_MESSAGE)):
        yield part


class Channel:
    """One end of a channel; it owns ``connection`` and closes it.

    ``takes_sockets``: those that come with messages are kept for `take_sockets`.
    """

    def __init__(self, connection: socket.socket, *, takes_sockets: bool = False) -> None:
        connection.setblocking(False)
        self._sockets: list[socket.socket] = []
        self._takes_sockets = takes_sockets
        self._connection = connection
        self._received = bytearray()
        self._unsent = bytearray()
        self._lock = threading.Lock()  # a worker sends from several threads

    def fileno(self) -> int:
        """Return the descriptor to poll; -1 when closed."""
        return self._connection.fileno()

    def close(self) -> None:
        """Close this end."""
        self._connection.close()

    def receive(self) -> list[Message]:
        """Return the messages that have arrived, at most 64 KiB of them, without blocking.

        Raises `ChannelClosed` when no more will arrive.
        """
        try:
            part = self._receive_part()
        except BlockingIOError:
            return []
        except OSError as error:
            raise ChannelClosed(f"the channel failed: {error}") from error
        if not part:
            raise ChannelClosed("the other end is closed")
        return self._messages(part)

    def take_sockets(self, count: int) -> tuple[socket.socket, ...]:
        """Return the sockets of the oldest message that came with some; it says how many."""
        taken, self._sockets = self._sockets[:count], self._sockets[count:]
        return tuple(taken)

    def _receive_part(self) -> bytes:
        if not self._takes_sockets:
            return self._connection.recv(65536)
        part, fds, _flags, _address = socket.recv_fds(
            self._connection, 65536, _SOCKETS_MAX, socket.MSG_CMSG_CLOEXEC
        )
        self._sockets += [socket.socket(fileno=fd) for fd in fds]
        return part

    def receive_rest(self) -> list[Message]:
        """Return all messages that have arrived from an end that has stopped sending."""
        messages: list[Message] = []
        while True:
            try:
                part = self._connection.recv(65536)
                if not part:
                    return messages
                messages += self._messages(part)
            except (OSError, ChannelClosed):  # nothing is left, or only garbage
                return messages

    def _messages(self, part: bytes) -> list[Message]:
        self._received += part
        *lines, rest = self._received.split(b"\n")
        self._received = rest
        if len(rest) > LINE_MAX:
            raise ChannelClosed("a message is too long")
        return [_parsed(line) for line in lines]

    def send(self, message: Message) -> None:
        """Send ``message``; buffer what the socket doesn't take until `flush`.

        Raises `ChannelClosed` when the other end is closed, or has not read 4 MiB.
        """
        with self._lock:
            self._unsent += json.dumps(message, separators=(",", ":")).encode() + b"\n"
            if len(self._unsent) > 4 * LINE_MAX:
                raise ChannelClosed("the other end does not read")
            self._flush()

    def send_sockets(self, message: Message, sockets: Iterable[socket.socket]) -> bool:
        """Send ``message`` with ``sockets``; return False if the other end does not read now."""
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            if self._unsent:
                return False
            try:
                sent = socket.send_fds(self._connection, [data], [one.fileno() for one in sockets])
            except OSError:  # full or closed: who closed it is noticed by its end
                return False
            self._unsent += data[sent:]
            return True

    def send_if_read(self, message: Message) -> bool:
        """Send ``message`` unless earlier ones are still unsent; return whether it was sent.

        Raises `ChannelClosed` when the other end is closed.
        """
        with self._lock:
            if self._unsent:
                self._flush()
            if self._unsent:
                return False
            self._unsent += json.dumps(message, separators=(",", ":")).encode() + b"\n"
            self._flush()
            return True

    def flush(self) -> None:
        """Send what is buffered, as far as the socket takes it; raises `ChannelClosed`."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._connection.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError as error:
            raise ChannelClosed(f"the channel failed: {error}") from error

    @property
    def unsent(self) -> bool:
        """Whether bytes are buffered that `flush` has to send."""
        return bool(self._unsent)

    def send_all(self, message: Message, *, timeout_s: float) -> None:
        """Send ``message`` completely; block at most ``timeout_s`` seconds for each part.

        For workers, which may block; raises `ChannelClosed`.
        """
        self.send(message)
        while self._unsent:
            if not select([], [self._connection], [], timeout_s)[1]:
                raise ChannelClosed("the other end does not read")
            self.flush()


def _parsed(line: bytearray) -> Message:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ChannelClosed("a message is not JSON") from error
    if not isinstance(message, dict):
        raise ChannelClosed("a message is not a JSON object")
    return message
