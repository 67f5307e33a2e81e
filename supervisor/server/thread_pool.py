"""The threads that answer the requests of one listener."""

import contextlib
import logging
import time
from _thread import allocate_lock  # the real one, whatever an app patches
from typing import Any

from waitress.task import ThreadedTaskDispatcher

from supervisor.server.connection import Counters, ServerChannel
from supervisor.server.error_log import log
from supervisor.server.overload import QUEUE_WAIT_MAX_S, Overloaded
from supervisor.server.pool_size import (
    CPU_SHARE_MAX,
    GROW_AFTER_S,
    LONG_AFTER_S,
    LONG_MAX,
    Load,
    PoolState,
    resized,
)
from supervisor.values.metrics import Metrics

# Health reports the length of a queue; waitress would log a line for each request in it.
logging.getLogger("waitress.queue").setLevel(logging.ERROR)

_LONG_POLL_S = 0.1  # between two looks at whether requests have become long ones
_CPU_SAMPLE_MAX_S = 1.0  # an older sample says nothing about the present load


class Pool(ThreadedTaskDispatcher):
    """A pool of ``threads`` to ``max_threads`` threads; the server's loop calls `tend`."""

    logger = log
    queue: Any  # of channels
    threads: set[int]

    def __init__(self, *, name: str, threads: int, max_threads: int, counters: Counters) -> None:
        super().__init__()
        self._name = name
        self._counters = counters
        self._state = PoolState(minimum=threads, maximum=max_threads)
        self._cpu = _CpuUse()
        self._checked_at = float("-inf")
        self._shortage_logged = self._streams_logged = False
        self._idle: tuple[tuple[int, ...], Metrics] | None = None
        self.set_thread_count(threads)

    @property
    def size(self) -> int:
        """The number of threads, without those that are about to end."""
        return len(self.threads) - int(self.stop_count)

    def tend(self, now: float) -> float | None:
        """Grow or shrink as needed; return the seconds to the next time, or None."""
        if not self._state.maximum:  # it has no threads: the loop answers
            while self.queue:
                self.queue.popleft().service()
            return None
        size, queue = self.size, len(self.queue)
        if size <= self._state.minimum:  # the usual case, in every round: it has to be cheap
            if not queue or size == self._state.maximum == self._state.minimum:
                return None
            if size and self.head_wait_s(now) < GROW_AFTER_S:
                return GROW_AFTER_S
        elif now - self._checked_at < GROW_AFTER_S:
            return GROW_AFTER_S if queue else None
        self._checked_at = now
        load = self._load(now, size, queue)
        self._state, wanted = resized(self._state, load, now)
        if wanted != size:
            self.set_thread_count(wanted)
        if not self.queue:
            return None
        return GROW_AFTER_S if wanted < self._state.maximum else _LONG_POLL_S

    def _load(self, now: float, size: int, queue: int) -> Load:
        wait_s, answered, cpu_share = 0.0, 0, None
        with contextlib.suppress(IndexError):  # a thread has just emptied the queue
            head: ServerChannel = self.queue[0]
            wait_s = max(0.0, now - head.queued_at)
            answered = self._counters.total - head.queued_behind
            if answered >= size:
                cpu_share = self._cpu.share(now)
        return Load(
            threads=size,
            busy=len(self._counters.serving),
            queue=queue,
            head_wait_s=wait_s,
            answered=answered,
            cpu_share=cpu_share,
            long=self._long(now) if queue and size >= self._state.maximum else 0,
        )

    def _long(self, now: float) -> int:
        """Return how many threads answer streams or long polls; close streams beyond `LONG_MAX`.

        What computes is neither.
        """
        serving = list(self._counters.serving.values())
        old = [one for one in serving if one.endless or now - one.since > LONG_AFTER_S]
        streams = [one for one in old if one.stream]
        for one in streams[LONG_MAX:]:  # the newest
            one.channel.close_soon()
        if len(streams) > LONG_MAX and not self._streams_logged:
            self._streams_logged = True
            log.notice("more than %d streams at once: further ones are closed", LONG_MAX)
        share = self._cpu.share(now)
        waits = share is not None and share < CPU_SHARE_MAX
        return len(old) if waits else len(streams)

    def start_new_thread(self, target: Any, thread_no: int) -> None:
        """Start a thread; the pool stays smaller for now when the machine has none left."""
        try:
            super().start_new_thread(target, thread_no)
        except RuntimeError as error:
            self.threads.discard(thread_no)
            self.active_count -= 1  # waitress is about to count it
            if not self._shortage_logged:
                self._shortage_logged = True
                log.notice("cannot start another thread: %s", error)

    def add_first(self, task: Any) -> None:
        """Queue a task in front of all others."""
        with self.lock:
            self.queue.appendleft(task)
            self.queue_cv.notify()

    def runs(self, *, timeout_s: float) -> bool:
        """Return whether a thread does a task within ``timeout_s`` seconds; blocks."""
        task = _Task()
        self.add_task(task)
        return task.done.acquire(timeout=timeout_s)

    def head_wait_s(self, now: float) -> float:
        """Return how long the first request of the queue has waited; 0 without one."""
        try:
            head: ServerChannel = self.queue[0]
        except IndexError:  # a thread has just emptied the queue
            return 0.0
        return max(0.0, now - head.queued_at)

    def overloaded(self, now: float, *, queue_max: int | None) -> Overloaded | None:
        """Return why a new request has to be rejected, or None if it doesn't.

        ``queue_max``: so many may wait, however fast they are answered.
        """
        if not self.queue or self.size < self._state.maximum:
            return None
        wait_s = self.head_wait_s(now)
        is_long = queue_max is not None and len(self.queue) >= queue_max
        if wait_s < QUEUE_WAIT_MAX_S and not is_long:
            return None
        if self.size < self._state.limit(self._long(now)):
            return None
        return Overloaded(
            name=self._name,
            threads=self.size,
            oldest_s=max(0.0, now - (self._counters.oldest or now)),
            queue_wait_s=wait_s,
        )

    def metrics(self, now: float, *, connections: int) -> Metrics:
        """Return the metrics of the listener; callable from any thread."""
        busy, queue = len(self._counters.serving), len(self.queue)
        key = (self.size, connections, self._counters.total, self._counters.rejected_count)
        if not busy and not queue and self._idle is not None and self._idle[0] == key:
            return self._idle[1]  # no request since then
        metrics = self._metrics(now, busy, queue, connections)
        self._idle = (key, metrics) if not metrics.in_flight else None
        return metrics

    def _metrics(self, now: float, busy: int, queue: int, connections: int) -> Metrics:
        since = self._counters.oldest
        wait_s = self.head_wait_s(now)
        ages = [now - since] if since is not None else []
        return Metrics(
            threads=self.size,
            max_threads=self._state.maximum,
            busy=busy,
            queue=queue,
            queue_wait_s=wait_s,
            in_flight=busy + queue,
            oldest_s=max([*ages, wait_s] if queue else ages, default=None),
            connections=connections,
            **self._counters.counted(),
        )


class _Task:
    """A task that shows that a thread runs; waits like a request in the queue."""

    queued_at = float("inf")
    queued_behind = 0

    def __init__(self) -> None:
        self.done = allocate_lock()
        self.done.acquire()

    def service(self) -> None:
        """Note that a thread runs."""
        self.done.release()

    def cancel(self) -> None:
        """Do nothing: there is no client."""


class _CpuUse:
    """How much of a core this process uses between two samples."""

    def __init__(self) -> None:
        self._at = self._used_s = float("-inf")
        self._share: float | None = None

    def share(self, now: float) -> float | None:
        """Return the share since the last sample, or None when that is too old."""
        passed_s = now - self._at
        if passed_s >= GROW_AFTER_S:
            used_s = time.process_time()
            recent = passed_s < _CPU_SAMPLE_MAX_S
            self._share = (used_s - self._used_s) / passed_s if recent else None
            self._at, self._used_s = now, used_s
        return self._share
