"""The state of one app, as a value, and what an app is together with the process it lives in.

Every app lives in a process, alone or with others; an app alone is a group of one. What its
workers do is the process's state (`process_state`). An app of its own has a port, which may be
unbound; an operator may stop it; and its import may fail while others of the process serve. The
last is repaired beside them: the app is imported again inside of the running worker.

The value is changed by `app_transitions.step` alone.
"""

from dataclasses import field
from enum import StrEnum
from typing import Any

from supervisor.policy import process_state
from supervisor.policy.backoff import History
from supervisor.policy.process_state import STAND_IN_AFTER_S, STOPPED, ProcessState, WorkerState
from supervisor.values.records import dataclass
from supervisor.values.reports import Cause
from supervisor.values.states import AppState


class PortPhase(StrEnum):
    """Whether clients can reach the app, as far as that is the supervisor's doing."""

    UNBOUND = "unbound"
    BOUND = "bound"


class ImportPhase(StrEnum):
    """Where the app stands in its process."""

    HOSTED = "hosted"  # served whenever its process serves
    MISSING = "missing"  # its import failed: it awaits a repair or a retry
    JOINING = "joining"  # imported beside the apps that serve
    LATE = "late"  # its port was bound after the worker was forked: it awaits a reload


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRecord:
    """The state of an app. All times are monotonic seconds.

    ``self_bound``: the app binds its port itself, so there is no listener of ours.
    """

    since: float  # of the last change
    self_bound: bool = False
    bound: bool = False
    bind_at: float | None = None  # the next attempt to bind its port
    bind_failures: int = 0
    bind_cause: Cause | None = None  # why its port isn't bound
    sharing: Cause | None = None  # who else listens on its port
    unreachable: Cause | None = None  # why no client gets to its port, though it is bound
    stopped: bool = False  # by an operator
    failure: Cause | None = None  # why its process serves without it
    watch: list[Any] | None = None  # the files that the failed import depended on
    attempt: int = 0  # of importing it beside the others
    give_up_at: float | None = None  # the end of the attempt under way
    retry_at: float | None = None
    unserved_since: float | None = None  # stopped or failed since then
    history: History = field(default_factory=History)

    @property
    def port_phase(self) -> PortPhase:
        """The phase of its port."""
        return PortPhase.BOUND if self.bound else PortPhase.UNBOUND

    @property
    def import_phase(self) -> ImportPhase:
        """The phase of its import."""
        if self.failure is None:
            return ImportPhase.HOSTED
        if self.give_up_at is not None:
            return ImportPhase.JOINING
        return ImportPhase.LATE if self.retry_at is None else ImportPhase.MISSING

    @property
    def is_served(self) -> bool:
        """Whether it serves when its process does."""
        return self.failure is None and not self.stopped

    @property
    def bind_was_tried(self) -> bool:
        """Whether its port is bound, or could not be bound at least once."""
        return self.bound or self.bind_failures > 0

    @property
    def has_listener(self) -> bool:
        """Whether a listener of ours holds its port, on which the stand-in can answer."""
        return self.bound and not self.self_bound

    def bind_is_due(self, now: float) -> bool:
        """Return whether its port is to be bound now."""
        return self.bind_at is not None and now >= self.bind_at

    def retry_is_due(self, now: float) -> bool:
        """Return whether its import is to be tried again now; never while it is stopped."""
        return not self.stopped and self.retry_at is not None and now >= self.retry_at

    def attempt_is_overdue(self, now: float) -> bool:
        """Return whether the attempt under way takes too long."""
        return self.give_up_at is not None and now >= self.give_up_at


@dataclass(frozen=True, slots=True, kw_only=True)
class AppView:
    """An app in its process: what operators, monitors and deploys see of it. All is derived."""

    app: AppRecord
    process: ProcessState

    @property
    def state(self) -> AppState:
        """The state of the app."""
        if self.app.stopped:
            return AppState.STOPPED
        if not self.app.bound or self.app.unreachable is not None:
            return AppState.BLOCKED
        if self.process.state is not AppState.READY:
            return self.process.state
        match self.app.import_phase:
            case ImportPhase.HOSTED:
                return AppState.READY
            case ImportPhase.JOINING:
                return AppState.STARTING
        return AppState.FAILED if self.app.history.failed else AppState.BACKOFF

    @property
    def cause(self) -> Cause | None:
        """Why it doesn't serve, or not with all its workers; None while all is well."""
        if self.app.stopped:
            return STOPPED
        if not self.app.bound:
            return self.app.bind_cause
        if self.app.unreachable is not None:
            return self.app.unreachable
        if self.process.import_cause is not None:
            return self.process.import_cause
        if self._process_serves or self.process.cause is not None:
            return self.app.failure or self.process.cause
        return None

    @property
    def since(self) -> float:
        """The monotonic time of the last change of its state."""
        if self.app.stopped or (self._process_serves and self.app.failure is not None):
            return self.app.since
        return max(self.app.since, self.process.since)

    @property
    def retry_at(self) -> float | None:
        """The monotonic time of the next attempt to start or import it, or None."""
        is_missing = self._process_serves and self.app.failure is not None
        return self.app.retry_at if is_missing else self.process.retry_at

    @property
    def workers(self) -> tuple[WorkerState, ...]:
        """The workers of its process; none while its port isn't bound."""
        return self.process.workers if self.app.bound else ()

    @property
    def pid(self) -> int | None:
        """The pid of the worker that serves it, or is to; see `ProcessState.pid`."""
        return self.process.pid if self.app.bound else None

    @property
    def _process_serves(self) -> bool:
        return self.process.state is AppState.READY

    def wants_stand_in(self, now: float) -> bool:
        """Return whether the stand-in should answer its port."""
        if not self.app.has_listener:
            return False
        if self.app.stopped or process_state.wants_stand_in(self.process, now):
            return True
        since = self.app.unserved_since
        return self._process_serves and since is not None and now >= since + STAND_IN_AFTER_S

    def next_wakeup(self, now: float) -> float | None:
        """Return the monotonic time at which something of the app is due, or None."""
        times = [self.app.bind_at]
        if self._process_serves and self.app.failure is not None:
            times.append(self.app.give_up_at)
            if not self.app.stopped:
                times.append(self.app.retry_at)
        if self._process_serves and not self.app.is_served and not self.wants_stand_in(now):
            since = self.app.unserved_since
            times.append(None if since is None else since + STAND_IN_AFTER_S)
        return min((time for time in times if time is not None), default=None)
