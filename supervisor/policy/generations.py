"""The moves of a process: start a generation, let it take over, give it up.

Pure building blocks of the tables in `process_transitions` and `worker_transitions`: each takes a
process and ``now`` (monotonic seconds), and returns the process afterwards with the actions that
make it true.
"""

from collections.abc import Callable
from dataclasses import replace

from supervisor.policy.backoff import STABLE_S, Rng
from supervisor.policy.illegal_transition import IllegalTransition
from supervisor.policy.process_events import Action, Drain, Kill, Pause, Resume, Spawn
from supervisor.policy.process_state import (
    Pending,
    ProcessState,
    Refusal,
    WorkerPhase,
    WorkerState,
)
from supervisor.values.reports import Cause
from supervisor.values.states import CodeSource

IMPORT_KILL_AFTER_S = 1.0  # a worker ends an endless import itself; after this it is killed
DRAIN_MARGIN_S = 0.7  # a worker ends its drain itself; after this it is killed
EXIT_GRACE_S = 3.0  # from the report of a failed import to the kill (threads, atexit handlers)
RECYCLE_MIN_S = 5.0  # a worker that is too large sooner is what the app is: no endless imports
RECYCLE_AGAIN_S = 60.0  # after a refused replacement of a worker that is too old or too large
RETRY_LIVE_S = 60.0  # while the last known good release serves; a change is seen at once
_JITTER = 0.1  # of max_requests, so that workers don't all end together

Step = tuple[ProcessState, tuple[Action, ...]]
Move = Callable[[ProcessState, WorkerState], Step]


def with_worker(process: ProcessState, worker: WorkerState) -> ProcessState:
    """Return the process with ``worker`` in the place of the one with its number."""
    workers = tuple(worker if w.number == worker.number else w for w in process.workers)
    return replace(process, workers=workers)


def without(process: ProcessState, number: int) -> ProcessState:
    """Return the process without a worker."""
    return replace(process, workers=tuple(w for w in process.workers if w.number != number))


def each(process: ProcessState, workers: tuple[WorkerState, ...], move: Move) -> Step:
    """Apply ``move`` to several workers, one after the other."""
    actions: tuple[Action, ...] = ()
    for worker in workers:
        process, more = move(process, worker)
        actions += more
    return process, actions


def start(
    process: ProcessState, now: float, rng: Rng, source: CodeSource = CodeSource.LIVE
) -> Step:
    """Start a new generation that is to serve; no worker serves now."""
    if process.held is not None:
        return replace(process, pending=Pending.START, retry_at=None, cause=process.held), ()
    if process.limits.replace and process.workers:  # they are about to end
        return replace(process, pending=Pending.START, retry_at=None), ()
    generation = process.generation + 1
    process = replace(
        process,
        generation=generation,
        current=generation,
        candidate=None,
        pending=None,
        probation_until=None,
        retry_at=None,
        retry_live_at=None,
        source=source,
    )
    return _spawn(process, generation, process.limits.workers, now, rng)


def fill_up(process: ProcessState, now: float, rng: Rng) -> Step:
    """Start the workers that the current generation lacks; a new generation if none is left."""
    at_work = process.of(WorkerPhase.READY, WorkerPhase.IMPORTING, generation=process.current)
    if not at_work:
        return start(process, now, rng, process.source)
    if process.held is not None:
        return replace(process, retry_at=now), ()  # `next_wakeup` ignores it until the release
    process = replace(process, retry_at=None)
    return _spawn(process, process.current, process.limits.workers - len(at_work), now, rng)


def start_candidate(process: ProcessState, now: float, rng: Rng) -> Step:
    """Start a generation beside the one that serves, or later if too many generations drain."""
    if process.held is not None:
        return replace(process, pending=Pending.RELOAD), ()
    process, drained = end_probation(process, now)
    draining = {worker.generation for worker in process.of(WorkerPhase.DRAINING)}
    if len(draining) >= process.limits.draining_max:
        return replace(process, pending=Pending.RELOAD), drained
    generation = process.generation + 1
    process = replace(
        process, generation=generation, candidate=generation, pending=None, retry_live_at=None
    )
    process, spawned = _spawn(process, generation, process.limits.workers, now, rng)
    return process, drained + spawned


def _spawn(process: ProcessState, generation: int, count: int, now: float, rng: Rng) -> Step:
    limits = process.limits
    most = limits.max_requests
    new = tuple(
        WorkerState(
            number=process.last_number + i,
            generation=generation,
            since=now,
            kill_at=now + limits.import_timeout_s + IMPORT_KILL_AFTER_S,
            source=CodeSource.LIVE if generation == process.candidate else process.source,
            max_requests=most and max(1, round(most * (1 + _JITTER * (2 * rng() - 1)))),
        )
        for i in range(1, count + 1)
    )
    last = process.last_number + len(new)
    process = replace(process, workers=process.workers + new, last_number=last)
    return process, tuple(Spawn(worker.number, generation, worker.source) for worker in new)


