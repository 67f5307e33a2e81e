"""The process of an app as a value, what can happen to it, and what can be done about it.

An app has workers. Those of its *current* generation serve; a *candidate* is a newer generation
that imports the app beside them, for a reload. When all workers of the candidate are ready, they
are the current ones, and the old ones accept nothing more. For `backoff.STABLE_S` those are only
paused, so that they can go on if the new ones crash; then they drain.
"""

from dataclasses import field
from enum import StrEnum

from supervisor.policy.backoff import History
from supervisor.values.constants import HEARTBEAT_S
from supervisor.values.records import dataclass
from supervisor.values.reports import Cause, Exit, ImportReport
from supervisor.values.states import AppState, CodeSource

STAND_IN_AFTER_S = 1.0  # a port without a ready worker for this long gets the stand-in
STUCK_AFTER_S = 3 * HEARTBEAT_S + 0.5  # three beats missed, one of them a little late


class WorkerPhase(StrEnum):
    """What a worker is doing."""

    IMPORTING = "importing"  # the app
    READY = "ready"  # accepts connections
    PAUSED = "paused"  # accepts none: a newer generation does, and has to prove itself
    DRAINING = "draining"  # finishes what it has begun, then ends
    ENDING = "ending"  # was killed, or could not import the app: about to be reaped


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """Where one worker is in its process; ``number`` is never used again.

    ``kill_at`` and ``alive_at`` (its server loop is known to have turned then) are monotonic
    seconds. ``verdict`` says why it is about to end, where its exit code doesn't.
    """

    number: int
    generation: int
    since: float
    phase: WorkerPhase = WorkerPhase.IMPORTING
    source: CodeSource = CodeSource.LIVE
    pid: int | None = None
    kill_at: float | None = None
    alive_at: float = 0.0
    stuck: bool = False
    verdict: Cause | None = None
    max_requests: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the configuration says about an app's process."""

    import_timeout_s: float
    stop_timeout_s: float = 10.0
    hang_timeout_s: float = 30.0
    request_timeout_s: float | None = None
    max_memory_mb: int | None = None
    max_requests: int | None = None
    workers: int = 1
    replace: bool = False  # the app can't run twice: stop it, then start it


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a reload was refused at ``at`` (monotonic seconds), while the old workers go on."""

    cause: Cause
    at: float


class Pending(StrEnum):
    """What comes next, as soon as the workers that are in its way have ended."""

    START = "start"
    RELOAD = "reload"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """Where an app is in its process. All times are monotonic seconds."""

    since: float
    limits: Limits
    state: AppState = AppState.BLOCKED
    bound: bool = False
    stopped: bool = False  # by an operator
    generation: int = 0  # the newest
    current: int = 0  # the generation that serves, or that is to serve
    candidate: int | None = None  # the generation that is to take over from the current one
    workers: tuple[WorkerState, ...] = ()
    last_number: int = 0
    pending: Pending | None = None
    probation_until: float | None = None  # of the current generation; the paused ones wait for it
    unserved_since: float | None = None  # nobody serves since then, though the port is bound
    retry_at: float | None = None
    recycle_at: float = 0.0  # not before this is a worker replaced for its size or age
    source: CodeSource = CodeSource.LIVE  # of the current generation
    known_good: bool = False  # there is a release to fall back on
    broken: Cause | None = None  # why the live code can't be imported
    retry_live_at: float | None = None  # while the last known good release serves
    cause: Cause | None = None  # why it doesn't serve, or not with all its workers
    refusal: Refusal | None = None
    history: History = field(default_factory=History)
    restarts: int = 0

    def worker(self, number: int) -> WorkerState | None:
        """Give a worker by its number, or None when it has been reaped."""
        return next((worker for worker in self.workers if worker.number == number), None)

    def of(self, *phases: WorkerPhase, generation: int | None = None) -> tuple[WorkerState, ...]:
        """Give the workers in one of these phases, of all generations or of one."""
        return tuple(
            worker
            for worker in self.workers
            if worker.phase in phases and generation in (None, worker.generation)
        )

    @property
    def fallen_back(self) -> Cause | None:
        """Why the last known good release serves, and not the live code; None when that does."""
        if self.source is CodeSource.LIVE:
            return None
        why = self.broken or Cause(reason="the live code ended again and again")
        return Cause(reason=f"the last known good release serves: {why.reason}", hint=why.hint)

    @property
    def pid(self) -> int | None:
        """The pid of the worker that serves, else of the one that is to serve, else None."""
        order = (
            WorkerPhase.READY,
            WorkerPhase.IMPORTING,
            WorkerPhase.ENDING,
            WorkerPhase.PAUSED,
            WorkerPhase.DRAINING,
        )
        found = sorted(self.workers, key=lambda w: (order.index(w.phase), w.number))
        return found[0].pid if found else None


# ---- what can happen to an app


@dataclass(frozen=True, slots=True)
class Bound:
    """The app's listener accepts connections."""


