"""The life of an app: one table of (state, event) to (state, actions).

Nothing here does IO or reads a clock: ``now`` (seconds, monotonic) and ``rng`` come in as
arguments. Timers are not objects either: `life.next_wakeup` says when a life wants to be looked
at again, and an `Elapsed` that comes early or late changes nothing.
"""

from collections.abc import Callable
from dataclasses import replace

from supervisor.life import (
    Action,
    BindFailed,
    Bound,
    Drain,
    Elapsed,
    Exited,
    FilesChanged,
    ImportFailed,
    Kill,
    Life,
    LifeEvent,
    Ready,
    RestartAsked,
    Spawn,
    Spawned,
    SpawnFailed,
    StartAsked,
    StopAsked,
)
from supervisor.model import AppState, Cause
from supervisor.restart import STABLE_S, History, Rng

IMPORT_KILL_AFTER_S = 1.0  # a worker ends an endless import itself; after this it is killed
DRAIN_MARGIN_S = 0.7  # a worker ends its drain itself; after this it is killed
EXIT_GRACE_S = 3.0  # from the report of a failed import to the kill (threads, atexit handlers)


Step = tuple[Life, tuple[Action, ...]]


class IllegalTransition(AssertionError):
    """An event came in a state where it can't come: a defect of the caller."""


def step(life: Life, event: LifeEvent, now: float, rng: Rng) -> Step:
    """Give the life after ``event`` and what is to be done.

    Raises `IllegalTransition` for a pair that the table doesn't know.
    """
    generation = getattr(event, "generation", life.generation)
    if generation != life.generation:
        return life, ()  # from a worker that has been replaced
    handler = _TABLE.get((life.state, type(event)))
    if handler is None:
        raise IllegalTransition(f"{type(event).__name__} in state {life.state}")
    return handler(life, event, now, rng)


def _bound(life: Life, _event: LifeEvent, now: float, _rng: Rng) -> Step:
    return _spawn(replace(life, unserved_since=now, cause=None), now)


def _bind_failed(life: Life, event: LifeEvent, now: float, _rng: Rng) -> Step:
    assert isinstance(event, BindFailed)
    return replace(life, state=AppState.BLOCKED, cause=event.cause), ()


def _spawn(life: Life, now: float) -> Step:
    generation = life.generation + 1
    started = replace(
        life,
        state=AppState.STARTING,
        since=now,
        generation=generation,
        pid=None,
        retry_at=None,
        kill_at=now + life.import_timeout_s + IMPORT_KILL_AFTER_S,
        verdict=None,
        start_again=False,
    )
    return started, (Spawn(generation),)


def _spawned(life: Life, event: LifeEvent, _now: float, _rng: Rng) -> Step:
    assert isinstance(event, Spawned)
    return replace(life, pid=event.pid), ()


def _spawn_failed(life: Life, event: LifeEvent, now: float, rng: Rng) -> Step:
    assert isinstance(event, SpawnFailed)
    return _failed(life, event.cause, now, rng)


def _import_failed(life: Life, event: LifeEvent, now: float, _rng: Rng) -> Step:
    assert isinstance(event, ImportFailed)
    if life.start_again:
        return life, ()
    cause = event.report.cause
    return replace(life, cause=cause, verdict=cause, kill_at=now + EXIT_GRACE_S), ()


def _ready(life: Life, _event: LifeEvent, now: float, _rng: Rng) -> Step:
    if life.start_again:  # too late: it is about to be killed
        return life, ()
    served = replace(
        life, state=AppState.READY, since=now, unserved_since=None, kill_at=None, cause=None
    )
    return served, ()


def _exited_while_starting(life: Life, event: LifeEvent, now: float, rng: Rng) -> Step:
    assert isinstance(event, Exited)
    if life.start_again:
        return _spawn(replace(life, restarts=life.restarts + 1), now)
    cause = life.verdict or Cause(
        reason=f"the worker ended while it imported the app: {event.exit}",
        hint="look for os._exit, a crashing C extension, or lack of memory in the log",
    )
    return _failed(life, cause, now, rng)


