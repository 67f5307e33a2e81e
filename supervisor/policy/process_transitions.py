"""The life of an app: one table of (state, event), one of (worker's phase, worker's event).

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
    AppEvent,
    BindFailed,
    Bound,
    Elapsed,
    FilesChanged,
    KnownGood,
    Life,
    LifeEvent,
    Limits,
    Pending,
    Phase,
    Refusal,
    ReloadAsked,
    ReloadRefused,
    RestartAsked,
    StartAsked,
    StopAsked,
    WorkerEvent,
)
from supervisor.values.reports import Cause
from supervisor.values.states import AppState

_WORKER_EVENTS = get_args(WorkerEvent)


class IllegalTransition(AssertionError):
    """An event came in a state where it can't come: a defect of the caller."""


def step(life: Life, event: LifeEvent, now: float, rng: Rng) -> Step:
    """Give the life after ``event`` and what is to be done.

    Raises `IllegalTransition` for a pair that the tables don't know.
    """
    if isinstance(event, _WORKER_EVENTS):
        worker = life.worker(event.number)
        if worker is None:
            return life, ()  # it has been reaped
        heard = worker_transitions.TABLE.get((worker.phase, type(event)))
        if heard is None:
            raise IllegalTransition(f"{type(event).__name__} of a worker that is {worker.phase}")
        after, actions = heard(life, worker, event, now, rng)
    else:
        handler = _TABLE.get((life.state, type(event)))  # type: ignore[arg-type]
        if handler is None:
            raise IllegalTransition(f"{type(event).__name__} in state {life.state}")
        after, actions = handler(life, event, now, rng)  # type: ignore[arg-type]
    return _settled(life, after, now), actions


def with_limits(life: Life, limits: Limits) -> Life:
    """Give the life with new limits; they hold from the next decision on."""
    return replace(life, limits=limits)


def forgiven(life: Life, pause_s: float) -> Life:
    """Give the life after a pause in which nobody listened to its workers, or all stood still.

    They could not show a sign of life, nor meet a deadline: none of them is to blame.
    """
    workers = tuple(
        replace(
            worker,
            alive_at=worker.alive_at + pause_s,
            kill_at=None if worker.kill_at is None else worker.kill_at + pause_s,
        )
        for worker in life.workers
    )
    return replace(life, workers=workers)


def _settled(before: Life, life: Life, now: float) -> Life:
    """Bring what is derived from the workers up to date."""
    if life is before:
        return life
    state = _state(life)
    if state is not before.state:
        life = replace(life, state=state, since=now)
    if state is AppState.READY:
        well = sum(1 for w in life.of(Phase.READY, generation=life.current) if not w.stuck)
        cause = life.cause if well < life.limits.workers else None
        return replace(life, unserved_since=None, cause=cause)
    if life.bound and life.unserved_since is None:
        waited = STAND_IN_AFTER_S if life.of(Phase.READY) else 0.0  # a stuck worker had its time
        life = replace(life, unserved_since=now - waited)
    if state is AppState.FAILED and life.cause is None:
        life = replace(life, cause=worker_transitions.stuck_cause(life))
    return life


def _state(life: Life) -> AppState:
    if life.stopped:
        return AppState.STOPPED
    if not life.bound:
        return AppState.BLOCKED
    serving = life.of(Phase.READY, generation=life.current)
    if any(not worker.stuck for worker in serving):
        return AppState.READY
    if serving:
        return AppState.FAILED
    if life.retry_at is None or life.of(Phase.IMPORTING, generation=life.current):
        return AppState.STARTING
    return AppState.FAILED if life.history.failed else AppState.BACKOFF


# ---- the port


def _bound(life: Life, _event: AppEvent, now: float, rng: Rng) -> Step:
    life = replace(life, bound=True, unserved_since=now)
    if life.stopped:
        return life, ()
    return start(replace(life, cause=None), now, rng)


def _bind_failed(life: Life, event: AppEvent, _now: float, _rng: Rng) -> Step:
    assert isinstance(event, BindFailed)
    return replace(life, cause=event.cause), ()


