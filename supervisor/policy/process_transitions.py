"""The process of an app: one table of (state, event), one of (worker's phase, worker's event).

Nothing here does IO or reads a clock: ``now`` (seconds, monotonic) and ``rng`` come in as
arguments. There are no timer objects: `process_state.next_wakeup` says when to look again, and an
`Elapsed` that comes early or late changes nothing.

The state of an app is not set but derived (`_state`): what its workers do decides.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

from supervisor.policy import worker_transitions
from supervisor.policy.backoff import History, Rng
from supervisor.policy.generations import (
    Step,
    each,
    end_all,
    end_probation,
    fill_up,
    kill,
    start,
    start_candidate,
)
from supervisor.policy.process_state import (
    STAND_IN_AFTER_S,
    BindFailed,
    Bound,
    Elapsed,
    FallbackKnown,
    FilesChanged,
    LifecycleEvent,
    Limits,
    Pending,
    ProcessEvent,
    ProcessState,
    Refusal,
    ReloadAsked,
    ReloadRefused,
    RestartAsked,
    StartAsked,
    StopAsked,
    WorkerEvent,
    WorkerPhase,
)
from supervisor.values.reports import Cause
from supervisor.values.states import AppState

_WORKER_EVENTS = get_args(WorkerEvent)


class IllegalTransition(AssertionError):
    """An event came in a state where it can't come: a defect of the caller."""


def step(process: ProcessState, event: ProcessEvent, now: float, rng: Rng) -> Step:
    """Give the process after ``event`` and what is to be done.

    Raises `IllegalTransition` for a pair that the tables don't know.
    """
    if isinstance(event, _WORKER_EVENTS):
        worker = process.worker(event.number)
        if worker is None:
            return process, ()  # it has been reaped
        heard = worker_transitions.TABLE.get((worker.phase, type(event)))
        if heard is None:
            raise IllegalTransition(f"{type(event).__name__} of a worker that is {worker.phase}")
        after, actions = heard(process, worker, event, now, rng)
    else:
        handler = _TABLE.get((process.state, type(event)))  # type: ignore[arg-type]
        if handler is None:
            raise IllegalTransition(f"{type(event).__name__} in state {process.state}")
        after, actions = handler(process, event, now, rng)  # type: ignore[arg-type]
    return _settled(process, after, now), actions


def with_limits(process: ProcessState, limits: Limits) -> ProcessState:
    """Give the process with new limits; they hold from the next decision on."""
    return replace(process, limits=limits)


def forgiven(process: ProcessState, pause_s: float) -> ProcessState:
    """Give the process after a pause in which nobody listened to its workers, or all stood still.

    They could not show a sign of life, nor meet a deadline: none of them is to blame.
    """
    workers = tuple(
        replace(
            worker,
            alive_at=worker.alive_at + pause_s,
            kill_at=None if worker.kill_at is None else worker.kill_at + pause_s,
        )
        for worker in process.workers
    )
    return replace(process, workers=workers)


def _settled(before: ProcessState, process: ProcessState, now: float) -> ProcessState:
    """Bring what is derived from the workers up to date."""
    if process is before:
        return process
    state = _state(process)
    if state is not before.state:
        process = replace(process, state=state, since=now)
    if state is AppState.READY:
        well = sum(
            1 for w in process.of(WorkerPhase.READY, generation=process.current) if not w.stuck
        )
        cause = process.cause if well < process.limits.workers else None
        return replace(process, unserved_since=None, cause=cause)
    if process.bound and process.unserved_since is None:
        waited = (
            STAND_IN_AFTER_S if process.of(WorkerPhase.READY) else 0.0
        )  # a stuck worker had its time
        process = replace(process, unserved_since=now - waited)
    if state is AppState.FAILED and process.cause is None:
        process = replace(process, cause=worker_transitions.stuck_cause(process))
    return process


def _state(process: ProcessState) -> AppState:
    if process.stopped:
        return AppState.STOPPED
    if not process.bound:
        return AppState.BLOCKED
    serving = process.of(WorkerPhase.READY, generation=process.current)
    if any(not worker.stuck for worker in serving):
        return AppState.READY
    if serving:
        return AppState.FAILED
    if process.retry_at is None or process.of(WorkerPhase.IMPORTING, generation=process.current):
        return AppState.STARTING
    return AppState.FAILED if process.history.failed else AppState.BACKOFF


