"""Notifies of changes, so that no coroutine has to poll for them."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class ChangeSignal:
    """Notifies listeners and waiting coroutines when the state of anything has changed.

    Belongs to the thread of the main loop. ``unseen`` says whether something has changed, or was
    merely reported, since the last snapshot for monitors; whoever makes the snapshot clears it.
    """

    def __init__(self) -> None:
        self.unseen = True
        self._listeners: list[Callable[[], None]] = []
        self._waiters: set[asyncio.Future[None]] = set()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` at each change, before anything that waits for one goes on."""
        self._listeners.append(listener)

    def mark(self) -> None:
        """Record news for monitors that no coroutine waits for: the next snapshot has it."""
        self.unseen = True

    def notify(self) -> None:
        """Record a change: call the listeners, and let what waits check its condition."""
        self.unseen = True
        for listener in self._listeners:
            listener()
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_for(self, condition: Callable[[], T], *, timeout_s: float) -> T | None:
        """Return what ``condition`` returns as soon as that is true, None after ``timeout_s``.

        The condition is checked now, after each change, and once more at the end.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            found = condition()
            if found:
                return found
            left_s = deadline - loop.time()
            if left_s <= 0:
                return None
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.add(waiter)
            try:
                await asyncio.wait([waiter], timeout=left_s)
            finally:
                self._waiters.discard(waiter)