@dataclass(frozen=True, slots=True)
class BindFailed:
    """The app's port can't be bound for now."""

    cause: Cause


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
    """An operator wants the workers ended and the app started anew."""


@dataclass(frozen=True, slots=True)
class ReloadAsked:
    """The code on disk is to be served, if it can be; until then what runs goes on."""


@dataclass(frozen=True, slots=True)
class ReloadRefused:
    """A reload was asked for, and a try beforehand has shown that it would fail."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class FallbackKnown:
    """There is a release to fall back on, or there is none (any more)."""

    available: bool


@dataclass(frozen=True, slots=True)
class Elapsed:
    """Time went by; acts only if a deadline of the process has been reached."""


# ---- what can happen to one of its workers, named by its number


@dataclass(frozen=True, slots=True)
class Spawned:
    """The worker runs."""

    number: int
    pid: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """The worker could not be forked."""

    number: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class ImportFailed:
    """The worker could not import the app and is about to end."""

    number: int
    report: ImportReport


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker accepts connections."""

    number: int


@dataclass(frozen=True, slots=True)
class HeartbeatSeen:
    """The worker's server loop has turned ``at``, monotonic seconds."""

    number: int
    at: float


@dataclass(frozen=True, slots=True)
class UsageReported:
    """The worker says how it is."""

    number: int
    oldest_request_s: float | None = None
    memory_mb: float = 0.0
    requests: int = 0


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The worker, ready before, can't serve any more and is about to end."""

    number: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class Exited:
    """The worker ended and has been reaped."""

    number: int
    exit: Exit


LifecycleEvent = (
    Bound
    | BindFailed
    | FilesChanged
    | StartAsked
    | StopAsked
    | RestartAsked
    | ReloadAsked
    | ReloadRefused
    | FallbackKnown
    | Elapsed
)
WorkerEvent = (
    Spawned | SpawnFailed | ImportFailed | Ready | HeartbeatSeen | UsageReported | GaveUp | Exited
)
ProcessEvent = LifecycleEvent | WorkerEvent


# ---- what can be done


@dataclass(frozen=True, slots=True)
class Spawn:
    """Fork a worker; answer with `Spawned` or `SpawnFailed`."""

    number: int
    generation: int
    source: CodeSource = CodeSource.LIVE


@dataclass(frozen=True, slots=True)
class Kill:
    """Send SIGKILL to the worker's process group."""

    number: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Let the worker finish what it does, and end.

    ``replaced``: another worker serves, so idle connections may be kept for a while.
    """

    number: int
    replaced: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """Let the worker accept no new connections for now."""

    number: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Let the worker accept connections again."""

    number: int


@dataclass(frozen=True, slots=True)
class Note:
    """Tell people why something is done that nobody asked for."""

    text: str


Action = Spawn | Kill | Drain | Pause | Resume | Note


def next_wakeup(process: ProcessState, now: float) -> float | None:
    """Give the monotonic time at which the process wants to be looked at again, or None.

    Hangs don't count: they are looked for every second.
    """
    times = [worker.kill_at for worker in process.workers if worker.kill_at is not None]
    if process.probation_until is not None:
        times.append(process.probation_until)
    if process.candidate is None:
        times += [t for t in (process.retry_at, process.retry_live_at) if t is not None]
    if process.unserved_since is not None and not wants_stand_in(process, now):
        times.append(process.unserved_since + STAND_IN_AFTER_S)
    return min(times, default=None)


def wants_stand_in(process: ProcessState, now: float) -> bool:
    """Say whether the stand-in should answer the app's port."""
    if process.unserved_since is None:
        return False
    return process.state is AppState.STOPPED or now >= process.unserved_since + STAND_IN_AFTER_S
