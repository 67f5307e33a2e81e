"""Tells the status worker each second what there is to show: the whole picture, or that it holds.

While nothing happens, making the picture would be most of what the main process does.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

from supervisor.channel import Message
from supervisor.workers import Worker

_HOLDS_S = 5.0  # the time alone changes little: restarts and latencies are those of a minute


class Pushing:
    """What the workers of the status server were told last."""

    def __init__(self) -> None:
        self._is_news = True
        self._made_at = -math.inf  # monotonic seconds
        self._told: list[Worker] = []

    def news(self) -> None:
        """Take note that something has happened, which the next picture shows."""
        self._is_news = True

    def push(self, workers: Iterable[Worker], make: Callable[[], Message], *, now: float) -> None:
        """Send each of ``workers`` the message that ``make`` gives."""
        self._is_news, self._made_at = False, now
        self._told = _able(workers)
        _send(self._told, make)

    def push_nothing_new(self, workers: Iterable[Worker], *, now: float) -> bool:
        """Say that the last picture holds; gives False, and says nothing, where it may not."""
        able = _able(workers)
        if self._is_news or now >= self._made_at + _HOLDS_S:
            return False
        if any(worker not in self._told for worker in able):
            return False
        _send(able, lambda: {"type": "alive"})
        return True


def _able(workers: Iterable[Worker]) -> list[Worker]:
    """Give those that have read what they were told before, starting ones too; others later."""
    return [worker for worker in workers if worker.channel and not worker.channel.unsent]


def _send(workers: list[Worker], make: Callable[[], Message]) -> None:
    if workers:
        message: dict[str, Any] = make()
        for worker in workers:
            worker.send(message)
