"""A socket map for waitress's objects, and the poll over it.

In each round of its loop waitress asks every connection what it waits for: with 400 idle keep-alive
clients that costs more than a request. `SocketMap` asks only those that may have changed: new ones,
those that just had an event, and those that are not `settled`.
"""

import os
import select
from collections.abc import Callable
from select import poll  # the real one, whatever an app patches
from typing import Any, Protocol

from waitress import wasyncore


class Pollable(Protocol):
    """An object in the map: a dispatcher of waitress, with `settled` added."""

    accepting: bool

    @property
    def settled(self) -> bool:
        """Whether it changes by an event of its descriptor, or with `SocketMap.recheck`, alone."""

    def readable(self) -> bool:
        """Return whether to wait until it can be read."""

    def writable(self) -> bool:
        """Return whether to wait until it can be written."""


class SocketMap(dict[int, Any]):
    """The objects by descriptor; waitress adds and removes them as in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self._poll = poll()
        self._flags: dict[int, int] = {}  # the events that are registered
        self._unsettled: set[int] = set()

    def __setitem__(self, fd: int, item: Pollable) -> None:
        super().__setitem__(fd, item)
        self._unsettled.add(fd)

    def put_first(self, fd: int, item: Pollable) -> None:
        """Add an object whose events are handled before those of objects that are added later.

        poll(2) returns them in the order of their registration.
        """
        self[fd] = item
        self._register(fd, item)

    def __delitem__(self, fd: int) -> None:
        super().__delitem__(fd)
        if self._flags.pop(fd, 0):
            self._poll.unregister(fd)

    def pop(self, fd: int, default: Any = None) -> Any:
        """Remove the object of ``fd``, as ``del`` does, and return it."""
        item = self.get(fd, default)
        if fd in self:
            del self[fd]
        return item

    def recheck(self, fd: int) -> None:
        """Ask the object of ``fd`` in the next round what it waits for."""
        self._unsettled.add(fd)

    def wait(self, timeout_s: float) -> list[tuple[int, int]]:
        """Wait at most ``timeout_s`` for events, and return them."""
        unsettled, self._unsettled = self._unsettled, set()
        for fd in unsettled:
            item = self.get(fd)
            if item is not None:
                self._register(fd, item)
        return self._poll.poll(timeout_s * 1000)

    def _register(self, fd: int, item: Pollable) -> None:
        # `settled` is read first: an object that settles meanwhile is asked once more after that.
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
        """Pass events to their objects."""
        for fd, flags in events:
            item = self.get(fd)
            if item is not None:
                self._unsettled.add(fd)
                wasyncore.readwrite(item, flags)
            elif self._flags.pop(fd, 0):  # a thread closed it during its registration
                self._poll.unregister(fd)


class Waker:
    """Wakes the loop from another thread or a signal handler, if it waits."""

    accepting = False
    settled = True

    def __init__(self, sockets: SocketMap) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._awake = True
        sockets[self._fd] = self

    def wake(self) -> None:
        """Wake the loop; never blocks."""
        if not self._awake:
            self._awake = True
            os.eventfd_write(self._fd, 1)

    def going_to_wait(self) -> None:
        """Note that the loop is about to wait; it has to read all state after this call."""
        self._awake = False

    def is_awake(self) -> None:
        """Note that the wait is over: until the next one, no event is needed."""
        self._awake = True

    def readable(self) -> bool:
        """Return True: always wait for it."""
        return True

    def writable(self) -> bool:
        """Return False: nothing is ever written."""
        return False

    def handle_read_event(self) -> None:
        """Reset the eventfd."""
        os.eventfd_read(self._fd)

    handle_close = handle_expt_event = handle_read_event

    def handle_error(self) -> None:
        """Raise the exception that waitress caught: without a waker the loop would hang."""
        raise


class Watched:
    """An entry of the map for a descriptor that is no connection."""

    accepting = False
    settled = True

    def __init__(self, readable: Callable[[], None]) -> None:
        self._callback = readable

    def readable(self) -> bool:
        """Return True: always wait for it."""
        return True

    def writable(self) -> bool:
        """Return False: nothing is ever written."""
        return False

    def handle_read_event(self) -> None:
        """Call the callback."""
        self._callback()

    handle_close = handle_read_event  # the callback finds a hang-up when it reads

    def handle_expt_event(self) -> None:
        """Ignore out-of-band data: these descriptors have none."""

    def handle_error(self) -> None:
        """Raise the exception that waitress caught: without its channel a worker has to end."""
        raise