def _exited_while_ready(life: Life, event: LifeEvent, now: float, rng: Rng) -> Step:
    assert isinstance(event, Exited)
    ready_s = now - life.since
    cause = Cause(reason=f"the worker ended: {event.exit}")
    life = replace(life, unserved_since=now)
    if ready_s < STABLE_S:
        return _failed(life, cause, now, rng)
    history = life.history.after_stable_exit(now, ready_s=ready_s)
    return _again(replace(life, history=history, cause=cause), now, rng)


def _failed(life: Life, cause: Cause, now: float, rng: Rng) -> Step:
    return _again(replace(life, cause=cause, history=life.history.after_failure(now)), now, rng)


def _again(life: Life, now: float, rng: Rng) -> Step:
    """Start the next worker now, or say when."""
    life = replace(life, restarts=life.restarts + 1, pid=None, kill_at=None, verdict=None)
    delay_s = life.history.delay_s(rng)
    if delay_s == 0:
        return _spawn(life, now)
    state = AppState.FAILED if life.history.failed else AppState.BACKOFF
    return replace(life, state=state, since=now, retry_at=now + delay_s), ()


def _starting_elapsed(life: Life, _event: LifeEvent, now: float, _rng: Rng) -> Step:
    if life.kill_at is None or now < life.kill_at or life.pid is None:
        return life, ()
    if life.start_again:  # it was told to end, and didn't
        return replace(life, kill_at=None), (Kill(life.pid),)
    verdict = life.verdict or Cause(
        reason=f"the import took longer than {life.import_timeout_s:g} s and could not be "
        "interrupted",
        hint="it is stuck outside of Python code; raise import_timeout_s if it is only slow",
    )
    return replace(life, kill_at=None, cause=verdict, verdict=verdict), (Kill(life.pid),)


def _waiting_elapsed(life: Life, _event: LifeEvent, now: float, _rng: Rng) -> Step:
    if life.retry_at is None or now < life.retry_at:
        return life, ()
    return _spawn(life, now)


def _files_changed(life: Life, _event: LifeEvent, now: float, _rng: Rng) -> Step:
    history = life.history.after_change(now)
    if history is None:
        return life, ()
    return _spawn(replace(life, history=history), now)


def _changed_while_starting(life: Life, _event: LifeEvent, now: float, _rng: Rng) -> Step:
    """Begin the import anew: what it has read is a mixture of old and new files."""
    history = life.history.after_change(now)
    if history is None or life.pid is None or life.start_again:
        return life, ()
    again = replace(life, history=history, start_again=True)
    if life.verdict is not None:  # it has failed and is about to end
        return again, ()
    cause = life.cause or Cause(reason="its files changed during the import: it begins anew")
    return replace(again, cause=cause, kill_at=None), (Kill(life.pid),)


def _stop(life: Life, _event: LifeEvent, now: float, _rng: Rng) -> Step:
    """Let the worker end; whatever was planned is forgotten."""
    stopped = replace(
        life,
        state=AppState.STOPPED,
        since=now,
        retry_at=None,
        kill_at=_end_by(life, now) if life.pid is not None else None,
        cause=Cause(reason="stopped by an operator", hint="it runs again after: start"),
        verdict=None,
        history=History(),
        start_again=False,
    )
    if life.state is not AppState.BLOCKED and life.unserved_since is None:
        stopped = replace(stopped, unserved_since=now)
    return stopped, _end_worker(life)


def _restart(life: Life, _event: LifeEvent, now: float, _rng: Rng) -> Step:
    """End the worker if there is one, then start; no wait and no failure."""
    if life.start_again:
        return life, ()
    fresh = replace(life, history=History(), cause=None, verdict=None, retry_at=None)
    if life.pid is None:
        return _spawn(fresh, now)
    ending = replace(
        fresh,
        state=AppState.STARTING,
        since=now,
        kill_at=_end_by(life, now),
        unserved_since=now if life.unserved_since is None else life.unserved_since,
        start_again=True,
    )
    return ending, _end_worker(life)


def _restart_stopped(life: Life, event: LifeEvent, now: float, rng: Rng) -> Step:
    if life.unserved_since is None:  # its port isn't bound
        return replace(life, state=AppState.BLOCKED, since=now, cause=None), ()
    started, actions = _restart(life, event, now, rng)
    # a worker that is still there has been told to end already
    return started, tuple(action for action in actions if isinstance(action, Spawn))


