"""Tells the status worker what there is to show, and each second that this still holds.

While nothing happens, making the snapshot would be most of what the main process does.
"""

import math
from collections.abc import Callable, Collection

from supervisor.process.channel import Message
from supervisor.supervision.worker_handle import WorkerHandle
from supervisor.values.constants import SNAPSHOT_MAX_AGE_S


class StatusFeed:
    """What the workers of the status server were told last."""

    def __init__(self) -> None:
        self._is_news = True
        self._made_at = -math.inf  # monotonic seconds
        self._told: list[WorkerHandle] = []

    def news(self) -> None:
        """Take note that something has happened, which the next snapshot shows."""
        self._is_news = True

    def push(
        self, workers: Collection[WorkerHandle], make: Callable[[], Message], *, now: float
    ) -> None:
        """Send each of ``workers`` the message that ``make`` gives."""
        self._is_news, self._made_at = False, now
        self._told = _able(workers)
        if self._told:
            message = make()
            for worker in self._told:
                worker.send(message)

    def holds(self, workers: Collection[WorkerHandle], *, now: float) -> bool:
        """Return whether the last snapshot holds; show ``workers`` that this process is alive."""
        for worker in workers:
            worker.show_life(now)
        if self._is_news or now >= self._made_at + SNAPSHOT_MAX_AGE_S:
            return False
        return all(worker in self._told for worker in _able(workers))


def _able(workers: Collection[WorkerHandle]) -> list[WorkerHandle]:
    """Give those that have read what they were told before, starting ones too; others later."""
    return [worker for worker in workers if worker.channel and not worker.channel.unsent]
