"""The threads that answer the requests of one listener."""

import logging
from typing import Any

from waitress.task import ThreadedTaskDispatcher

from supervisor.answering import ServerChannel, Tally
from supervisor.elastic import GROW_AFTER_S, Elastic, Load, resized
from supervisor.figures import Figures
from supervisor.overload import QUEUE_WAIT_MAX_S, FullHouse

# A full queue is told by health, with a number; not by a log line per request.
logging.getLogger("waitress.queue").setLevel(logging.ERROR)


class Pool(ThreadedTaskDispatcher):
    """From ``threads`` to ``max_threads`` threads; its own loop calls `tend`."""

    queue: Any  # of channels
    threads: set[int]

    def __init__(self, *, name: str, threads: int, max_threads: int, tally: Tally) -> None:
        super().__init__()
        self._name = name
        self._tally = tally
        self._elastic = Elastic(minimum=threads, maximum=max_threads)
        self.set_thread_count(threads)

    @property
    def size(self) -> int:
        """How many threads there are, without those that are about to end."""
        return len(self.threads) - int(self.stop_count)

    def tend(self, now: float) -> float | None:
        """Grow or shrink as needed; gives the seconds after which to do so again, or None."""
        size, queue = self.size, len(self.queue)
        if not queue and size <= self._elastic.minimum:
            return None
        load = Load(
            threads=size,
            busy=len(self._tally.serving),
            queue=queue,
            head_wait_s=self.head_wait_s(now),
        )
        self._elastic, wanted = resized(self._elastic, load, now)
        if wanted != size:
            self.set_thread_count(wanted)
        return GROW_AFTER_S if self.queue and wanted < self._elastic.maximum else None

    def head_wait_s(self, now: float) -> float:
        """Give how long the first request of the queue has waited; 0 without one."""
        try:
            head: ServerChannel = self.queue[0]
        except IndexError:  # a thread was faster
            return 0.0
        return max(0.0, now - head.queued_at)

    def full_house(self, now: float) -> FullHouse | None:
        """Say why a new request should be turned away, or None if it should not."""
        if not self.queue or self.size < self._elastic.maximum:
            return None
        wait_s = self.head_wait_s(now)
        if wait_s < QUEUE_WAIT_MAX_S:
            return None
        return FullHouse(
            name=self._name,
            threads=self.size,
            oldest_s=max(0.0, now - (self._tally.oldest or now)),
            queue_wait_s=wait_s,
        )

    def figures(self, now: float, *, connections: int) -> Figures:
        """Give the figures of the listener; callable from any thread."""
        busy, queue = len(self._tally.serving), len(self.queue)
        since = self._tally.oldest
        wait_s = self.head_wait_s(now)
        ages = [now - since] if since is not None else []
        return Figures(
            threads=self.size,
            max_threads=self._elastic.maximum,
            busy=busy,
            queue=queue,
            queue_wait_s=wait_s,
            in_flight=busy + queue,
            oldest_s=max([*ages, wait_s] if queue else ages, default=None),
            connections=connections,
            **self._tally.counted(),
        )
