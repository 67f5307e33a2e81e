"""The state of one process of the configuration, as a value, with what can be derived from it.

A process has workers. Those of its *current* generation serve; a *candidate* is a newer generation
that imports the apps beside them, for a reload. When all workers of the candidate are ready, it
becomes the current generation, and the old workers are paused: they accept nothing more. If a new
one ends within `backoff.STABLE_S`, the old ones serve on; else they drain.

The value is changed by `process_transitions.step` alone. What concerns one app of the process
(its port, its own import failure) is in `app_state`.
"""

from collections.abc import Mapping
from dataclasses import field, replace
from enum import StrEnum
from functools import cached_property  # asked for each second, and the value never changes
from typing import Any

from supervisor.policy.backoff import History
from supervisor.values.constants import HEARTBEAT_S, IMPORT_TAKES_LONG
from supervisor.values.records import dataclass
from supervisor.values.reports import Cause, ImportReport
from supervisor.values.states import AppState, CodeSource

STAND_IN_AFTER_S = 1.0  # a port without a ready worker for this long gets the stand-in
DRAINING_MAX = 2  # so many generations may drain at a time: each costs memory
STUCK_AFTER_S = 3 * HEARTBEAT_S + 0.5  # three heartbeats missed, one of them a little late
STOPPED = Cause(reason="stopped by an operator", hint="it runs again after: start")