# ---- the files


def _files_changed(life: Life, _event: AppEvent, now: float, rng: Rng) -> Step:
    """Try at once what has been waiting for a repair."""
    history = life.history.after_change(now)
    if history is None or life.of(Phase.READY):
        return life, ()
    return start(replace(life, history=history), now, rng)


def _changed_while_starting(life: Life, _event: AppEvent, now: float, _rng: Rng) -> Step:
    """Begin the import anew: what it has read is a mixture of old and new files."""
    history = life.history.after_change(now)
    if history is None or life.pending is Pending.START:
        return life, ()
    cause = life.cause or Cause(reason="its files changed during the import: it begins anew")
    life = replace(life, history=history, cause=cause, pending=Pending.START, retry_at=None)
    return each(life, life.of(Phase.IMPORTING), lambda life, worker: kill(life, worker, now))


def _changed_while_ready(life: Life, event: AppEvent, now: float, rng: Rng) -> Step:
    """Reload; not without end, if the import itself rewrites the files."""
    history = life.history.after_change(now)
    return (
        (life, ()) if history is None else _reload(replace(life, history=history), event, now, rng)
    )


# ---- operators


def _stop(life: Life, _event: AppEvent, now: float, _rng: Rng) -> Step:
    """Let the workers end; whatever was planned is forgotten."""
    life, actions = end_all(life, now)
    stopped = replace(
        life,
        stopped=True,
        pending=None,
        refusal=None,
        cause=Cause(reason="stopped by an operator", hint="it runs again after: start"),
        history=History(),
    )
    return stopped, actions


def _restart(life: Life, _event: AppEvent, now: float, rng: Rng) -> Step:
    """End the workers, then start anew: no wait and no failure."""
    if life.pending is Pending.START:
        return life, ()
    life, actions = end_all(life, now)
    fresh = replace(life, history=History(), cause=None, refusal=None)
    if fresh.workers:
        return replace(fresh, pending=Pending.START), actions
    return start(fresh, now, rng)


def _start_stopped(life: Life, event: AppEvent, now: float, rng: Rng) -> Step:
    life = replace(life, stopped=False, cause=None)
    return _restart(life, event, now, rng) if life.bound else (life, ())


def _reload(life: Life, _event: AppEvent, now: float, rng: Rng) -> Step:
    """Let a new generation take over when it can; one that is being started begins anew."""
    life = replace(life, history=replace(life.history, failures=(), consecutive=0, failed=False))
    if life.pending is not None:
        return life, ()
    if life.candidate is None:
        return worker_transitions.reload(life, now, rng)
    newer = life.of(Phase.IMPORTING, Phase.READY, generation=life.candidate)
    life = replace(life, candidate=None, pending=Pending.RELOAD)
    return each(life, newer, lambda life, worker: kill(life, worker, now))


def _reload_refused(life: Life, event: AppEvent, now: float, _rng: Rng) -> Step:
    assert isinstance(event, ReloadRefused)
    return replace(life, refusal=Refusal(cause=event.cause, at=now)), ()


def _reload_unserved(life: Life, _event: AppEvent, now: float, rng: Rng) -> Step:
    """Nobody serves: the code on disk is tried at once."""
    return _restart(life, _event, now, rng)


# ---- time


def _elapsed(life: Life, _event: AppEvent, now: float, rng: Rng) -> Step:
    if life.probation_until is not None and now >= life.probation_until:
        life, actions = end_probation(life, now)
    else:
        actions = ()
    for worker in life.workers:
        if life.worker(worker.number) is worker:  # not one that another's end has touched
            life, more = worker_transitions.elapsed(life, worker, now)
            actions += more
    if _wants_live(life, now):
        life, spawned = start_candidate(life, now, rng)
        return life, actions + spawned
    if life.retry_at is None or now < life.retry_at or life.candidate is not None:
        return life, actions
    life, spawned = fill_up(life, now, rng)
    return life, actions + spawned


