"""What can happen to a process and its workers, and what the main process can do about it.

Events go into `process_transitions.step`, actions come out of it. All of them are plain values.
"""

from typing import Any

from supervisor.values.records import dataclass
from supervisor.values.reports import Cause, Exit, ImportReport
from supervisor.values.states import CodeSource

# ---- events of the process


@dataclass(frozen=True, slots=True)
class Bound:
    """Every port of the process was tried, and at least one of them is bound."""


@dataclass(frozen=True, slots=True)
class BindFailed:
    """No port of the process can be bound for now."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class FilesChanged:
    """The files are no longer those that the newest generation imported."""


@dataclass(frozen=True, slots=True)
class FilesDiffer:
    """The files differ, or no longer differ, from those that ``generation`` serves."""

    generation: int
    differ: bool


@dataclass(frozen=True, slots=True)
class StartAsked:
    """An operator asked for a start; a process that is ready is left alone."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """An operator asked to stop all apps of the process until they are started again."""


@dataclass(frozen=True, slots=True)
class RestartAsked:
    """An operator asked to end the workers and to start new ones."""


@dataclass(frozen=True, slots=True)
class ReloadAsked:
    """The code on disk is to be served if it can be imported; until then, what runs serves on."""


@dataclass(frozen=True, slots=True)
class ReloadRefused:
    """A reload was asked for, and a trial import showed that it would fail."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class FallbackKnown:
    """It is known whether there is a last known good release to fall back on."""

    available: bool


@dataclass(frozen=True, slots=True)
class Held:
    """The files are being replaced, for ``cause``: until `Released`, no worker may import them."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class Released:
    """The files are whole again."""


@dataclass(frozen=True, slots=True)
class Elapsed:
    """Time went by; changes something only if a deadline of the process has been reached."""


LifecycleEvent = (
    Bound
    | BindFailed
    | FilesChanged
    | FilesDiffer
    | StartAsked
    | StopAsked
    | RestartAsked
    | ReloadAsked
    | ReloadRefused
    | FallbackKnown
    | Held
    | Released
    | Elapsed
)


# ---- events of one worker, named by its number


@dataclass(frozen=True, slots=True)
class Spawned:
    """The worker was forked."""

    number: int
    pid: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """The worker could not be forked."""

    number: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class Importing:
    """The worker begins to import; ``watch`` lists its files with their fingerprints."""

    number: int
    watch: list[Any]


@dataclass(frozen=True, slots=True)
class ImportAt:
    """The import of the worker takes long, and is at ``place``: a file of the app and a line."""

    number: int
    place: str


@dataclass(frozen=True, slots=True)
class ImportFailed:
    """The worker could import none of its apps, and is about to end.

    ``watch`` (see `Importing`) adds where a missing module would have to appear.
    """

    number: int
    report: ImportReport
    watch: list[Any] | None = None


@dataclass(frozen=True, slots=True)
class AppFailed:
    """The worker could not import ``app``, and goes on without it."""

    number: int
    app: str
    report: ImportReport
    watch: list[Any]


@dataclass(frozen=True, slots=True)
class AppJoined:
    """The worker, which serves, has imported ``app`` too; ``watch`` is the process's from now."""

    number: int
    app: str
    watch: list[Any]


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker accepts connections.

    ``needed`` are the apps that the process serves now: a candidate has to serve them too.
    """

    number: int
    needed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PauseConfirmed:
    """The worker, which is to pause, accepts no connection any more."""

    number: int


@dataclass(frozen=True, slots=True)
class HeartbeatSeen:
    """The worker's server loop turned at ``at``, monotonic seconds."""

    number: int
    at: float


@dataclass(frozen=True, slots=True)
class UsageReported:
    """The worker reported its memory and its requests."""

    number: int
    oldest_request_s: float | None = None
    memory_mb: float = 0.0
    requests: int = 0


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The worker, which was ready, has nothing left to serve and is about to end."""

    number: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class Exited:
    """The worker ended and was reaped."""

    number: int
    exit: Exit


WorkerEvent = (
    Spawned
    | SpawnFailed
    | Importing
    | ImportAt
    | ImportFailed
    | AppFailed
    | AppJoined
    | Ready
    | PauseConfirmed
    | HeartbeatSeen
    | UsageReported
    | GaveUp
    | Exited
)
ProcessEvent = LifecycleEvent | WorkerEvent


# ---- actions


@dataclass(frozen=True, slots=True)
class Spawn:
    """Fork a worker; the answer is `Spawned` or `SpawnFailed`."""

    number: int
    generation: int
    source: CodeSource = CodeSource.LIVE


@dataclass(frozen=True, slots=True)
class Kill:
    """Send SIGKILL to the worker's process group."""

    number: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Let the worker finish its requests, and end.

    ``replaced``: another worker serves, so idle connections may be kept for a while.
    """

    number: int
    replaced: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """Let the worker accept no new connections for now; the answer is `PauseConfirmed`."""

    number: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Let the worker accept connections again."""

    number: int


@dataclass(frozen=True, slots=True)
class Note:
    """Log why a worker is replaced without a request of an operator."""

    text: str


Action = Spawn | Kill | Drain | Pause | Resume | Note
