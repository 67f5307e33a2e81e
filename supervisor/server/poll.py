"""A socket map for waitress's objects, and the poll over it.

waitress asks every connection, at every turn, what it waits for: with 400 idle keep-alive
clients that costs more than a request. Here only those are asked again that may have changed:
new ones, those that just had an event, and those that are not `settled`.
"""

import os
import select
from collections.abc import Callable
from typing import Any, Protocol

from waitress import wasyncore


class Pollable(Protocol):
    """An object in the map; waitress's dispatchers, with `settled` added."""

    accepting: bool

    @property
    def settled(self) -> bool:
        """Whether nothing but an event of its descriptor, or `SocketMap.look`, changes it."""

    def readable(self) -> bool:
        """Return whether to wait until it can be read."""

    def writable(self) -> bool:
        """Return whether to wait until it can be written."""


class SocketMap(dict[int, Any]):
    """The objects by descriptor; waitress adds and removes them as in any dict."""

    def __init__(self) -> None:
        super().__init__()
        self._poll = select.poll()
        self._flags: dict[int, int] = {}  # what is registered
        self._unsettled: set[int] = set()

    def __setitem__(self, fd: int, item: Pollable) -> None:
        super().__setitem__(fd, item)
        self._unsettled.add(fd)

    def __delitem__(self, fd: int) -> None:
        super().__delitem__(fd)
        if self._flags.pop(fd, 0):
            self._poll.unregister(fd)

    def pop(self, fd: int, default: Any = None) -> Any:
        """Remove what is at ``fd``, as ``del`` does, and return it."""
        item = self.get(fd, default)
        if fd in self:
            del self[fd]
        return item

    def look(self, fd: int) -> None:
        """Ask the object of ``fd`` again what it waits for."""
        self._unsettled.add(fd)

    def wait(self, timeout_s: float) -> list[tuple[int, int]]:
        """Wait for events and give them, at the latest after ``timeout_s``."""
        unsettled, self._unsettled = self._unsettled, set()
        for fd in unsettled:
            item = self.get(fd)
            if item is not None:
                self._register(fd, item)
        return self._poll.poll(timeout_s * 1000)

    def _register(self, fd: int, item: Pollable) -> None:
        # Asked first: it may settle at any time, and must then have been asked after that.
        if not item.settled:
            self._unsettled.add(fd)
        flags = 0
        if item.readable():
            flags = select.POLLIN | select.POLLPRI
        if item.writable() and not item.accepting:
            flags |= select.POLLOUT
        known = self._flags.get(fd, 0)
        if flags == known:
            return
        self._flags[fd] = flags
        if flags:
            self._poll.register(fd, flags)
        elif known:
            self._poll.unregister(fd)

    def handle(self, events: list[tuple[int, int]]) -> None:
        """Let the objects act on their events."""
        for fd, flags in events:
            item = self.get(fd)
            if item is not None:
                self._unsettled.add(fd)
                wasyncore.readwrite(item, flags)
            elif self._flags.pop(fd, 0):  # a thread closed it while it was being registered
                self._poll.unregister(fd)


class Waker:
    """Ends a wait from another thread or a signal handler, if there is one to end."""

    accepting = False
    settled = True

    def __init__(self, sockets: SocketMap) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._awake = True
        sockets[self._fd] = self

    def wake(self) -> None:
        """Make the loop turn soon; never blocks."""
        if not self._awake:
            self._awake = True
            os.eventfd_write(self._fd, 1)

    def going_to_wait(self) -> None:
        """From now on the loop has to be woken; whatever it looks at, it looks at after this."""
        self._awake = False

    def is_awake(self) -> None:
        """The wait is over: the loop will look at everything by itself."""
        self._awake = True

    def readable(self) -> bool:
        """Always wait for it."""
        return True

    def writable(self) -> bool:
        """Never write."""
        return False

    def handle_read_event(self) -> None:
        """Take note of having been woken."""
        os.eventfd_read(self._fd)

    handle_close = handle_expt_event = handle_read_event

    def handle_error(self) -> None:
        """Raise what waitress is handling: without a waker nothing works."""
        raise


class Watched:
    """An entry of the map for a descriptor that isn't a connection."""

    accepting = False
    settled = True

    def __init__(self, readable: Callable[[], None]) -> None:
        self._callback = readable

    def readable(self) -> bool:
        """Always wait for it."""
        return True

    def writable(self) -> bool:
        """Never write."""
        return False

    def handle_read_event(self) -> None:
        """Call what was asked for."""
        self._callback()

    handle_close = handle_read_event  # a hang-up is found by reading

    def handle_expt_event(self) -> None:
        """Ignore out-of-band data: these descriptors have none."""

    def handle_error(self) -> None:
        """Raise what waitress is handling: a worker that can't hear is of no use."""
        raise
