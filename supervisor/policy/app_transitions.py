"""What events do to an app: one table of (phase, event).

An app has two phases at a time, that of its port and that of its import; each event but an
operator's concerns one of them. Nothing here does IO or reads a clock: ``now`` (monotonic seconds)
and ``rng`` come in as arguments.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from supervisor.config.settings import BindSettings
from supervisor.policy.app_state import AppRecord, ImportPhase, PortPhase
from supervisor.policy.backoff import CLEAR_S, History, Rng
from supervisor.policy.illegal_transition import IllegalTransition
from supervisor.ports.listeners import retry_delay_s
from supervisor.values.records import dataclass
from supervisor.values.reports import Cause

RETRY_MIN_S = 1.0  # a failed import beside apps that serve is not repeated sooner

TOO_SLOW = Cause(
    reason="its import inside of the running process takes too long",
    hint="a restart begins anew, with a new process for all its apps",
)


# ---- events of the port


@dataclass(frozen=True, slots=True)
class PortBound:
    """The port is bound; or the app binds it itself, and is left to do so."""


@dataclass(frozen=True, slots=True)
class PortBindFailed:
    """The port could not be bound; ``settings`` give the time of the next attempt."""

    cause: Cause
    in_use: bool
    settings: BindSettings


@dataclass(frozen=True, slots=True)
class HolderFound:
    """It is known which process holds the port."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class SharingChanged:
    """Another process listens on the port too, or (None) does so no longer."""

    cause: Cause | None


@dataclass(frozen=True, slots=True)
class ReachChanged:
    """No client gets to the port, though it is bound (``cause``); or (None) clients do again."""

    cause: Cause | None


@dataclass(frozen=True, slots=True)
class PortLost:
    """The listener is of no use any more: the port has to be bound again."""

    cause: Cause


# ---- events of the import, in a process that serves


@dataclass(frozen=True, slots=True)
class AppServed:
    """A worker that serves has imported the app."""


@dataclass(frozen=True, slots=True)
class AppImportFailed:
    """The app could not be imported beside the others; ``watch`` lists the files it depends on."""

    cause: Cause
    watch: list[Any] | None


