"""The life of an app: one table of (state, event) to (state, actions).

Nothing here does IO or reads a clock: ``now`` (seconds, monotonic) and ``rng`` come in as
arguments. Timers are not objects either: `Life` says when it wants to be looked at again
(`next_wakeup`), and an `Elapsed` that comes early or late changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from supervisor.model import AppState, Cause, Exit, ImportReport
from supervisor.restart import STABLE_S, History, Rng

STAND_IN_AFTER_S = 1.0  # a port without a ready worker for this long gets the stand-in
IMPORT_KILL_AFTER_S = 1.0  # a worker ends an endless import itself; after this it is killed
EXIT_GRACE_S = 3.0  # from the report of a failed import to the kill (threads, atexit handlers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """Where an app is in its life. ``retry_at`` and ``kill_at`` are monotonic seconds."""

    since: float
    import_timeout_s: float
    state: AppState = AppState.BLOCKED
    generation: int = 0
    pid: int | None = None
    unserved_since: float | None = None  # no ready worker since then, though the port is bound
    retry_at: float | None = None
    kill_at: float | None = None
    cause: Cause | None = None
    verdict: Cause | None = None  # why the worker that is about to end failed
    start_again: bool = False  # when the worker has ended, at once
    history: History = field(default_factory=History)
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Bound:
    """The app's listener accepts connections."""


@dataclass(frozen=True, slots=True)
class BindFailed:
    """The app's port can't be bound for now."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class Spawned:
    """A worker of the current generation runs."""

    pid: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """No worker could be forked."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class ImportFailed:
    """The worker could not import the app and is about to end."""

    generation: int
    report: ImportReport


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker accepts connections."""

    generation: int


@dataclass(frozen=True, slots=True)
class Exited:
    """The worker ended and has been reaped."""

    generation: int
    exit: Exit


@dataclass(frozen=True, slots=True)
class FilesChanged:
    """The app's files are no longer those that failed to import."""


@dataclass(frozen=True, slots=True)
class Elapsed:
    """Time went by; acts only if a deadline of the life has been reached."""


LifeEvent = (
    Bound
    | BindFailed
    | Spawned
    | SpawnFailed
    | ImportFailed
    | Ready
    | Exited
    | FilesChanged
    | Elapsed
)


@dataclass(frozen=True, slots=True)
class Spawn:
    """Fork a worker for ``generation``; answer with `Spawned` or `SpawnFailed`."""

    generation: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Send SIGKILL to the worker's process group."""

    pid: int


Action = Spawn | Kill
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


def next_wakeup(life: Life, now: float) -> float | None:
    """Give the monotonic time at which the life wants to be looked at again, or None."""
    times = [time for time in (life.retry_at, life.kill_at) if time is not None]
    if life.unserved_since is not None and not wants_stand_in(life, now):
        times.append(life.unserved_since + STAND_IN_AFTER_S)
    return min(times, default=None)


def wants_stand_in(life: Life, now: float) -> bool:
    """Say whether the stand-in should answer the app's port."""
    return life.unserved_since is not None and now >= life.unserved_since + STAND_IN_AFTER_S


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


def _nothing(life: Life, _event: LifeEvent, _now: float, _rng: Rng) -> Step:
    """Change nothing: the event came too late, or a timer that is no longer needed."""
    return life, ()


Handler = Callable[[Life, LifeEvent, float, Rng], Step]

_TABLE: dict[tuple[AppState, type[LifeEvent]], Handler] = {
    (AppState.BLOCKED, Bound): _bound,
    (AppState.BLOCKED, BindFailed): _bind_failed,
    (AppState.BLOCKED, FilesChanged): _nothing,
    (AppState.BLOCKED, Elapsed): _nothing,
    (AppState.STARTING, Spawned): _spawned,
    (AppState.STARTING, SpawnFailed): _spawn_failed,
    (AppState.STARTING, ImportFailed): _import_failed,
    (AppState.STARTING, Ready): _ready,
    (AppState.STARTING, Exited): _exited_while_starting,
    (AppState.STARTING, FilesChanged): _changed_while_starting,
    (AppState.STARTING, Elapsed): _starting_elapsed,
    (AppState.READY, Exited): _exited_while_ready,
    (AppState.READY, FilesChanged): _nothing,
    (AppState.READY, Elapsed): _nothing,
    (AppState.BACKOFF, FilesChanged): _files_changed,
    (AppState.BACKOFF, Elapsed): _waiting_elapsed,
    (AppState.FAILED, FilesChanged): _files_changed,
    (AppState.FAILED, Elapsed): _waiting_elapsed,
}
