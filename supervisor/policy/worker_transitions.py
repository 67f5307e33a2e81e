"""What the events of a worker do to the process of its app, by the worker's phase."""

from collections.abc import Callable
from dataclasses import replace

from supervisor.policy.backoff import STABLE_S, Rng
from supervisor.policy.generations import (
    EXIT_GRACE_S,
    RECYCLE_MIN_S,
    RETRY_LIVE_S,
    Step,
    each,
    end_all,
    fill_up,
    kill,
    promote,
    refuse,
    roll_back,
    start,
    start_candidate,
    take_over,
    with_worker,
    without,
)
from supervisor.policy.process_state import (
    STUCK_AFTER_S,
    Exited,
    GaveUp,
    HeartbeatSeen,
    ImportFailed,
    Kill,
    Note,
    Pending,
    ProcessState,
    Ready,
    Spawned,
    SpawnFailed,
    UsageReported,
    WorkerEvent,
    WorkerPhase,
    WorkerState,
)
from supervisor.values.reports import Cause
from supervisor.values.states import CodeSource

Handler = Callable[[ProcessState, WorkerState, WorkerEvent, float, Rng], Step]


# ---- importing


def _spawned(
    process: ProcessState, worker: WorkerState, event: WorkerEvent, _now: float, _rng: Rng
) -> Step:
    assert isinstance(event, Spawned)
    return with_worker(process, replace(worker, pid=event.pid)), ()


def _spawn_failed(
    process: ProcessState, worker: WorkerState, event: WorkerEvent, now: float, rng: Rng
) -> Step:
    assert isinstance(event, SpawnFailed)
    process, actions = import_lost(without(process, worker.number), worker, event.cause, now)
    process, more = after_exit(process, now, rng)
    return process, actions + more


def _import_failed(
    process: ProcessState, worker: WorkerState, event: WorkerEvent, now: float, _rng: Rng
) -> Step:
    assert isinstance(event, ImportFailed)
    cause = event.report.cause
    ending = replace(
        worker, phase=WorkerPhase.ENDING, since=now, kill_at=now + EXIT_GRACE_S, verdict=cause
    )
    return import_lost(with_worker(process, ending), worker, cause, now)


def import_lost(process: ProcessState, worker: WorkerState, cause: Cause, now: float) -> Step:
    """Give up the import of ``worker``'s generation: its other workers import the same."""
    if worker.generation == process.candidate:
        return refuse(process, cause, now)
    if worker.generation != process.current:
        return process, ()
    if worker.source is CodeSource.LIVE:
        process = replace(process, cause=cause, broken=cause)
    elif process.of(WorkerPhase.READY, generation=process.current):
        process = replace(process, cause=cause)
    else:
        process = replace(
            process,
            known_good=False,
            source=CodeSource.LIVE,
            retry_live_at=None,
            cause=process.broken or cause,
        )
    others = process.of(WorkerPhase.IMPORTING, generation=worker.generation)
    return each(process, others, lambda process, other: kill(process, other, now, cause))


def _ready(
    process: ProcessState, worker: WorkerState, _event: WorkerEvent, now: float, _rng: Rng
) -> Step:
    serves = replace(worker, phase=WorkerPhase.READY, since=now, alive_at=now, kill_at=None)
    process = with_worker(process, serves)
    if worker.generation not in (process.current, process.candidate):
        return kill(process, serves, now)  # it started before a reload that has been quicker
    if worker.generation == process.current and worker.source is CodeSource.LIVE:
        return replace(process, refusal=None, broken=None), ()  # what is on disk serves
    if worker.generation == process.current:
        again_at = None if process.limits.replace else now + RETRY_LIVE_S
        return replace(process, retry_live_at=again_at), ()
    if process.of(WorkerPhase.IMPORTING, generation=process.candidate):
        return process, ()
    return take_over(process, now)


def _exited_importing(
    process: ProcessState, worker: WorkerState, event: WorkerEvent, now: float, rng: Rng
) -> Step:
    assert isinstance(event, Exited)
    cause = worker.verdict or Cause(
        reason=f"the worker ended while it imported the app: {event.exit}",
        hint="look for os._exit, a crashing C extension, or lack of memory in the log",
    )
    process, actions = import_lost(without(process, worker.number), worker, cause, now)
    process, more = after_exit(process, now, rng)
    return process, actions + more


# ---- serving


def _beat(
    process: ProcessState, worker: WorkerState, event: WorkerEvent, now: float, rng: Rng
) -> Step:
    assert isinstance(event, UsageReported)
    cause = _too_much(process, worker, event)
    not_before = max(process.recycle_at, worker.since + RECYCLE_MIN_S)
    may = process.candidate is None and process.pending is None and now >= not_before
    if cause is None or not may or worker.phase is not WorkerPhase.READY:
        return process, ()
    process, actions = reload(process, now, rng)
    return process, (Note(cause.reason), *actions)