def _wants_live(life: Life, now: float) -> bool:
    """Say whether the live code is to be tried again, while a release serves in its place."""
    due = life.retry_live_at is not None and now >= life.retry_live_at
    return due and life.candidate is None and life.pending is None and not life.stopped


def _known_good(life: Life, event: AppEvent, now: float, rng: Rng) -> Step:
    assert isinstance(event, KnownGood)
    return worker_transitions.known_good(life, now, rng, available=event.available)


def _nothing(life: Life, _event: AppEvent, _now: float, _rng: Rng) -> Step:
    """Change nothing: the event came too late, or asks for what is already so."""
    return life, ()


Handler = Callable[[Life, AppEvent, float, Rng], Step]

_TABLE: dict[tuple[AppState, type[AppEvent]], Handler] = {
    (AppState.BLOCKED, Bound): _bound,
    (AppState.BLOCKED, BindFailed): _bind_failed,
    (AppState.BLOCKED, FilesChanged): _nothing,
    (AppState.BLOCKED, StartAsked): _nothing,
    (AppState.BLOCKED, StopAsked): _stop,
    (AppState.BLOCKED, RestartAsked): _nothing,
    (AppState.BLOCKED, ReloadAsked): _nothing,
    (AppState.BLOCKED, ReloadRefused): _nothing,
    (AppState.BLOCKED, KnownGood): _known_good,
    (AppState.BLOCKED, Elapsed): _nothing,
    (AppState.STARTING, FilesChanged): _changed_while_starting,
    (AppState.STARTING, StartAsked): _nothing,
    (AppState.STARTING, StopAsked): _stop,
    (AppState.STARTING, RestartAsked): _restart,
    (AppState.STARTING, ReloadAsked): _reload_unserved,
    (AppState.STARTING, ReloadRefused): _nothing,
    (AppState.STARTING, KnownGood): _known_good,
    (AppState.STARTING, Elapsed): _elapsed,
    (AppState.READY, FilesChanged): _changed_while_ready,
    (AppState.READY, StartAsked): _nothing,
    (AppState.READY, StopAsked): _stop,
    (AppState.READY, RestartAsked): _restart,
    (AppState.READY, ReloadAsked): _reload,
    (AppState.READY, ReloadRefused): _reload_refused,
    (AppState.READY, KnownGood): _known_good,
    (AppState.READY, Elapsed): _elapsed,
    (AppState.BACKOFF, FilesChanged): _files_changed,
    (AppState.BACKOFF, StartAsked): _restart,
    (AppState.BACKOFF, StopAsked): _stop,
    (AppState.BACKOFF, RestartAsked): _restart,
    (AppState.BACKOFF, ReloadAsked): _reload_unserved,
    (AppState.BACKOFF, ReloadRefused): _nothing,
    (AppState.BACKOFF, KnownGood): _known_good,
    (AppState.BACKOFF, Elapsed): _elapsed,
    (AppState.FAILED, FilesChanged): _files_changed,
    (AppState.FAILED, StartAsked): _restart,
    (AppState.FAILED, StopAsked): _stop,
    (AppState.FAILED, RestartAsked): _restart,
    (AppState.FAILED, ReloadAsked): _reload_unserved,
    (AppState.FAILED, ReloadRefused): _nothing,
    (AppState.FAILED, KnownGood): _known_good,
    (AppState.FAILED, Elapsed): _elapsed,
    (AppState.STOPPED, Bound): _bound,
    (AppState.STOPPED, BindFailed): _nothing,
    (AppState.STOPPED, FilesChanged): _nothing,
    (AppState.STOPPED, StartAsked): _start_stopped,
    (AppState.STOPPED, StopAsked): _nothing,
    (AppState.STOPPED, RestartAsked): _start_stopped,
    (AppState.STOPPED, ReloadAsked): _nothing,
    (AppState.STOPPED, ReloadRefused): _nothing,
    (AppState.STOPPED, KnownGood): _known_good,
    (AppState.STOPPED, Elapsed): _elapsed,
}
