"""What the events of a worker do to its process: one table of (worker phase, event)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from supervisor.policy.backoff import STABLE_S, Rng
from supervisor.policy.generations import (
    EXIT_GRACE_S,
    RECYCLE_MIN_S,
    RETRY_LIVE_S,
    Step,
    end_all,
    kill,
    promote,
    refuse,
    roll_back,
    start_candidate,
    take_over,
    with_worker,
    without,
)
from supervisor.policy.process_events import (
    AppFailed,
    AppJoined,
    Exited,
    GaveUp,
    HeartbeatSeen,
    ImportAt,
    ImportFailed,
    Importing,
    Note,
    PauseConfirmed,
    Ready,
    Spawned,
    SpawnFailed,
    UsageReported,
    WorkerEvent,
)
from supervisor.policy.process_state import (
    STUCK_AFTER_S,
    AppFailure,
    Pending,
    ProcessState,
    WorkerPhase,
    WorkerState,
)
from supervisor.policy.recovery import after_exit, again, import_lost
from supervisor.policy.worker_deadlines import excess, sized
from supervisor.values.reports import Cause
from supervisor.values.states import CodeSource

Handler = Callable[[ProcessState, WorkerState, Any, float, Rng], Step]


# ---- importing


def _spawned(
    process: ProcessState, worker: WorkerState, event: Spawned, _now: float, _rng: Rng
) -> Step:
    return with_worker(process, replace(worker, pid=event.pid)), ()


def _spawn_failed(
    process: ProcessState, worker: WorkerState, event: SpawnFailed, now: float, rng: Rng
) -> Step:
    process, actions = import_lost(without(process, worker.number), worker, event.cause, now)
    process, more = after_exit(process, now, rng)
    return process, actions + more


def _importing(
    process: ProcessState, worker: WorkerState, event: Importing, _now: float, _rng: Rng
) -> Step:
    return _watching(with_worker(process, replace(worker, watch=event.watch)), worker, event), ()


def _import_at(
    process: ProcessState, worker: WorkerState, event: ImportAt, _now: float, _rng: Rng
) -> Step:
    return with_worker(process, replace(worker, importing_at=event.place)), ()


def _watching(
    process: ProcessState, worker: WorkerState, event: Importing | ImportFailed
) -> ProcessState:
    """Remember which files the newest import of live code depends on."""
    if worker.source is not CodeSource.LIVE or event.watch is None:
        return process
    return replace(process, watch=event.watch)


def _import_failed(
    process: ProcessState, worker: WorkerState, event: ImportFailed, now: float, _rng: Rng
) -> Step:
    process = _watching(process, worker, event)
    cause = event.report.cause
    ending = replace(
        worker, phase=WorkerPhase.ENDING, since=now, kill_at=now + EXIT_GRACE_S, verdict=cause
    )
    return import_lost(with_worker(process, ending), worker, cause, now)


def _app_failed(
    process: ProcessState, worker: WorkerState, event: AppFailed, _now: float, _rng: Rng
) -> Step:
    failure = AppFailure(report=event.report, watch=event.watch)
    failures = {**worker.failures, event.app: failure}
    return with_worker(process, replace(worker, failures=failures)), ()


def _ready(process: ProcessState, worker: WorkerState, event: Ready, now: float, _rng: Rng) -> Step:
    if worker.generation == process.candidate:
        lost = next((worker.failures[a] for a in worker.failures if a in event.needed), None)
        if lost is not None:
            process, killed = kill(process, worker, now, lost.report.cause)
            process, more = refuse(process, lost.report.cause, now)
            return process, killed + more
    serves = replace(worker, phase=WorkerPhase.READY, since=now, alive_at=now, kill_at=None)
    process = with_worker(process, serves)
    if worker.generation not in (process.current, process.candidate):
        return kill(process, serves, now)  # it started before a reload that has been quicker
    if worker.generation == process.current and worker.source is CodeSource.LIVE:
        return replace(process, refusal=None, broken=None), ()  # the code on disk serves
    if worker.generation == process.current:
        again_at = None if process.limits.replace else now + RETRY_LIVE_S
        return replace(process, retry_live_at=again_at), ()
    if process.of(WorkerPhase.IMPORTING, generation=process.candidate):
        return process, ()
    return take_over(process, now)


def _exited_importing(
    process: ProcessState, worker: WorkerState, event: Exited, now: float, rng: Rng
) -> Step:
    cause = worker.verdict or Cause(
        reason=f"the worker ended while it imported the app: {event.exit}",
        hint="look for os._exit, a crashing C extension, or lack of memory in the log",
    )
    process, actions = import_lost(without(process, worker.number), worker, cause, now)
    process, more = after_exit(process, now, rng)
    return process, actions + more


# ---- serving


def _app_joined(
    process: ProcessState, worker: WorkerState, event: AppJoined, _now: float, _rng: Rng
) -> Step:
    failures = {app: why for app, why in worker.failures.items() if app != event.app}
    stale = worker.stale and event.watch == worker.watch  # a new watch is of the files as they are
    joined = replace(worker, failures=failures, watch=event.watch, stale=stale)
    return with_worker(process, joined), ()


def _usage_reported(
    process: ProcessState, worker: WorkerState, event: UsageReported, now: float, rng: Rng
) -> Step:
    cause = excess(process, worker, event)
    not_before = max(process.recycle_at, worker.since + RECYCLE_MIN_S)
    may = process.candidate is None and process.pending is None and now >= not_before
    if worker.phase is not WorkerPhase.READY:
        return process, ()
    is_due = cause is not None and may
    process = sized(process, worker, event, now, replaced=is_due)
    if cause is None or not is_due:
        return process, ()
    process, actions = reload(process, now, rng)
    return process, (Note(cause.reason), *actions)


def _heartbeat_seen(
    process: ProcessState, worker: WorkerState, event: HeartbeatSeen, now: float, _rng: Rng
) -> Step:
    alive_at = max(worker.alive_at, event.at)
    stuck = worker.stuck and now - alive_at > STUCK_AFTER_S
    return with_worker(process, replace(worker, alive_at=alive_at, stuck=stuck)), ()


def _gave_up(
    process: ProcessState, worker: WorkerState, event: GaveUp, _now: float, _rng: Rng
) -> Step:
    return with_worker(process, replace(worker, verdict=event.cause)), ()


def _pause_confirmed(
    process: ProcessState, worker: WorkerState, _event: PauseConfirmed, _now: float, _rng: Rng
) -> Step:
    return with_worker(process, replace(worker, accepts=False)), ()


def reload(process: ProcessState, now: float, rng: Rng) -> Step:
    """Start a new generation, beside the old one if the app may run twice; a worker serves now."""
    if not process.limits.replace:
        return start_candidate(process, now, rng)
    process, actions = end_all(process, now)
    return replace(process, pending=Pending.START), actions


def _exited_ready(
    process: ProcessState, worker: WorkerState, event: Exited, now: float, rng: Rng
) -> Step:
    process = without(process, worker.number)
    ready_s = now - worker.since
    cause = worker.verdict or Cause(reason=f"the worker ended: {event.exit}")
    if worker.generation == process.candidate:  # the candidate's other workers still import
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
    ready = process.of(WorkerPhase.READY, generation=process.current)
    if process.candidate is not None:
        if ready:
            return process, ()
        return promote(replace(process, restarts=process.restarts + 1), now)
    if process.pending is Pending.RELOAD and ready:
        return after_exit(process, now, rng)
    return again(process, now, rng)


def _exited_paused(
    process: ProcessState, worker: WorkerState, _event: Exited, now: float, rng: Rng
) -> Step:
    process = without(process, worker.number)
    if not process.of(WorkerPhase.PAUSED):
        process = replace(process, probation_until=None)
    return after_exit(process, now, rng)


# ---- the end


def _exited_as_asked(
    process: ProcessState, worker: WorkerState, _event: Exited, now: float, rng: Rng
) -> Step:
    return after_exit(without(process, worker.number), now, rng)


def _nothing(
    process: ProcessState, _worker: WorkerState, _event: WorkerEvent, _now: float, _rng: Rng
) -> Step:
    """Change nothing: the event came too late, or too early."""
    return process, ()


TABLE: dict[tuple[WorkerPhase, type[WorkerEvent]], Handler] = {
    (WorkerPhase.IMPORTING, Spawned): _spawned,
    (WorkerPhase.IMPORTING, SpawnFailed): _spawn_failed,
    (WorkerPhase.IMPORTING, Importing): _importing,
    (WorkerPhase.IMPORTING, ImportAt): _import_at,
    (WorkerPhase.IMPORTING, ImportFailed): _import_failed,
    (WorkerPhase.IMPORTING, AppFailed): _app_failed,
    (WorkerPhase.IMPORTING, Ready): _ready,
    (WorkerPhase.IMPORTING, HeartbeatSeen): _nothing,  # its `Ready` is on the way
    (WorkerPhase.IMPORTING, GaveUp): _gave_up,
    (WorkerPhase.IMPORTING, Exited): _exited_importing,
    (WorkerPhase.READY, AppFailed): _app_failed,
    (WorkerPhase.READY, AppJoined): _app_joined,
    (WorkerPhase.READY, PauseConfirmed): _nothing,  # it has been resumed meanwhile
    (WorkerPhase.READY, HeartbeatSeen): _heartbeat_seen,
    (WorkerPhase.READY, UsageReported): _usage_reported,
    (WorkerPhase.READY, GaveUp): _gave_up,
    (WorkerPhase.READY, Exited): _exited_ready,
    (WorkerPhase.PAUSED, AppFailed): _app_failed,
    (WorkerPhase.PAUSED, AppJoined): _app_joined,
    (WorkerPhase.PAUSED, PauseConfirmed): _pause_confirmed,
    (WorkerPhase.PAUSED, HeartbeatSeen): _heartbeat_seen,
    (WorkerPhase.PAUSED, UsageReported): _usage_reported,
    (WorkerPhase.PAUSED, GaveUp): _gave_up,
    (WorkerPhase.PAUSED, Exited): _exited_paused,
    (WorkerPhase.DRAINING, AppFailed): _nothing,
    (WorkerPhase.DRAINING, AppJoined): _nothing,
    (WorkerPhase.DRAINING, PauseConfirmed): _nothing,
    (WorkerPhase.DRAINING, HeartbeatSeen): _nothing,
    (WorkerPhase.DRAINING, UsageReported): _nothing,
    (WorkerPhase.DRAINING, GaveUp): _nothing,
    (WorkerPhase.DRAINING, Exited): _exited_as_asked,
    (WorkerPhase.ENDING, Importing): _nothing,
    (WorkerPhase.ENDING, ImportAt): _nothing,
    (WorkerPhase.ENDING, ImportFailed): _nothing,
    (WorkerPhase.ENDING, AppFailed): _nothing,
    (WorkerPhase.ENDING, AppJoined): _nothing,
    (WorkerPhase.ENDING, Ready): _nothing,
    (WorkerPhase.ENDING, PauseConfirmed): _nothing,
    (WorkerPhase.ENDING, HeartbeatSeen): _nothing,
    (WorkerPhase.ENDING, UsageReported): _nothing,
    (WorkerPhase.ENDING, GaveUp): _nothing,
    (WorkerPhase.ENDING, Exited): _exited_as_asked,
}