@dataclass(frozen=True, slots=True)
class ReloadNeeded:
    """Only another process can serve the app: the running one lacks its listener."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class AttemptBegun:
    """The app is being imported beside the others, for ``limit_s`` seconds at most."""

    limit_s: float


@dataclass(frozen=True, slots=True)
class AppFilesChanged:
    """The files of the failed import have changed; an attempt that follows takes ``limit_s``."""

    limit_s: float


@dataclass(frozen=True, slots=True)
class AttemptTimedOut:
    """The attempt under way takes too long."""


# ---- events of the operator


@dataclass(frozen=True, slots=True)
class AppStopAsked:
    """An operator stopped the app until it is started again."""


@dataclass(frozen=True, slots=True)
class AppStartAsked:
    """An operator wants the app to be served."""


PortEvent = PortBound | PortBindFailed | HolderFound | SharingChanged | ReachChanged | PortLost
ImportEvent = (
    AppServed | AppImportFailed | ReloadNeeded | AttemptBegun | AppFilesChanged | AttemptTimedOut
)
OperatorEvent = AppStopAsked | AppStartAsked
AppEvent = PortEvent | ImportEvent | OperatorEvent
Phase = PortPhase | ImportPhase


def step(app: AppRecord, event: AppEvent, now: float, rng: Rng) -> AppRecord:
    """Return the app after ``event``; raises `IllegalTransition` for a pair not in the table."""
    phase = app.port_phase if isinstance(event, PortEvent) else app.import_phase
    handler = TABLE.get((phase, type(event)))
    if handler is None:
        raise IllegalTransition(f"{type(event).__name__} of an app that is {phase}")
    return handler(app, event, now, rng)


# ---- the port


def _bound(app: AppRecord, _event: PortBound, now: float, _rng: Rng) -> AppRecord:
    return replace(
        app, bound=True, bind_at=None, bind_failures=0, bind_cause=None, since=now, sharing=None
    )


def _bind_failed(app: AppRecord, event: PortBindFailed, now: float, _rng: Rng) -> AppRecord:
    failures = app.bind_failures + 1
    settings = event.settings
    delay_s = retry_delay_s(
        failures,
        attempts=settings.attempts,
        first_delay_s=settings.first_delay_s,
        factor=settings.factor,
        max_delay_s=settings.max_delay_s,
    )
    names_holder = event.in_use and app.bind_cause is not None and app.bind_cause.hint
    cause = app.bind_cause if names_holder else event.cause
    return replace(app, bind_failures=failures, bind_at=now + delay_s, bind_cause=cause)


def _holder_found(app: AppRecord, event: HolderFound, _now: float, _rng: Rng) -> AppRecord:
    return replace(app, bind_cause=event.cause)


def _sharing_changed(app: AppRecord, event: SharingChanged, _now: float, _rng: Rng) -> AppRecord:
    return replace(app, sharing=event.cause)


def _reach_changed(app: AppRecord, event: ReachChanged, now: float, _rng: Rng) -> AppRecord:
    return replace(app, unreachable=event.cause, since=now)


def _lost(app: AppRecord, event: PortLost, now: float, _rng: Rng) -> AppRecord:
    return replace(
        app, bound=False, bind_at=now, bind_cause=event.cause, unreachable=None, since=now
    )


# ---- the import


def _served(app: AppRecord, _event: AppServed, now: float, _rng: Rng) -> AppRecord:
    app = replace(app, failure=None, watch=None, give_up_at=None, retry_at=None)
    return app if app.stopped else replace(app, unserved_since=None, since=now)


def _import_failed(app: AppRecord, event: AppImportFailed, now: float, rng: Rng) -> AppRecord:
    served_long = app.failure is None and now - app.since >= CLEAR_S
    history = (History() if served_long else app.history).after_failure(now)
    return replace(
        _unserved(app, now),
        failure=event.cause,
        watch=event.watch,
        give_up_at=None,
        retry_at=now + max(RETRY_MIN_S, history.delay_s(rng)),
        history=history,
    )


def _reload_needed(app: AppRecord, event: ReloadNeeded, now: float, _rng: Rng) -> AppRecord:
    return replace(
        _unserved(app, now), failure=event.cause, watch=None, give_up_at=None, retry_at=None
    )


def _attempt_begun(app: AppRecord, event: AttemptBegun, now: float, _rng: Rng) -> AppRecord:
    return _joining(app, event.limit_s, now)


def _files_changed(app: AppRecord, event: AppFilesChanged, now: float, _rng: Rng) -> AppRecord:
    """Try it at once, unless it is stopped, or its import itself rewrites the files."""
    history = app.history.after_change(now)
    if history is None or app.stopped:
        return app
    return _joining(replace(app, history=history), event.limit_s, now)


def _joining(app: AppRecord, limit_s: float, now: float) -> AppRecord:
    return replace(app, attempt=app.attempt + 1, give_up_at=now + limit_s, retry_at=None, since=now)


def _timed_out(app: AppRecord, _event: AttemptTimedOut, now: float, rng: Rng) -> AppRecord:
    return _import_failed(app, AppImportFailed(TOO_SLOW, app.watch), now, rng)


def _unserved(app: AppRecord, now: float) -> AppRecord:
    since = now if app.unserved_since is None else app.unserved_since
    return replace(app, since=now, unserved_since=since)


# ---- the operator


def _stopped(app: AppRecord, _event: AppStopAsked, now: float, _rng: Rng) -> AppRecord:
    return app if app.stopped else replace(_unserved(app, now), stopped=True)


def _started(app: AppRecord, _event: AppStartAsked, now: float, _rng: Rng) -> AppRecord:
    if not app.stopped:
        return app
    app = replace(app, stopped=False, since=now)
    return replace(app, unserved_since=None) if app.failure is None else app


def _nothing(app: AppRecord, _event: AppEvent, _now: float, _rng: Rng) -> AppRecord:
    """Change nothing: the event came too late, or brings nothing new."""
    return app


Handler = Callable[[AppRecord, Any, float, Rng], AppRecord]

TABLE: dict[tuple[Phase, type[AppEvent]], Handler] = {
    (PortPhase.UNBOUND, PortBound): _bound,
    (PortPhase.UNBOUND, PortBindFailed): _bind_failed,
    (PortPhase.UNBOUND, HolderFound): _holder_found,
    (PortPhase.BOUND, HolderFound): _nothing,
    (PortPhase.BOUND, SharingChanged): _sharing_changed,
    (PortPhase.BOUND, ReachChanged): _reach_changed,
    (PortPhase.BOUND, PortLost): _lost,
    (ImportPhase.HOSTED, AppServed): _nothing,  # by another worker, or a newer generation
    (ImportPhase.HOSTED, AppImportFailed): _import_failed,
    (ImportPhase.HOSTED, ReloadNeeded): _reload_needed,
    (ImportPhase.HOSTED, AppFilesChanged): _nothing,
    (ImportPhase.MISSING, AppServed): _served,
    (ImportPhase.MISSING, AppImportFailed): _import_failed,
    (ImportPhase.MISSING, ReloadNeeded): _reload_needed,
    (ImportPhase.MISSING, AttemptBegun): _attempt_begun,
    (ImportPhase.MISSING, AppFilesChanged): _files_changed,
    (ImportPhase.JOINING, AppServed): _served,
    (ImportPhase.JOINING, AppImportFailed): _import_failed,
    (ImportPhase.JOINING, ReloadNeeded): _reload_needed,
    (ImportPhase.JOINING, AppFilesChanged): _nothing,  # the attempt reads them as they are now
    (ImportPhase.JOINING, AttemptTimedOut): _timed_out,
    (ImportPhase.LATE, AppServed): _served,
    (ImportPhase.LATE, AppImportFailed): _import_failed,
    (ImportPhase.LATE, ReloadNeeded): _reload_needed,
    (ImportPhase.LATE, AppFilesChanged): _nothing,
    **{(phase, AppStopAsked): _stopped for phase in ImportPhase},
    **{(phase, AppStartAsked): _started for phase in ImportPhase},
}
