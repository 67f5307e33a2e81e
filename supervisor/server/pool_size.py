"""How many threads a pool should have: pure, with the time passed in.

A pool grows when the first request of its queue has waited for a moment, up to its maximum,
unless that would not help; it shrinks after it has not needed its threads for long.
"""

from dataclasses import dataclass, replace

# Growing at once costs throughput: with fast requests more threads only fight for the
# interpreter. This long without a thread, and the requests under way are slow.
GROW_AFTER_S = 0.02
# When the process uses more than this of one core, the interpreter is near its limit, and more
# threads would hardly speed up a queue that moves: measured, 9 % fewer requests with 32 threads
# than with 4. Not nearer to 1, as on a busy machine nobody gets a whole core.
CPU_SHARE_MAX = 0.5
# An idle thread costs some memory and nothing else, a missing one costs clients a wait, and load
# comes in bursts: so shrinking is slow.
SHRINK_AFTER_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a pool looks like now."""

    threads: int
    busy: int
    queue: int
    head_wait_s: float  # of the first request in the queue
    answered: int  # requests, since that one came
    cpu_share: float | None  # of one core, that the process used lately; None: not known yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Elastic:
    """The limits of a pool, and what has to be remembered of it; times are monotonic seconds."""

    minimum: int
    maximum: int
    grown_at: float = float("-inf")
    peak: int = 0  # the most threads needed at once since `peak_since`, when all were busy
    peak_since: float = float("-inf")


def resized(elastic: Elastic, load: Load, now: float) -> tuple[Elastic, int]:
    """Return how many threads the pool should have, and what to remember for the next time."""
    if _wants_more(elastic, load, now):
        missing = load.busy + load.queue - load.threads
        wanted = min(load.threads + missing, max(1, 2 * load.threads), elastic.maximum)
        return replace(elastic, grown_at=now, peak=0, peak_since=now), wanted
    if load.threads <= elastic.minimum:
        return elastic, load.threads
    needed = min(load.threads, load.busy + load.queue)
    if needed >= load.threads:
        return replace(elastic, peak=0, peak_since=now), load.threads
    if now - elastic.peak_since < SHRINK_AFTER_S:
        return replace(elastic, peak=max(elastic.peak, needed)), load.threads
    wanted = max(elastic.minimum, elastic.peak, needed)
    return replace(elastic, peak=0, peak_since=now), wanted


def _wants_more(elastic: Elastic, load: Load, now: float) -> bool:
    if load.busy + load.queue <= load.threads or load.threads >= elastic.maximum:
        return False  # on a busy machine, an idle thread may take a moment to begin
    if load.threads == 0:
        return True
    if load.head_wait_s < GROW_AFTER_S or now - elastic.grown_at < GROW_AFTER_S:
        return False
    if load.answered < load.threads:  # on average, a thread has not even finished one
        return True
    return load.cpu_share is not None and load.cpu_share < CPU_SHARE_MAX