# ---- the port


def _bound(process: ProcessState, _event: LifecycleEvent, now: float, rng: Rng) -> Step:
    process = replace(process, bound=True, unserved_since=now)
    if process.stopped:
        return process, ()
    return start(replace(process, cause=None), now, rng)


def _bind_failed(process: ProcessState, event: LifecycleEvent, _now: float, _rng: Rng) -> Step:
    assert isinstance(event, BindFailed)
    return replace(process, cause=event.cause), ()


# ---- the files


def _files_changed(process: ProcessState, _event: LifecycleEvent, now: float, rng: Rng) -> Step:
    """Try at once what has been waiting for a repair."""
    history = process.history.after_change(now)
    if history is None or process.of(WorkerPhase.READY):
        return process, ()
    return start(replace(process, history=history), now, rng)


def _changed_while_starting(
    process: ProcessState, _event: LifecycleEvent, now: float, _rng: Rng
) -> Step:
    """Begin the import anew: what it has read is a mixture of old and new files."""
    history = process.history.after_change(now)
    if history is None or process.pending is Pending.START:
        return process, ()
    cause = process.cause or Cause(reason="its files changed during the import: it begins anew")
    process = replace(process, history=history, cause=cause, pending=Pending.START, retry_at=None)
    return each(
        process,
        process.of(WorkerPhase.IMPORTING),
        lambda process, worker: kill(process, worker, now),
    )


def _changed_while_ready(
    process: ProcessState, event: LifecycleEvent, now: float, rng: Rng
) -> Step:
    """Reload; not without end, if the import itself rewrites the files."""
    history = process.history.after_change(now)
    return (
        (process, ())
        if history is None
        else _reload(replace(process, history=history), event, now, rng)
    )


# ---- operators


def _stop(process: ProcessState, _event: LifecycleEvent, now: float, _rng: Rng) -> Step:
    """Let the workers end; whatever was planned is forgotten."""
    process, actions = end_all(process, now)
    stopped = replace(
        process,
        stopped=True,
        pending=None,
        refusal=None,
        cause=Cause(reason="stopped by an operator", hint="it runs again after: start"),
        history=History(),
    )
    return stopped, actions


def _restart(process: ProcessState, _event: LifecycleEvent, now: float, rng: Rng) -> Step:
    """End the workers, then start anew: no wait and no failure."""
    if process.pending is Pending.START:
        return process, ()
    process, actions = end_all(process, now)
    fresh = replace(process, history=History(), cause=None, refusal=None)
    if fresh.workers:
        return replace(fresh, pending=Pending.START), actions
    return start(fresh, now, rng)


def _start_stopped(process: ProcessState, event: LifecycleEvent, now: float, rng: Rng) -> Step:
    process = replace(process, stopped=False, cause=None)
    return _restart(process, event, now, rng) if process.bound else (process, ())


def _reload(process: ProcessState, _event: LifecycleEvent, now: float, rng: Rng) -> Step:
    """Let a new generation take over when it can; one that is being started begins anew."""
    process = replace(
        process, history=replace(process.history, failures=(), consecutive=0, failed=False)
    )
    if process.pending is not None:
        return process, ()
    if process.candidate is None:
        return worker_transitions.reload(process, now, rng)
    newer = process.of(WorkerPhase.IMPORTING, WorkerPhase.READY, generation=process.candidate)
    process = replace(process, candidate=None, pending=Pending.RELOAD)
    return each(process, newer, lambda process, worker: kill(process, worker, now))


def _reload_refused(process: ProcessState, event: LifecycleEvent, now: float, _rng: Rng) -> Step:
    assert isinstance(event, ReloadRefused)
    return replace(process, refusal=Refusal(cause=event.cause, at=now)), ()


def _reload_unserved(process: ProcessState, _event: LifecycleEvent, now: float, rng: Rng) -> Step:
    """Nobody serves: the code on disk is tried at once."""
    return _restart(process, _event, now, rng)


# ---- time


def _elapsed(process: ProcessState, _event: LifecycleEvent, now: float, rng: Rng) -> Step:
    if process.probation_until is not None and now >= process.probation_until:
        process, actions = end_probation(process, now)
    else:
        actions = ()
    for worker in process.workers:
        if process.worker(worker.number) is worker:  # not one that another's end has touched
            process, more = worker_transitions.elapsed(process, worker, now)
            actions += more
    if _wants_live(process, now):
        process, spawned = start_candidate(process, now, rng)
        return process, actions + spawned
    if process.retry_at is None or now < process.retry_at or process.candidate is not None:
        return process, actions
    process, spawned = fill_up(process, now, rng)
    return process, actions + spawned