def _sign_of_life(
    process: ProcessState, worker: WorkerState, event: WorkerEvent, now: float, _rng: Rng
) -> Step:
    assert isinstance(event, HeartbeatSeen)
    alive_at = max(worker.alive_at, event.at)
    stuck = worker.stuck and now - alive_at > STUCK_AFTER_S
    return with_worker(process, replace(worker, alive_at=alive_at, stuck=stuck)), ()


def _gave_up(
    process: ProcessState, worker: WorkerState, event: WorkerEvent, _now: float, _rng: Rng
) -> Step:
    assert isinstance(event, GaveUp)
    return with_worker(process, replace(worker, verdict=event.cause)), ()


def _too_much(process: ProcessState, worker: WorkerState, beat: UsageReported) -> Cause | None:
    """Say why a worker has to be replaced, if it has to."""
    limits = process.limits
    if limits.max_memory_mb is not None and beat.memory_mb > limits.max_memory_mb:
        text = f"its worker uses {beat.memory_mb:.0f} MB, more than max_memory_mb"
        return Cause(reason=f"{text} = {limits.max_memory_mb}: it is being replaced")
    if worker.max_requests is not None and beat.requests >= worker.max_requests:
        return Cause(reason=f"its worker has answered {beat.requests} requests: it is replaced")
    oldest_s, most_s = beat.oldest_request_s or 0.0, limits.request_timeout_s
    if most_s is not None and oldest_s > most_s:
        text = f"a request has taken {oldest_s:.0f} s, longer than request_timeout_s"
        return Cause(reason=f"{text} = {most_s:g}: its worker is being replaced")
    return None


def reload(process: ProcessState, now: float, rng: Rng) -> Step:
    """Bring a new generation up, by the way that the app allows; a worker serves now."""
    if not process.limits.replace:
        return start_candidate(process, now, rng)
    process, actions = end_all(process, now)
    return replace(process, pending=Pending.START), actions


def _exited_ready(
    process: ProcessState, worker: WorkerState, event: WorkerEvent, now: float, rng: Rng
) -> Step:
    assert isinstance(event, Exited)
    process = without(process, worker.number)
    ready_s = now - worker.since
    cause = worker.verdict or Cause(reason=f"the worker ended: {event.exit}")
    if worker.generation == process.candidate:  # ready before its mates were
        return refuse(process, cause, now)
    if process.of(WorkerPhase.PAUSED):
        text = f"the new worker ended {ready_s:.1f} s after it was ready: {event.exit}"
        hint = "what ran before goes on; look at its log"
        return roll_back(process, Cause(reason=text, hint=hint), now)
    history = (
        process.history.after_failure(now)
        if ready_s < STABLE_S
        else process.history.after_stable_exit(now, ready_s=ready_s)
    )
    process = replace(process, cause=cause, history=history)
    if process.candidate is not None:
        if process.of(WorkerPhase.READY, generation=process.current):
            return process, ()
        return promote(replace(process, restarts=process.restarts + 1), now)
    if process.pending is Pending.RELOAD and process.of(
        WorkerPhase.READY, generation=process.current
    ):
        return after_exit(process, now, rng)
    return _again(process, now, rng)


def _exited_paused(
    process: ProcessState, worker: WorkerState, _e: WorkerEvent, now: float, rng: Rng
) -> Step:
    process = without(process, worker.number)
    if not process.of(WorkerPhase.PAUSED):
        process = replace(process, probation_until=None)
    return after_exit(process, now, rng)


# ---- the end


def _exited_told_to(
    process: ProcessState, worker: WorkerState, _e: WorkerEvent, now: float, rng: Rng
) -> Step:
    return after_exit(without(process, worker.number), now, rng)


def after_exit(process: ProcessState, now: float, rng: Rng) -> Step:
    """Do what had to wait for workers to end; else see to it that enough of them run."""
    if process.stopped or not process.bound:
        return process, ()
    if process.pending is Pending.START:
        if process.workers:
            return process, ()
        return start(replace(process, restarts=process.restarts + 1), now, rng)
    if process.pending is Pending.RELOAD and process.of(
        WorkerPhase.READY, generation=process.current
    ):
        newer = process.of(WorkerPhase.ENDING, WorkerPhase.IMPORTING)
        return (process, ()) if newer else start_candidate(process, now, rng)
    at_work = process.of(
        WorkerPhase.IMPORTING, WorkerPhase.ENDING, WorkerPhase.READY, generation=process.current
    )
    ready = [worker for worker in at_work if worker.phase is WorkerPhase.READY]
    if process.candidate is not None or process.retry_at is not None or len(at_work) > len(ready):
        return process, ()
    if len(ready) >= process.limits.workers:
        return process, ()
    return _again(replace(process, history=process.history.after_failure(now)), now, rng)


def _again(process: ProcessState, now: float, rng: Rng) -> Step:
    """Start the missing workers now, or say when."""
    if process.retry_at is not None:
        return process, ()
    process = replace(process, restarts=process.restarts + 1, pending=None)
    if _falls_back(process):
        return start(process, now, rng, CodeSource.KNOWN_GOOD)
    delay_s = process.history.delay_s(rng)
    if delay_s == 0:
        return fill_up(process, now, rng)
    return replace(process, retry_at=now + delay_s), ()


