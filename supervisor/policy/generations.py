"""The moves of a life: start a generation, let it take over, give it up.

Pure building blocks of the tables in `lifecycle`: each takes a life and ``now`` (monotonic
seconds), and gives the life afterwards with the actions that make it true.
"""

from collections.abc import Callable
from dataclasses import replace

from supervisor.policy.backoff import STABLE_S, Rng
from supervisor.policy.process_state import (
    Action,
    Drain,
    Kill,
    Life,
    Pause,
    Pending,
    Phase,
    Refusal,
    Resume,
    Spawn,
    WorkerLife,
)
from supervisor.values.reports import Cause
from supervisor.values.states import Source

IMPORT_KILL_AFTER_S = 1.0  # a worker ends an endless import itself; after this it is killed
DRAIN_MARGIN_S = 0.7  # a worker ends its drain itself; after this it is killed
EXIT_GRACE_S = 3.0  # from the report of a failed import to the kill (threads, atexit handlers)
RECYCLE_MIN_S = 5.0  # a worker that is too large sooner is what the app is: no endless imports
RECYCLE_AGAIN_S = 60.0  # after a refused replacement of a worker that is too old or too large
RETRY_LIVE_S = 60.0  # while the last known good release serves; a change is seen at once
DRAINING_MAX = 2  # so many generations may drain at a time: each costs memory
_JITTER = 0.1  # of max_requests, so that workers don't all end together

Step = tuple[Life, tuple[Action, ...]]


def with_worker(life: Life, worker: WorkerLife) -> Life:
    """Give the life with ``worker`` in the place of what had its number."""
    workers = tuple(worker if w.number == worker.number else w for w in life.workers)
    return replace(life, workers=workers)


def without(life: Life, number: int) -> Life:
    """Give the life without a worker."""
    return replace(life, workers=tuple(w for w in life.workers if w.number != number))


def each(
    life: Life, workers: tuple[WorkerLife, ...], move: Callable[[Life, WorkerLife], Step]
) -> Step:
    """Apply a move to several workers."""
    actions: tuple[Action, ...] = ()
    for worker in workers:
        life, more = move(life, worker)
        actions += more
    return life, actions


def start(life: Life, now: float, rng: Rng, source: Source = Source.LIVE) -> Step:
    """Start a new generation that is to serve; no worker serves now."""
    if life.limits.replace and life.workers:  # they are about to end
        return replace(life, pending=Pending.START, retry_at=None), ()
    generation = life.generation + 1
    life = replace(
        life,
        generation=generation,
        current=generation,
        candidate=None,
        pending=None,
        probation_until=None,
        retry_at=None,
        retry_live_at=None,
        source=source,
    )
    return _spawn(life, generation, life.limits.workers, now, rng)


def fill_up(life: Life, now: float, rng: Rng) -> Step:
    """Start the workers that the current generation lacks; a new one, if none is left."""
    at_work = life.of(Phase.READY, Phase.IMPORTING, generation=life.current)
    if not at_work:
        return start(life, now, rng, life.source)
    life = replace(life, retry_at=None)
    return _spawn(life, life.current, life.limits.workers - len(at_work), now, rng)


def start_candidate(life: Life, now: float, rng: Rng) -> Step:
    """Start a generation beside the one that serves, or note that this has to wait."""
    life, drained = end_probation(life, now)
    draining = {worker.generation for worker in life.of(Phase.DRAINING)}
    if len(draining) >= DRAINING_MAX:
        return replace(life, pending=Pending.RELOAD), drained
    generation = life.generation + 1
    life = replace(
        life, generation=generation, candidate=generation, pending=None, retry_live_at=None
    )
    life, spawned = _spawn(life, generation, life.limits.workers, now, rng)
    return life, drained + spawned


def _spawn(life: Life, generation: int, count: int, now: float, rng: Rng) -> Step:
    limits = life.limits
    most = limits.max_requests
    new = tuple(
        WorkerLife(
            number=life.last_number + i,
            generation=generation,
            since=now,
            kill_at=now + limits.import_timeout_s + IMPORT_KILL_AFTER_S,
            source=Source.LIVE if generation == life.candidate else life.source,
            max_requests=most and max(1, round(most * (1 + _JITTER * (2 * rng() - 1)))),
        )
        for i in range(1, count + 1)
    )
    life = replace(life, workers=life.workers + new, last_number=life.last_number + len(new))
    return life, tuple(Spawn(worker.number, generation, worker.source) for worker in new)