def take_over(process: ProcessState, now: float) -> Step:
    """Let the candidate serve; the old workers are paused until it has proved itself."""
    old = process.of(WorkerPhase.READY, generation=process.current)
    process, killed = promote(process, now)
    process = replace(process, probation_until=now + STABLE_S, refusal=None)
    process, paused = each(process, old, _pause)
    return process, paused + killed


def promote(process: ProcessState, now: float) -> Step:
    """Make the candidate the current generation; workers of the old one that import are killed.

    Raises `IllegalTransition` without a candidate.
    """
    if process.candidate is None:
        raise IllegalTransition("there is no candidate that could become the current generation")
    unfinished = process.of(WorkerPhase.IMPORTING, generation=process.current)
    process = replace(
        process,
        current=process.candidate,
        candidate=None,
        since=now,
        retry_at=None,
        retry_live_at=None,
        source=CodeSource.LIVE,
    )
    return each(process, unfinished, lambda process, worker: kill(process, worker, now))


def _pause(process: ProcessState, worker: WorkerState) -> Step:
    paused = replace(worker, phase=WorkerPhase.PAUSED)
    return with_worker(process, paused), (Pause(worker.number),)


def end_probation(process: ProcessState, now: float) -> Step:
    """Drain the paused workers: the current generation has proved itself, or has to do."""
    process = replace(process, probation_until=None)
    paused = process.of(WorkerPhase.PAUSED)
    return each(process, paused, lambda process, worker: drain(process, worker, now))


def roll_back(process: ProcessState, cause: Cause, now: float) -> Step:
    """Let the paused workers serve again, and end the new ones."""
    paused = process.of(WorkerPhase.PAUSED)
    process, ended = end_generation(process, process.current, now, cause)
    is_fallback = paused[0].source is CodeSource.KNOWN_GOOD
    process = replace(
        process,
        current=max(worker.generation for worker in paused),
        source=paused[0].source,
        retry_live_at=now + RETRY_LIVE_S if is_fallback else None,
        probation_until=None,
        since=now,
        refusal=Refusal(cause=cause, at=now),
        recycle_at=max(process.recycle_at, now + RECYCLE_AGAIN_S),
    )
    process, resumed = each(process, paused, _resume)
    return process, resumed + ended


def _resume(process: ProcessState, worker: WorkerState) -> Step:
    serves = replace(worker, phase=WorkerPhase.READY, accepts=True)
    return with_worker(process, serves), (Resume(worker.number),)


def refuse(process: ProcessState, cause: Cause, now: float) -> Step:
    """End the candidate: what serves goes on. Raises `IllegalTransition` without one."""
    generation = process.candidate
    if generation is None:
        raise IllegalTransition("there is no candidate that could be refused")
    if process.source is CodeSource.KNOWN_GOOD:
        process = replace(process, broken=cause, retry_live_at=now + RETRY_LIVE_S)
    process = replace(
        process,
        candidate=None,
        refusal=Refusal(cause=cause, at=now),
        recycle_at=max(process.recycle_at, now + RECYCLE_AGAIN_S),
    )
    return end_generation(process, generation, now, cause)


def end_generation(
    process: ProcessState, generation: int, now: float, verdict: Cause | None = None
) -> Step:
    """End the workers of one generation: those that are ready may have accepted requests."""
    process, drained = each(
        process,
        process.of(WorkerPhase.READY, generation=generation),
        lambda process, worker: drain(process, worker, now),
    )
    process, killed = each(
        process,
        process.of(WorkerPhase.IMPORTING, generation=generation),
        lambda process, worker: kill(process, worker, now, verdict),
    )
    return process, drained + killed


def kill(
    process: ProcessState, worker: WorkerState, now: float, verdict: Cause | None = None
) -> Step:
    """End a worker at once; one that was never forked is forgotten."""
    if worker.pid is None:
        return without(process, worker.number), ()
    ending = replace(
        worker,
        phase=WorkerPhase.ENDING,
        since=now,
        kill_at=None,
        verdict=verdict or worker.verdict,
    )
    return with_worker(process, ending), (Kill(worker.number),)


def drain(process: ProcessState, worker: WorkerState, now: float, *, replaced: bool = True) -> Step:
    """Let a worker finish its requests; a stuck one is killed."""
    if worker.stuck:
        return kill(process, worker, now)
    kill_at = now + process.limits.stop_timeout_s + DRAIN_MARGIN_S
    draining = replace(worker, phase=WorkerPhase.DRAINING, since=now, kill_at=kill_at)
    return with_worker(process, draining), (Drain(worker.number, replaced),)


def end_all(process: ProcessState, now: float) -> Step:
    """End every worker: those that serve finish their requests."""
    process = replace(
        process, candidate=None, probation_until=None, retry_at=None, retry_live_at=None
    )
    process, drained = each(
        process,
        process.of(WorkerPhase.READY, WorkerPhase.PAUSED),
        lambda process, worker: drain(process, worker, now, replaced=False),
    )
    process, killed = each(
        process,
        process.of(WorkerPhase.IMPORTING),
        lambda process, worker: kill(process, worker, now),
    )
    return process, drained + killed
