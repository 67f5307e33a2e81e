"""What events do to a process: one table of (state, event), and `step`, which uses both tables.

Nothing here does IO or reads a clock: ``now`` (monotonic seconds) and ``rng`` come in as
arguments. There are no timer objects: `process_state.next_wakeup` says when an `Elapsed` is
wanted, and one that comes early or late changes nothing.

No handler sets the state of a process: it follows from what its workers do (`ProcessState.state`).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

from supervisor.policy import worker_deadlines, worker_transitions
from supervisor.policy.backoff import History, Rng
from supervisor.policy.generations import (
    Step,
    each,
    end_all,
    end_generation,
    end_probation,
    fill_up,
    kill,
    start,
    start_candidate,
    with_worker,
)
from supervisor.policy.illegal_transition import IllegalTransition
from supervisor.policy.process_events import (
    Action,
    BindFailed,
    Bound,
    Elapsed,
    FallbackKnown,
    FilesChanged,
    FilesDiffer,
    Held,
    LifecycleEvent,
    ProcessEvent,
    Released,
    ReloadAsked,
    ReloadRefused,
    RestartAsked,
    StartAsked,
    StopAsked,
    WorkerEvent,
)
from supervisor.policy.process_state import (
    STAND_IN_AFTER_S,
    STOPPED,
    Pending,
    ProcessState,
    Refusal,
    WorkerPhase,
)
from supervisor.policy.recovery import after_exit, fallback_known
from supervisor.values.reports import Cause
from supervisor.values.states import AppState

SETTLE_S = 10.0  # after a change, further ones are imported too, as those of the same copy
_WORKER_EVENTS = get_args(WorkerEvent)


def step(process: ProcessState, event: ProcessEvent, now: float, rng: Rng) -> Step:
    """Return the process after ``event``, and the actions to carry out.

    Raises `IllegalTransition` for a pair that the tables don't know. An event of a worker that has
    been reaped changes nothing.
    """
    if isinstance(event, _WORKER_EVENTS):
        worker = process.worker(event.number)
        if worker is None:
            return process, ()
        of_worker = worker_transitions.TABLE.get((worker.phase, type(event)))
        if of_worker is None:
            raise IllegalTransition(f"{type(event).__name__} of a worker that is {worker.phase}")
        after, actions = of_worker(process, worker, event, now, rng)
    else:
        handler = TABLE.get((process.state, type(event)))  # type: ignore[arg-type]
        if handler is None:
            raise IllegalTransition(f"{type(event).__name__} in state {process.state}")
        after, actions = handler(process, event, now, rng)
    return _settled(process, after, now), actions


def _settled(before: ProcessState, process: ProcessState, now: float) -> ProcessState:
    """Bring up to date what follows from the workers and from the state before."""
    if process is before:
        return process
    state = process.state
    if state is not before.state:
        process = replace(process, since=now)
    if state is AppState.READY:
        ready = process.of(WorkerPhase.READY, generation=process.current)
        well = sum(1 for worker in ready if not worker.stuck)
        cause = process.cause if well < process.limits.workers else None
        return replace(process, unserved_since=None, cause=cause)
    if process.bound and process.unserved_since is None:
        is_stuck = process.of(WorkerPhase.READY)  # a stuck worker had its time
        process = replace(process, unserved_since=now - (STAND_IN_AFTER_S if is_stuck else 0.0))
    if state is AppState.FAILED and process.cause is None:
        process = replace(process, cause=worker_deadlines.stuck_cause(process))
    return process


# ---- the ports


def _bound(process: ProcessState, _event: Bound, now: float, rng: Rng) -> Step:
    process = replace(process, bound=True, unserved_since=now)
    if process.stopped:
        return process, ()
    return start(replace(process, cause=None), now, rng)


def _bind_failed(process: ProcessState, event: BindFailed, _now: float, _rng: Rng) -> Step:
    return replace(process, cause=event.cause), ()


# ---- the files


def _files_changed(process: ProcessState, _event: FilesChanged, now: float, rng: Rng) -> Step:
    """Try at once what has been waiting for a repair."""
    history = process.history.after_change(now)
    if history is None or process.of(WorkerPhase.READY):
        return process, ()
    return start(_settling(replace(process, history=history), now), now, rng)


def _changed_while_starting(
    process: ProcessState, _event: FilesChanged, now: float, _rng: Rng
) -> Step:
    """Begin the import anew: what it has read is a mixture of old and new files."""
    history = process.history.after_change(now)
    if history is None or process.pending is Pending.START:
        return process, ()
    cause = process.cause or Cause(reason="its files changed during the import: it begins anew")
    process = replace(process, history=history, cause=cause, pending=Pending.START, retry_at=None)
    process = _settling(process, now)
    importing = process.of(WorkerPhase.IMPORTING)
    return each(process, importing, lambda process, worker: kill(process, worker, now))


def _changed_while_ready(process: ProcessState, _event: FilesChanged, now: float, rng: Rng) -> Step:
    """Reload; not without end, if the import itself rewrites the files."""
    history = process.history.after_change(now)
    if history is None:
        return process, ()
    process = _settling(replace(process, history=history), now)
    return _reload(process, ReloadAsked(), now, rng)


def _settling(process: ProcessState, now: float) -> ProcessState:
    """Expect further changes: what was imported may be half of a copy over a slow connection."""
    return replace(process, settling_until=now + SETTLE_S)


def _files_differ(process: ProcessState, event: FilesDiffer, _now: float, _rng: Rng) -> Step:
    """Mark the workers of a generation as stale, or as up to date."""
    for worker in process.workers:
        if worker.generation == event.generation and worker.stale is not event.differ:
            process = with_worker(process, replace(worker, stale=event.differ))
    return process, ()


# ---- operators


def _stop(process: ProcessState, _event: StopAsked, now: float, _rng: Rng) -> Step:
    """End the workers; whatever was planned is forgotten."""
    process, actions = end_all(process, now)
    stopped = replace(
        process,
        stopped=True,
        pending=None,
        refusal=None,
        cause=STOPPED,
        history=History(),
        oversize=None,
    )
    return stopped, actions


def _restart(process: ProcessState, _event: LifecycleEvent, now: float, rng: Rng) -> Step:
    """End the workers, then start anew: no wait and no failure."""
    if process.pending is Pending.START:
        return process, ()
    process, actions = end_all(process, now)
    fresh = replace(process, history=History(), cause=None, refusal=None, oversize=None)
    if fresh.workers:
        return replace(fresh, pending=Pending.START), actions
    return start(fresh, now, rng)


def _start_stopped(process: ProcessState, event: LifecycleEvent, now: float, rng: Rng) -> Step:
    process = replace(process, stopped=False, cause=None)
    return _restart(process, event, now, rng) if process.bound else (process, ())


def _reload(process: ProcessState, _event: ReloadAsked, now: float, rng: Rng) -> Step:
    """Let a new generation take over when it can; one that is being started begins anew."""
    history = replace(process.history, failures=(), consecutive=0, failed=False)
    process = replace(process, history=history)
    if process.pending is not None:
        return process, ()
    if process.candidate is None:
        return worker_transitions.reload(process, now, rng)
    newer = process.candidate
    process = replace(process, candidate=None, pending=Pending.RELOAD)
    return end_generation(process, newer, now)


def _reload_refused(process: ProcessState, event: ReloadRefused, now: float, _rng: Rng) -> Step:
    return replace(process, refusal=Refusal(cause=event.cause, at=now)), ()


# ---- a deploy


def _hold(process: ProcessState, event: Held, now: float, _rng: Rng) -> Step:
    """End the workers that import: what they have read may be a mixture of two versions."""
    process = replace(process, held=event.cause)
    actions: tuple[Action, ...] = ()
    if process.candidate is not None:
        newer = process.candidate
        process = replace(process, candidate=None, pending=Pending.RELOAD)
        process, actions = end_generation(process, newer, now)
    importing = process.of(WorkerPhase.IMPORTING, generation=process.current)
    if importing and not process.of(WorkerPhase.READY, generation=process.current):
        process = replace(process, pending=Pending.START, cause=event.cause)
    process, killed = each(process, importing, lambda process, worker: kill(process, worker, now))
    return process, actions + killed


def _release(process: ProcessState, _event: Released, now: float, rng: Rng) -> Step:
    """Start what had to wait."""
    is_cause = process.cause is not None and process.cause is process.held
    process = replace(process, held=None, cause=None if is_cause else process.cause)
    if process.pending is None:
        return process, ()
    return after_exit(process, now, rng)


# ---- time


def _elapsed(process: ProcessState, _event: Elapsed, now: float, rng: Rng) -> Step:
    if process.settling_until is not None and now >= process.settling_until:
        process = replace(process, settling_until=None)
    if process.probation_until is not None and now >= process.probation_until:
        process, actions = end_probation(process, now)
    else:
        actions = ()
    for worker in process.workers:
        if process.worker(worker.number) is worker:  # not one that another's end has changed
            process, more = worker_deadlines.elapsed(process, worker, now)
            actions += more
    if process.held is not None:
        return process, actions
    if _wants_live(process, now):
        process, spawned = start_candidate(process, now, rng)
        return process, actions + spawned
    if process.retry_at is None or now < process.retry_at or process.candidate is not None:
        return process, actions
    process, spawned = fill_up(process, now, rng)
    return process, actions + spawned


def _wants_live(process: ProcessState, now: float) -> bool:
    """Return whether the live code is to be tried again, while the fallback serves."""
    due = process.retry_live_at is not None and now >= process.retry_live_at
    return due and process.candidate is None and process.pending is None and not process.stopped


def _fallback_known(process: ProcessState, event: FallbackKnown, now: float, rng: Rng) -> Step:
    return fallback_known(process, now, rng, available=event.available)


def _nothing(process: ProcessState, _event: LifecycleEvent, _now: float, _rng: Rng) -> Step:
    """Change nothing: the event came too late, or asks for what is already so."""
    return process, ()


Handler = Callable[[ProcessState, Any, float, Rng], Step]

TABLE: dict[tuple[AppState, type[LifecycleEvent]], Handler] = {
    (AppState.BLOCKED, Bound): _bound,
    (AppState.BLOCKED, BindFailed): _bind_failed,
    (AppState.BLOCKED, FilesChanged): _nothing,
    (AppState.BLOCKED, StartAsked): _nothing,
    (AppState.BLOCKED, StopAsked): _stop,
    (AppState.BLOCKED, RestartAsked): _nothing,
    (AppState.BLOCKED, ReloadAsked): _nothing,
    (AppState.BLOCKED, ReloadRefused): _nothing,
    (AppState.BLOCKED, FallbackKnown): _fallback_known,
    (AppState.BLOCKED, Elapsed): _nothing,
    (AppState.STARTING, FilesChanged): _changed_while_starting,
    (AppState.STARTING, StartAsked): _nothing,
    (AppState.STARTING, StopAsked): _stop,
    (AppState.STARTING, RestartAsked): _restart,
    (AppState.STARTING, ReloadAsked): _restart,
    (AppState.STARTING, ReloadRefused): _nothing,
    (AppState.STARTING, FallbackKnown): _fallback_known,
    (AppState.STARTING, Elapsed): _elapsed,
    (AppState.READY, FilesChanged): _changed_while_ready,
    (AppState.READY, StartAsked): _nothing,
    (AppState.READY, StopAsked): _stop,
    (AppState.READY, RestartAsked): _restart,
    (AppState.READY, ReloadAsked): _reload,
    (AppState.READY, ReloadRefused): _reload_refused,
    (AppState.READY, FallbackKnown): _fallback_known,
    (AppState.READY, Elapsed): _elapsed,
    (AppState.BACKOFF, FilesChanged): _files_changed,
    (AppState.BACKOFF, StartAsked): _restart,
    (AppState.BACKOFF, StopAsked): _stop,
    (AppState.BACKOFF, RestartAsked): _restart,
    (AppState.BACKOFF, ReloadAsked): _restart,
    (AppState.BACKOFF, ReloadRefused): _nothing,
    (AppState.BACKOFF, FallbackKnown): _fallback_known,
    (AppState.BACKOFF, Elapsed): _elapsed,
    (AppState.FAILED, FilesChanged): _files_changed,
    (AppState.FAILED, StartAsked): _restart,
    (AppState.FAILED, StopAsked): _stop,
    (AppState.FAILED, RestartAsked): _restart,
    (AppState.FAILED, ReloadAsked): _restart,
    (AppState.FAILED, ReloadRefused): _nothing,
    (AppState.FAILED, FallbackKnown): _fallback_known,
    (AppState.FAILED, Elapsed): _elapsed,
    (AppState.STOPPED, Bound): _bound,
    (AppState.STOPPED, BindFailed): _nothing,
    (AppState.STOPPED, FilesChanged): _nothing,
    (AppState.STOPPED, StartAsked): _start_stopped,
    (AppState.STOPPED, StopAsked): _nothing,
    (AppState.STOPPED, RestartAsked): _start_stopped,
    (AppState.STOPPED, ReloadAsked): _nothing,
    (AppState.STOPPED, ReloadRefused): _nothing,
    (AppState.STOPPED, FallbackKnown): _fallback_known,
    (AppState.STOPPED, Elapsed): _elapsed,
    **{(state, FilesDiffer): _files_differ for state in AppState},
    **{(state, Held): _hold for state in AppState},
    **{(state, Released): _release for state in AppState},
}
