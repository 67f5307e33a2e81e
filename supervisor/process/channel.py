"""One JSON object a line over a socket, without ever blocking the reader.

End of file, any socket error and anything that isn't a JSON object mean the same: the other end
is gone, or as good as gone (`ChannelClosed`).
"""

import json
import select
import socket
import threading
from typing import Any

from supervisor.values.errors import ChannelClosed

Message = dict[str, Any]

LINE_MAX = 1024 * 1024  # longer than any message of ours: the other end is not one of us


class Channel:
    """One end of a channel; owns ``connection`` and closes it."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._received = bytearray()
        self._unsent = bytearray()
        self._lock = threading.Lock()  # a worker sends from several threads

    def fileno(self) -> int:
        """Give the descriptor to wait on; -1 when closed."""
        return self._connection.fileno()

    def close(self) -> None:
        """Close this end."""
        self._connection.close()

    def receive(self) -> list[Message]:
        """Give the messages that have come, at most some 64 KiB of them.

        Raises `ChannelClosed` when nothing more will come.
        """
        try:
            part = self._connection.recv(65536)
        except BlockingIOError:
            return []
        except OSError as error:
            raise ChannelClosed(f"the channel failed: {error}") from error
        if not part:
            raise ChannelClosed("the other end is closed")
        return self._messages(part)

    def receive_rest(self) -> list[Message]:
        """Give all messages that are there, of an end that will send no more."""
        messages: list[Message] = []
        while True:
            try:
                part = self._connection.recv(65536)
                if not part:
                    return messages
                messages += self._messages(part)
            except (OSError, ChannelClosed):  # nothing is left, or nothing that can be read
                return messages

    def _messages(self, part: bytes) -> list[Message]:
        self._received += part
        *lines, rest = self._received.split(b"\n")
        self._received = rest
        if len(rest) > LINE_MAX:
            raise ChannelClosed("a message is too long")
        return [_parsed(line) for line in lines]

    def send(self, message: Message) -> None:
        """Send ``message`` now, or keep what doesn't fit until `flush`.

        Raises `ChannelClosed` when nobody can receive it.
        """
        with self._lock:
            self._unsent += json.dumps(message, separators=(",", ":")).encode() + b"\n"
            if len(self._unsent) > 4 * LINE_MAX:
                raise ChannelClosed("the other end does not read")
            self._flush()

    def send_if_read(self, message: Message) -> bool:
        """Send ``message``, or forget it when the other end has not read what came before.

        Gives whether it was sent; raises `ChannelClosed` when nobody can receive it.
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
        """Send what was kept; raises `ChannelClosed`."""
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
        """Whether something waits for `flush`."""
        return bool(self._unsent)

    def send_all(self, message: Message, *, timeout_s: float) -> None:
        """Send ``message`` completely, waiting at most ``timeout_s`` seconds per step.

        For workers, which may wait; raises `ChannelClosed`.
        """
        self.send(message)
        while self._unsent:
            if not select.select([], [self._connection], [], timeout_s)[1]:
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
