"""The life of an app as a value, what can happen to it, and what can be done about it."""

from dataclasses import dataclass, field

from supervisor.model import AppState, Cause, Exit, ImportReport
from supervisor.restart import History

STAND_IN_AFTER_S = 1.0  # a port without a ready worker for this long gets the stand-in


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """Where an app is in its life. ``retry_at`` and ``kill_at`` are monotonic seconds."""

    since: float
    import_timeout_s: float
    stop_timeout_s: float = 10.0
    state: AppState = AppState.BLOCKED
    generation: int = 0
    pid: int | None = None
    unserved_since: float | None = None  # no ready worker since then, though the port is bound
    retry_at: float | None = None
    kill_at: float | None = None
    cause: Cause | None = None
    verdict: Cause | None = None  # why the worker that is about to end failed
    start_again: bool = False  # when the worker has ended, for an operator: no failure
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
class StartAsked:
    """An operator wants the app started, now; one that serves is left alone."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """An operator wants the app stopped, until it is started again."""


@dataclass(frozen=True, slots=True)
class RestartAsked:
    """An operator wants the worker ended and the app started anew."""


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
    | StartAsked
    | StopAsked
    | RestartAsked
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


@dataclass(frozen=True, slots=True)
class Drain:
    """Let the worker finish what it does, and end."""

    pid: int


Action = Spawn | Kill | Drain


def next_wakeup(life: Life, now: float) -> float | None:
    """Give the monotonic time at which the life wants to be looked at again, or None."""
    times = [time for time in (life.retry_at, life.kill_at) if time is not None]
    if life.unserved_since is not None and not wants_stand_in(life, now):
        times.append(life.unserved_since + STAND_IN_AFTER_S)
    return min(times, default=None)


def wants_stand_in(life: Life, now: float) -> bool:
    """Say whether the stand-in should answer the app's port."""
    if life.unserved_since is None:
        return False
    return life.state is AppState.STOPPED or now >= life.unserved_since + STAND_IN_AFTER_S