def _wants_live(process: ProcessState, now: float) -> bool:
    """Say whether the live code is to be tried again, while a release serves in its place."""
    due = process.retry_live_at is not None and now >= process.retry_live_at
    return due and process.candidate is None and process.pending is None and not process.stopped


def _known_good(process: ProcessState, event: LifecycleEvent, now: float, rng: Rng) -> Step:
    assert isinstance(event, FallbackKnown)
    return worker_transitions.known_good(process, now, rng, available=event.available)


def _nothing(process: ProcessState, _event: LifecycleEvent, _now: float, _rng: Rng) -> Step:
    """Change nothing: the event came too late, or asks for what is already so."""
    return process, ()


Handler = Callable[[ProcessState, LifecycleEvent, float, Rng], Step]

_TABLE: dict[tuple[AppState, type[LifecycleEvent]], Handler] = {
    (AppState.BLOCKED, Bound): _bound,
    (AppState.BLOCKED, BindFailed): _bind_failed,
    (AppState.BLOCKED, FilesChanged): _nothing,
    (AppState.BLOCKED, StartAsked): _nothing,
    (AppState.BLOCKED, StopAsked): _stop,
    (AppState.BLOCKED, RestartAsked): _nothing,
    (AppState.BLOCKED, ReloadAsked): _nothing,
    (AppState.BLOCKED, ReloadRefused): _nothing,
    (AppState.BLOCKED, FallbackKnown): _known_good,
    (AppState.BLOCKED, Elapsed): _nothing,
    (AppState.STARTING, FilesChanged): _changed_while_starting,
    (AppState.STARTING, StartAsked): _nothing,
    (AppState.STARTING, StopAsked): _stop,
    (AppState.STARTING, RestartAsked): _restart,
    (AppState.STARTING, ReloadAsked): _reload_unserved,
    (AppState.STARTING, ReloadRefused): _nothing,
    (AppState.STARTING, FallbackKnown): _known_good,
    (AppState.STARTING, Elapsed): _elapsed,
    (AppState.READY, FilesChanged): _changed_while_ready,
    (AppState.READY, StartAsked): _nothing,
    (AppState.READY, StopAsked): _stop,
    (AppState.READY, RestartAsked): _restart,
    (AppState.READY, ReloadAsked): _reload,
    (AppState.READY, ReloadRefused): _reload_refused,
    (AppState.READY, FallbackKnown): _known_good,
    (AppState.READY, Elapsed): _elapsed,
    (AppState.BACKOFF, FilesChanged): _files_changed,
    (AppState.BACKOFF, StartAsked): _restart,
    (AppState.BACKOFF, StopAsked): _stop,
    (AppState.BACKOFF, RestartAsked): _restart,
    (AppState.BACKOFF, ReloadAsked): _reload_unserved,
    (AppState.BACKOFF, ReloadRefused): _nothing,
    (AppState.BACKOFF, FallbackKnown): _known_good,
    (AppState.BACKOFF, Elapsed): _elapsed,
    (AppState.FAILED, FilesChanged): _files_changed,
    (AppState.FAILED, StartAsked): _restart,
    (AppState.FAILED, StopAsked): _stop,
    (AppState.FAILED, RestartAsked): _restart,
    (AppState.FAILED, ReloadAsked): _reload_unserved,
    (AppState.FAILED, ReloadRefused): _nothing,
    (AppState.FAILED, FallbackKnown): _known_good,
    (AppState.FAILED, Elapsed): _elapsed,
    (AppState.STOPPED, Bound): _bound,
    (AppState.STOPPED, BindFailed): _nothing,
    (AppState.STOPPED, FilesChanged): _nothing,
    (AppState.STOPPED, StartAsked): _start_stopped,
    (AppState.STOPPED, StopAsked): _nothing,
    (AppState.STOPPED, RestartAsked): _start_stopped,
    (AppState.STOPPED, ReloadAsked): _nothing,
    (AppState.STOPPED, ReloadRefused): _nothing,
    (AppState.STOPPED, FallbackKnown): _known_good,
    (AppState.STOPPED, Elapsed): _elapsed,
}
