"""Whether the app of a deploy is still what became ready, and why not."""

from supervisor.policy.app_state import AppView
from supervisor.supervision.app_process import AppProcess
from supervisor.supervision.process_set import ProcessSet
from supervisor.values.events import EventLog
from supervisor.values.reports import Cause
from supervisor.values.states import AppState, CodeSource

GONE = Cause(reason="it was taken out of the configuration")


class AppWatch:
    """Watches ``app``, which lives in ``process``, from now on, and anew from each `begin` on."""

    def __init__(
        self, processes: ProcessSet, events: EventLog, process: AppProcess, app: str
    ) -> None:
        self._processes = processes
        self._events = events
        self._process = process
        self._app = app
        self._before = process.state
        self.hint = f"look at its log: flask-supervisor logs {app}"
        self.begin()

    def begin(self) -> None:
        """Take the app as it is now for well."""
        self._well = self._process.state
        self._event_count = self._events.count

    @property
    def is_gone(self) -> bool:
        """Whether the configuration has no such app any more, or has it in another process."""
        return self._processes.by_app.get(self._app) is not self._process

    def view(self) -> AppView:
        """Return the app in its process."""
        return self._process.view(self._app)

    @property
    def still_runs_the_old(self) -> bool:
        """Whether what ran at first never ended."""
        process, before = self._process.state, self._before
        same = (process.current, process.restarts) == (before.current, before.restarts)
        idle = process.candidate is None and process.pending is None
        return same and idle and process.state is AppState.READY

    def forget_refusal(self) -> None:
        """Take back a refusal since the beginning: the files that it spoke of are gone again."""
        self._process.forget_refusal(self._before.refusal)

    def died(self) -> Cause | None:
        """Return why the app is no longer what it was at `begin`, or None."""
        if self.is_gone:
            return GONE
        view, process, well = self.view(), self._process.state, self._well
        if process.refusal is not None and process.refusal is not well.refusal:
            return Cause(reason=process.refusal.cause.reason, hint=self.hint)
        if process.source is not CodeSource.LIVE:
            return self.fallback_cause()
        if view.state is AppState.READY and process.restarts == well.restarts:
            return None
        problem = self._first_problem()
        if problem is None and view.cause is not None:
            return view.cause
        return Cause(reason=problem or f"it is {view.state}", hint=self.hint)

    def fallback_cause(self) -> Cause:
        """Return why a release serves, and not the files in place."""
        default = Cause(reason="the last known good release serves")
        return self._process.state.broken or self.view().cause or default

    def _first_problem(self) -> str | None:
        """Return the first thing that went wrong with the app since `begin`."""
        for _number, event in self._events.after(self._event_count):
            if event.problem and event.app in (self._app, self._process.name):
                return event.text
        return None