def _end_by(life: Life, now: float) -> float | None:
    """Give when a worker is killed that is told to end now, or has been told before."""
    if life.start_again or life.state is AppState.STOPPED:
        return life.kill_at
    return now + life.stop_timeout_s + DRAIN_MARGIN_S


def _end_worker(life: Life) -> tuple[Action, ...]:
    if life.pid is None or life.start_again:  # it has been told to end already
        return ()
    return (Drain(life.pid),) if life.state is AppState.READY else (Kill(life.pid),)


def _bound_while_stopped(life: Life, _event: LifeEvent, now: float, _rng: Rng) -> Step:
    return replace(life, unserved_since=now), ()


def _exited_while_stopped(life: Life, _event: LifeEvent, _now: float, _rng: Rng) -> Step:
    return replace(life, pid=None, kill_at=None), ()


def _stopped_elapsed(life: Life, _event: LifeEvent, now: float, _rng: Rng) -> Step:
    if life.kill_at is None or now < life.kill_at or life.pid is None:
        return life, ()
    return replace(life, kill_at=None), (Kill(life.pid),)


def _nothing(life: Life, _event: LifeEvent, _now: float, _rng: Rng) -> Step:
    """Change nothing: the event came too late, or a timer that is no longer needed."""
    return life, ()


Handler = Callable[[Life, LifeEvent, float, Rng], Step]

_TABLE: dict[tuple[AppState, type[LifeEvent]], Handler] = {
    (AppState.BLOCKED, Bound): _bound,
    (AppState.BLOCKED, BindFailed): _bind_failed,
    (AppState.BLOCKED, FilesChanged): _nothing,
    (AppState.BLOCKED, StartAsked): _nothing,
    (AppState.BLOCKED, StopAsked): _stop,
    (AppState.BLOCKED, RestartAsked): _nothing,
    (AppState.BLOCKED, Elapsed): _nothing,
    (AppState.STARTING, Spawned): _spawned,
    (AppState.STARTING, SpawnFailed): _spawn_failed,
    (AppState.STARTING, ImportFailed): _import_failed,
    (AppState.STARTING, Ready): _ready,
    (AppState.STARTING, Exited): _exited_while_starting,
    (AppState.STARTING, FilesChanged): _changed_while_starting,
    (AppState.STARTING, StartAsked): _nothing,
    (AppState.STARTING, StopAsked): _stop,
    (AppState.STARTING, RestartAsked): _restart,
    (AppState.STARTING, Elapsed): _starting_elapsed,
    (AppState.READY, Exited): _exited_while_ready,
    (AppState.READY, FilesChanged): _nothing,
    (AppState.READY, StartAsked): _nothing,
    (AppState.READY, StopAsked): _stop,
    (AppState.READY, RestartAsked): _restart,
    (AppState.READY, Elapsed): _nothing,
    (AppState.BACKOFF, FilesChanged): _files_changed,
    (AppState.BACKOFF, StartAsked): _restart,
    (AppState.BACKOFF, StopAsked): _stop,
    (AppState.BACKOFF, RestartAsked): _restart,
    (AppState.BACKOFF, Elapsed): _waiting_elapsed,
    (AppState.FAILED, FilesChanged): _files_changed,
    (AppState.FAILED, StartAsked): _restart,
    (AppState.FAILED, StopAsked): _stop,
    (AppState.FAILED, RestartAsked): _restart,
    (AppState.FAILED, Elapsed): _waiting_elapsed,
    (AppState.STOPPED, Bound): _bound_while_stopped,
    (AppState.STOPPED, BindFailed): _nothing,
    (AppState.STOPPED, ImportFailed): _nothing,
    (AppState.STOPPED, Ready): _nothing,
    (AppState.STOPPED, Exited): _exited_while_stopped,
    (AppState.STOPPED, FilesChanged): _nothing,
    (AppState.STOPPED, StartAsked): _restart_stopped,
    (AppState.STOPPED, StopAsked): _nothing,
    (AppState.STOPPED, RestartAsked): _restart_stopped,
    (AppState.STOPPED, Elapsed): _stopped_elapsed,
}
