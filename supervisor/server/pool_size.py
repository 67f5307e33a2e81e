"""How many threads a pool should have: a pure decision that gets the time as an argument.

A pool grows, up to its maximum, when the first request of its queue has waited for a moment, unless
more threads would not help. It shrinks when it has not needed its threads for a while.
"""

from dataclasses import dataclass, replace

# Growing at once costs throughput: with fast requests more threads only contend for the GIL. When
# a request has waited this long, those in flight are slow.
GROW_AFTER_S = 0.02
# When the process uses more than this of one core, the GIL is the limit, and more threads would
# hardly speed up a queue that moves: measured, 9 % fewer requests with 32 threads than with 4.
# Not closer to 1, because on a busy machine no process gets a whole core.
CPU_SHARE_MAX = 0.5
# An event stream or a long poll keeps a thread, and hardly uses it. So these are counted apart: the
# others have all the threads of the pool for themselves.
LONG_AFTER_S = 1.0
LONG_MAX = 200  # half of the connections of a worker
# Load comes in bursts, and a missing thread makes clients wait, while an idle one only costs some
# memory: so a pool shrinks slowly.
SHRINK_AFTER_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The load of a pool at one moment."""

    threads: int
    busy: int
    queue: int
    head_wait_s: float  # of the first request in the queue
    answered: int  # requests since that one was queued
    cpu_share: float | None  # of one core that the process used recently; None: unknown
    long: int = 0  # threads that answer streams and long polls, when all are busy


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolState:
    """The limits of a pool, and what its next decision depends on; times are monotonic seconds."""

    minimum: int
    maximum: int
    grown_at: float = float("-inf")
    peak: int = 0  # the most threads needed at once since `peak_since`, when all were busy
    peak_since: float = float("-inf")

    def limit(self, long: int) -> int:
        """Return how many threads there may be while ``long`` of them answer long requests.

        A pool of a fixed size stays so: its app may not stand more threads.
        """
        return self.maximum + min(long, LONG_MAX) if self.maximum > self.minimum else self.maximum


def resized(state: PoolState, load: Load, now: float) -> tuple[PoolState, int]:
    """Return the state for the next decision, and how many threads the pool should have."""
    if _wants_more(state, load, now):
        missing = load.busy + load.queue - load.threads
        wanted = min(load.threads + missing, max(1, 2 * load.threads), state.limit(load.long))
        return replace(state, grown_at=now, peak=0, peak_since=now), wanted
    if load.threads <= state.minimum:
        return state, load.threads
    needed = min(load.threads, load.busy + load.queue)
    if needed >= load.threads:
        return replace(state, peak=0, peak_since=now), load.threads
    if now - state.peak_since < SHRINK_AFTER_S:
        return replace(state, peak=max(state.peak, needed)), load.threads
    wanted = max(state.minimum, state.peak, needed)
    return replace(state, peak=0, peak_since=now), wanted


def _wants_more(state: PoolState, load: Load, now: float) -> bool:
    if load.busy + load.queue <= load.threads or load.threads >= state.limit(load.long):
        return False  # there is an idle thread, which may take a moment on a busy machine
    if load.threads == 0:
        return True
    if load.head_wait_s < GROW_AFTER_S or now - state.grown_at < GROW_AFTER_S:
        return False
    if load.answered < load.threads:  # on average a thread has not finished one request
        return True
    return load.cpu_share is not None and load.cpu_share < CPU_SHARE_MAX