def _falls_back(process: ProcessState) -> bool:
    """Say whether the last known good release is to serve, since the live code can't."""
    hopeless = process.broken is not None or process.history.failed
    at_work = process.of(WorkerPhase.READY, WorkerPhase.IMPORTING, generation=process.current)
    return process.known_good and process.source is CodeSource.LIVE and hopeless and not at_work


def known_good(process: ProcessState, now: float, rng: Rng, *, available: bool) -> Step:
    """Take note of a release to fall back on; use it at once when the app waits for a repair."""
    process = replace(process, known_good=available)
    if process.retry_at is None or process.stopped or not _falls_back(process):
        return process, ()
    return start(process, now, rng, CodeSource.KNOWN_GOOD)


# ---- time


def elapsed(process: ProcessState, worker: WorkerState, now: float) -> Step:
    """Do what is due for one worker: kill it, or see that it is stuck."""
    if worker.kill_at is not None and now >= worker.kill_at:
        if worker.phase is not WorkerPhase.IMPORTING:
            return with_worker(process, replace(worker, kill_at=None)), (Kill(worker.number),)
        cause = Cause(
            reason=f"the import took longer than {process.limits.import_timeout_s:g} s and could "
            "not be interrupted",
            hint="it is stuck outside of Python code; raise import_timeout_s if it is only slow",
        )
        process, killed = kill(process, worker, now, cause)
        process, actions = import_lost(process, worker, cause, now)
        return process, killed + actions
    if worker.phase not in (WorkerPhase.READY, WorkerPhase.PAUSED):
        return process, ()
    silent_s = now - worker.alive_at
    if silent_s > process.limits.hang_timeout_s:
        return _hung(process, worker, now)
    if silent_s > STUCK_AFTER_S and not worker.stuck:
        process = with_worker(process, replace(worker, stuck=True))
        return replace(process, cause=stuck_cause(process)), ()
    return process, ()


def stuck_cause(process: ProcessState) -> Cause:
    """Say that a worker is stuck."""
    return Cause(
        reason="its worker shows no sign of life: stopped, or busy outside of Python code",
        hint=f"it is replaced when that lasts {process.limits.hang_timeout_s:g} s (hang_timeout_s)",
    )


def _hung(process: ProcessState, worker: WorkerState, now: float) -> Step:
    """Kill a worker that has shown no sign of life for too long; its exit brings the next one."""
    if worker.verdict is not None:
        return process, ()
    cause = Cause(
        reason=f"the worker showed no sign of life for {process.limits.hang_timeout_s:g} s and was "
        "replaced",
        hint="look for a call that never returns to Python in what it did last",
    )
    return with_worker(process, replace(worker, verdict=cause)), (Kill(worker.number),)


def nothing(
    process: ProcessState, _worker: WorkerState, _event: WorkerEvent, _now: float, _rng: Rng
) -> Step:
    """Change nothing: the event came too late, or too early."""
    return process, ()


TABLE: dict[tuple[WorkerPhase, type[WorkerEvent]], Handler] = {
    (WorkerPhase.IMPORTING, Spawned): _spawned,
    (WorkerPhase.IMPORTING, SpawnFailed): _spawn_failed,
    (WorkerPhase.IMPORTING, ImportFailed): _import_failed,
    (WorkerPhase.IMPORTING, Ready): _ready,
    (WorkerPhase.IMPORTING, HeartbeatSeen): nothing,  # its `Ready` is on the way
    (WorkerPhase.IMPORTING, GaveUp): _gave_up,
    (WorkerPhase.IMPORTING, Exited): _exited_importing,
    (WorkerPhase.READY, HeartbeatSeen): _sign_of_life,
    (WorkerPhase.READY, UsageReported): _beat,
    (WorkerPhase.READY, GaveUp): _gave_up,
    (WorkerPhase.READY, Exited): _exited_ready,
    (WorkerPhase.PAUSED, HeartbeatSeen): _sign_of_life,
    (WorkerPhase.PAUSED, UsageReported): _beat,
    (WorkerPhase.PAUSED, GaveUp): _gave_up,
    (WorkerPhase.PAUSED, Exited): _exited_paused,
    (WorkerPhase.DRAINING, HeartbeatSeen): nothing,
    (WorkerPhase.DRAINING, UsageReported): nothing,
    (WorkerPhase.DRAINING, GaveUp): nothing,
    (WorkerPhase.DRAINING, Exited): _exited_told_to,
    (WorkerPhase.ENDING, ImportFailed): nothing,
    (WorkerPhase.ENDING, Ready): nothing,
    (WorkerPhase.ENDING, HeartbeatSeen): nothing,
    (WorkerPhase.ENDING, UsageReported): nothing,
    (WorkerPhase.ENDING, GaveUp): nothing,
    (WorkerPhase.ENDING, Exited): _exited_told_to,
}