def take_over(life: Life, now: float) -> Step:
    """Let the candidate serve; what served before is paused until the new one proved itself."""
    old = life.of(Phase.READY, generation=life.current)
    life, killed = promote(life, now)
    life = replace(life, probation_until=now + STABLE_S, refusal=None)
    life, paused = each(life, old, _pause)
    return life, paused + killed


def promote(life: Life, now: float) -> Step:
    """Make the candidate the current generation; what the old one still imports is given up."""
    assert life.candidate is not None
    unfinished = life.of(Phase.IMPORTING, generation=life.current)
    life = replace(
        life,
        current=life.candidate,
        candidate=None,
        since=now,
        retry_at=None,
        retry_live_at=None,
        source=Source.LIVE,
    )
    return each(life, unfinished, lambda life, worker: kill(life, worker, now))


def _pause(life: Life, worker: WorkerLife) -> Step:
    return with_worker(life, replace(worker, phase=Phase.PAUSED)), (Pause(worker.number),)


def end_probation(life: Life, now: float) -> Step:
    """Let the paused workers go: the current generation has proved itself, or has to do."""
    life = replace(life, probation_until=None)
    return each(life, life.of(Phase.PAUSED), lambda life, worker: drain(life, worker, now))


def roll_back(life: Life, cause: Cause, now: float) -> Step:
    """Let the paused workers serve again, and end the new ones."""
    paused = life.of(Phase.PAUSED)
    life, killed = each(
        life,
        life.of(Phase.READY, Phase.IMPORTING, generation=life.current),
        lambda life, worker: kill(life, worker, now, cause),
    )
    life = replace(
        life,
        current=max(worker.generation for worker in paused),
        source=paused[0].source,
        retry_live_at=now + RETRY_LIVE_S if paused[0].source is Source.KNOWN_GOOD else None,
        probation_until=None,
        since=now,
        refusal=Refusal(cause=cause, at=now),
        recycle_at=now + RECYCLE_AGAIN_S,
    )
    life, resumed = each(life, paused, _resume)
    return life, resumed + killed


def _resume(life: Life, worker: WorkerLife) -> Step:
    return with_worker(life, replace(worker, phase=Phase.READY)), (Resume(worker.number),)


def refuse(life: Life, cause: Cause, now: float) -> Step:
    """Give the candidate up: what serves goes on."""
    generation = life.candidate
    assert generation is not None
    if life.source is Source.KNOWN_GOOD:
        life = replace(life, broken=cause, retry_live_at=now + RETRY_LIVE_S)
    life = replace(
        life,
        candidate=None,
        refusal=Refusal(cause=cause, at=now),
        recycle_at=now + RECYCLE_AGAIN_S,
    )
    unfinished = life.of(Phase.IMPORTING, Phase.READY, generation=generation)
    return each(life, unfinished, lambda life, worker: kill(life, worker, now, cause))


def kill(life: Life, worker: WorkerLife, now: float, verdict: Cause | None = None) -> Step:
    """End a worker at once; one that was never forked is gone."""
    if worker.pid is None:
        return without(life, worker.number), ()
    ending = replace(
        worker, phase=Phase.ENDING, since=now, kill_at=None, verdict=verdict or worker.verdict
    )
    return with_worker(life, ending), (Kill(worker.number),)


def drain(life: Life, worker: WorkerLife, now: float, *, replaced: bool = True) -> Step:
    """Let a worker finish what it does; one that shows no sign of life is killed."""
    if worker.stuck:
        return kill(life, worker, now)
    kill_at = now + life.limits.stop_timeout_s + DRAIN_MARGIN_S
    draining = replace(worker, phase=Phase.DRAINING, since=now, kill_at=kill_at)
    return with_worker(life, draining), (Drain(worker.number, replaced),)


def end_all(life: Life, now: float) -> Step:
    """End every worker: those that serve finish what they do."""
    life = replace(life, candidate=None, probation_until=None, retry_at=None, retry_live_at=None)
    life, drained = each(
        life,
        life.of(Phase.READY, Phase.PAUSED),
        lambda life, worker: drain(life, worker, now, replaced=False),
    )
    life, killed = each(
        life, life.of(Phase.IMPORTING), lambda life, worker: kill(life, worker, now)
    )
    return life, drained + killed
