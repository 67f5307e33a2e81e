"""What a deploy sees of its app: whether it still is what became ready, and why not."""

from typing import Protocol

from supervisor.policy.process_state import ProcessState
from supervisor.supervision.app_process import AppProcess
from supervisor.values.events import EventLog
from supervisor.values.reports import Cause
from supervisor.values.states import AppState, CodeSource

GONE = Cause(reason="it was taken out of the configuration")


class Watcher(Protocol):
    """What is needed of the supervisor."""

    event_log: EventLog

    def services(self) -> dict[str, AppProcess]:
        """Give the services by app."""


class AppWatch:
    """Looks at ``app``, which lives in ``service``, from now on, and anew from each `begin` on."""

    def __init__(self, watcher: Watcher, service: AppProcess, app: str) -> None:
        self._watcher = watcher
        self._service = service
        self._app = app
        self._before = service.life
        self.hint = f"look at its log: flask-supervisor logs {app}"
        self.begin()

    def begin(self) -> None:
        """Take the app as it is now for well."""
        self._well = self._service.life
        self._events = self._watcher.event_log.count

    @property
    def is_gone(self) -> bool:
        """Whether the configuration has no such app any more, or in another process."""
        return self._watcher.services().get(self._app) is not self._service

    def view(self) -> ProcessState:
        """Give the app's life."""
        return self._service.members[self._app].view(self._service.life)

    def runs_the_old(self) -> bool:
        """Say whether what ran at first never ended: then nothing speaks of a refusal any more."""
        life, before = self._service.life, self._before
        same = (life.current, life.restarts) == (before.current, before.restarts)
        if not same or life.state is not AppState.READY or life.candidate or life.pending:
            return False
        self._service.forget_refusal(before.refusal)
        return True

    def died(self) -> Cause | None:
        """Give why the app is not any more what it was at `begin`, or None."""
        if self.is_gone:
            return GONE
        view, well = self.view(), self._well
        if view.refusal is not None and view.refusal is not well.refusal:
            return Cause(reason=view.refusal.cause.reason, hint=self.hint)
        if view.source is not CodeSource.LIVE:
            return self.fallen_back(view)
        if view.state is AppState.READY and view.restarts == well.restarts:
            return None
        told = self._told()
        if told is None and view.cause is not None:
            return view.cause
        return Cause(reason=told or f"it is {view.state}", hint=self.hint)

    @staticmethod
    def fallen_back(view: ProcessState) -> Cause:
        """Say why a release serves, and not the files in place."""
        return view.broken or view.cause or Cause(reason="the last known good release serves")

    def _told(self) -> str | None:
        """Give the first thing that went wrong with it since `begin`."""
        for _number, event in self._watcher.event_log.after(self._events):
            if event.problem and event.app in (self._app, self._service.name):
                return event.text
        return None