class WorkerPhase(StrEnum):
    """What a worker is doing."""

    IMPORTING = "importing"  # its apps
    READY = "ready"  # accepts connections
    PAUSED = "paused"  # accepts none: a newer generation does, and has to prove itself
    DRAINING = "draining"  # finishes its requests, then ends
    ENDING = "ending"  # was killed, or could not import its apps: about to be reaped


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFailure:
    """Why a worker serves without one of its apps.

    ``watch`` lists the files this depended on, with their fingerprints from before the import.
    """

    report: ImportReport
    watch: list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """The state of one worker; a ``number`` is never used again within a process.

    ``since``, ``kill_at`` and ``alive_at`` (the last known turn of its server loop) are monotonic
    seconds. ``verdict`` is the reason for an end that the exit code doesn't show.
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
    importing_at: str | None = None  # while its import takes long: file and line
    accepts: bool = True  # until it confirms that it has paused
    stale: bool = False  # the code that it serves is not the code on disk
    watch: list[Any] | None = None  # the files that its import depends on
    failures: Mapping[str, AppFailure] = field(default_factory=dict)  # by app that it lacks


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the configuration says about the workers of a process."""

    import_timeout_s: float
    stop_timeout_s: float = 10.0
    hang_timeout_s: float = 30.0
    request_timeout_s: float | None = None
    max_memory_mb: int | None = None
    max_requests: int | None = None
    workers: int = 1
    draining_max: int = DRAINING_MAX
    replace: bool = False  # it can't run twice: the old workers end before the new ones start


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a reload was refused, ``at`` monotonic seconds, while the old workers serve on."""

    cause: Cause
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Oversize:
    """Workers were replaced for their size soon after their start.

    ``pause_s`` passes before the next one is; ``cause`` says so while one is too large again.
    """

    pause_s: float
    cause: Cause | None = None


class Pending(StrEnum):
    """What happens next, as soon as the workers that are in its way have ended."""

    START = "start"
    RELOAD = "reload"


@dataclass(frozen=True, kw_only=True)  # without slots: it caches what it derives
class ProcessState:
    """The state of a process. All times are monotonic seconds."""

    since: float  # of its state
    limits: Limits
    bound: bool = False  # every port was tried, and one is bound
    stopped: bool = False  # an operator stopped all its apps
    generation: int = 0  # the newest
    current: int = 0  # the generation that serves, or is to serve
    candidate: int | None = None  # the generation that is to take over from the current one
    workers: tuple[WorkerState, ...] = ()
    last_number: int = 0
    pending: Pending | None = None
    probation_until: float | None = None  # of the current generation; then the paused ones drain
    unserved_since: float | None = None  # no worker serves since then, though a port is bound
    retry_at: float | None = None
    recycle_at: float = 0.0  # before this, no worker is replaced for its size or age
    oversize: Oversize | None = None  # workers are too large soon after their start
    source: CodeSource = CodeSource.LIVE  # of the current generation
    has_fallback: bool = False  # there is a last known good release
    broken: Cause | None = None  # why the live code can't be imported
    retry_live_at: float | None = None  # while the last known good release serves
    settling_until: float | None = None  # its files have just changed, and may change further
    held: Cause | None = None  # why no worker may be started: its files are being replaced
    cause: Cause | None = None  # why it doesn't serve, or not with all its workers
    refusal: Refusal | None = None
    history: History = field(default_factory=History)
    restarts: int = 0
    watch: list[Any] | None = None  # the files that the newest import of live code depends on

    def worker(self, number: int) -> WorkerState | None:
        """Return a worker by its number, or None when it has been reaped."""
        return next((worker for worker in self.workers if worker.number == number), None)

    def of(self, *phases: WorkerPhase, generation: int | None = None) -> tuple[WorkerState, ...]:
        """Return the workers in one of these phases, of all generations or of one."""
        return tuple(
            worker
            for worker in self.workers
            if worker.phase in phases and generation in (None, worker.generation)
        )

    @cached_property
    def state(self) -> AppState:
        """What the process is doing, as its ports and its workers have it."""
        if self.stopped:
            return AppState.STOPPED
        if not self.bound:
            return AppState.BLOCKED
        serving = self.of(WorkerPhase.READY, generation=self.current)
        if any(not worker.stuck for worker in serving):
            return AppState.READY
        if serving:
            return AppState.FAILED
        importing = self.of(WorkerPhase.IMPORTING, generation=self.current)
        if self.retry_at is None or importing:
            return AppState.STARTING
        return AppState.FAILED if self.history.failed else AppState.BACKOFF

    @cached_property
    def serving(self) -> WorkerState | None:
        """The first worker that serves, stuck or not, or None."""
        return next(iter(self.of(WorkerPhase.READY, generation=self.current)), None)

    @property
    def import_cause(self) -> Cause | None:
        """Where the import is that this process waits for, if it takes long."""
        importing = self.of(WorkerPhase.IMPORTING, generation=self.current)
        places = [worker.importing_at for worker in importing if worker.importing_at]
        if self.state is not AppState.STARTING or not places:
            return None
        reason = f"{IMPORT_TAKES_LONG}; it is at {places[0]}"
        if self.cause is not None:
            return Cause(reason=f"{reason}; before: {self.cause.reason}", hint=self.cause.hint)
        hint = "what does this line wait for? import_timeout_s limits the import"
        return Cause(reason=reason, hint=hint)

    @property
    def stale(self) -> bool:
        """Whether the code that serves is not the code on disk."""
        return self.serving is not None and self.serving.stale

    @property
    def handed_over(self) -> bool:
        """Whether no worker that has been replaced may still accept a connection."""
        return not any(worker.accepts for worker in self.of(WorkerPhase.PAUSED))

    @property
    def fallback_cause(self) -> Cause | None:
        """Why the last known good release serves; None while the live code does."""
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


def with_limits(process: ProcessState, limits: Limits) -> ProcessState:
    """Return the process with new limits; they hold from the next decision on."""
    is_known = limits.max_memory_mb == process.limits.max_memory_mb
    return replace(process, limits=limits, oversize=process.oversize if is_known else None)


def with_refusal(process: ProcessState, refusal: Refusal | None) -> ProcessState:
    """Return the process with another refusal: the files that the newest one spoke of are gone."""
    return replace(process, refusal=refusal)


def after_pause(process: ProcessState, pause_s: float) -> ProcessState:
    """Return the process after ``pause_s`` seconds in which the main process did not run.

    In that time no heartbeat was received and no deadline could be met, so it isn't counted.
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


def next_wakeup(process: ProcessState, now: float) -> float | None:
    """Return the monotonic time at which the process wants an `Elapsed`, or None.

    Hangs don't count: the main process checks for them every second.
    """
    times = [worker.kill_at for worker in process.workers if worker.kill_at is not None]
    if process.probation_until is not None:
        times.append(process.probation_until)
    if process.settling_until is not None:
        times.append(process.settling_until)
    if process.candidate is None and process.held is None:
        times += [t for t in (process.retry_at, process.retry_live_at) if t is not None]
    if process.unserved_since is not None and not wants_stand_in(process, now):
        times.append(process.unserved_since + STAND_IN_AFTER_S)
    return min(times, default=None)


def wants_stand_in(process: ProcessState, now: float) -> bool:
    """Return whether the stand-in should answer the ports of the process."""
    if process.unserved_since is None:
        return False
    return process.state is AppState.STOPPED or now >= process.unserved_since + STAND_IN_AFTER_S
