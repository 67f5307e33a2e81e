"""One app as a member of a process that several apps may share.

Alone in its process, an app lives and dies with it: then `app_process.AppProcess` knows all. Beside
others it has a fate of its own: it can be stopped, fail to import while the others serve, and be
imported later inside of the running worker.
"""

from dataclasses import replace
from typing import Any

from supervisor.policy.backoff import CLEAR_S, History, Rng
from supervisor.policy.process_state import STAND_IN_AFTER_S, ProcessState, wants_stand_in
from supervisor.supervision.managed_port import ManagedPort
from supervisor.values.reports import Cause
from supervisor.values.states import AppState

STOPPED = Cause(reason="stopped by an operator", hint="it runs again after: start")


class Member:
    """The app behind ``port``; all times are monotonic seconds."""

    def __init__(self, port: ManagedPort, now: float) -> None:
        self.port = port
        self.name = port.name
        self.stopped = False  # by an operator, alone of its process
        self.failure: Cause | None = None  # why it is missing in a process that serves
        self.watch: list[Any] | None = None  # the files that its failed import depended on
        self.needs_reload = False
        self.attempt = 0
        self.trying_until: float | None = None
        self.retry_at: float | None = None
        self._history = History()
        self._since = now
        self._missing_since: float | None = None

    @property
    def missing(self) -> bool:
        """Whether it doesn't serve though its process does."""
        return self.stopped or self.failure is not None

    def fail(self, cause: Cause, watch: list[Any] | None, now: float, rng: Rng) -> None:
        """Take note that it could not be imported beside the others.

        ``watch`` are the files that this depended on, as they were before.
        """
        if self.failure is None and now - self._since >= CLEAR_S:
            self._history = History()  # it had served for long
        self.failure, self.watch = cause, watch
        self.trying_until = None
        self._history = self._history.after_failure(now)
        self.retry_at = now + max(1.0, self._history.delay_s(rng))
        self._changed(now)

    def serve(self, now: float) -> None:
        """Take note that it serves."""
        self.failure = self.trying_until = self.retry_at = self.watch = None
        self.needs_reload = False
        if not self.stopped:
            self._missing_since = None
        self._since = now

    def wait_for_reload(self, cause: Cause, now: float) -> None:
        """Take note that only another process can serve it: this one doesn't have its listener."""
        self.failure, self.needs_reload = cause, True
        self.trying_until = self.retry_at = None
        self._changed(now)

    def on_files(self, now: float) -> bool:
        """Learn that its files have changed; gives whether that is a reason to try it at once.

        Not without end, if its import itself rewrites them.
        """
        history = self._history.after_change(now)
        self._history = history or self._history
        return history is not None

    def try_again(self, now: float, limit_s: float) -> None:
        """Take note that it is being tried, for ``limit_s`` at most."""
        self.attempt += 1
        self.trying_until, self.retry_at = now + limit_s, None
        self._since = now

    def set_stopped(self, stopped: bool, now: float) -> None:
        """Take note of what an operator wants."""
        self.stopped = stopped
        self._changed(now)
        if not self.missing:
            self._missing_since = None

    def is_due(self, now: float) -> bool:
        """Say whether a new attempt is due; never while one is under way."""
        return self.trying_until is None and self.retry_at is not None and now >= self.retry_at

    def _changed(self, now: float) -> None:
        self._since = now
        if self._missing_since is None:
            self._missing_since = now

    def view(self, life: ProcessState) -> ProcessState:
        """Give the app's life, of which that of its process is a part."""
        if not self.port.bound and not life.stopped:
            return replace(life, state=AppState.BLOCKED, cause=self.port.cause, workers=())
        if life.state is AppState.STOPPED:
            return life
        if life.state is not AppState.READY:
            shared = self.failure if life.cause is not None and self.failure else life.cause
            return replace(life, cause=shared)
        if self.stopped:
            return self._view(life, AppState.STOPPED, STOPPED)
        if self.failure is None:
            return life if self._since <= life.since else replace(life, since=self._since)
        if self.trying_until is not None:
            return self._view(life, AppState.STARTING, self.failure)
        failed = AppState.FAILED if self._history.failed else AppState.BACKOFF
        return self._view(life, failed, self.failure)

    def _view(self, life: ProcessState, state: AppState, cause: Cause) -> ProcessState:
        return replace(life, state=state, cause=cause, since=self._since, retry_at=self.retry_at)

    def wants_stand_in(self, life: ProcessState, now: float) -> bool:
        """Say whether the stand-in should answer the app's port."""
        if self.port.listener is None:
            return False
        if wants_stand_in(life, now):
            return True
        if life.state is not AppState.READY or self._missing_since is None:
            return False
        return self.stopped or now >= self._missing_since + STAND_IN_AFTER_S

    def next_wakeup(self, life: ProcessState, now: float) -> float | None:
        """Give the time at which the member wants to be looked at, or None."""
        times = [self.port.bind_at]
        if life.state is AppState.READY and self.missing:
            times += [self.retry_at, self.trying_until]
            if self._missing_since is not None and not self.wants_stand_in(life, now):
                times.append(self._missing_since + STAND_IN_AFTER_S)
        return min((time for time in times if time is not None), default=None)
