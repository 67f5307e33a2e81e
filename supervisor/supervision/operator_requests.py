"""What operators ask of the apps in a process: start, stop, restart, reload."""

from collections.abc import Sequence

from supervisor.policy.app_transitions import AppStartAsked, AppStopAsked
from supervisor.policy.process_events import ReloadAsked, RestartAsked, StartAsked, StopAsked
from supervisor.supervision.app_imports import AppImports
from supervisor.supervision.port_binder import PortBinder
from supervisor.supervision.process_core import ProcessCore
from supervisor.values.events import EventKind
from supervisor.values.states import AppState

Request = StartAsked | StopAsked | RestartAsked | ReloadAsked
_WORDS: dict[type[Request], str] = {
    StartAsked: "start",
    StopAsked: "stop",
    RestartAsked: "restart",
    ReloadAsked: "reload",
}


class OperatorRequests:
    """Carries out requests for apps of ``core``; none of them waits for the outcome."""

    def __init__(self, core: ProcessCore, imports: AppImports, binder: PortBinder) -> None:
        self._core = core
        self._imports = imports
        self._binder = binder

    def handle(self, request: Request, *, apps: Sequence[str], by: str) -> None:
        """Start or stop ``apps``, restart or reload their whole process.

        A stopped app stays so, whatever is asked of the others, until it is itself started or
        restarted. With the last of its apps the process ends.
        """
        core = self._core
        for name in apps or [core.name]:
            text = f"{by} asked to {_WORDS[type(request)]} it"
            core.runtime.journal.record(EventKind.OPERATOR, text, app=name)
        core.messages.repeat_all()
        match request:
            case StopAsked():
                self._stop(apps)
            case StartAsked():
                self._start(apps)
            case RestartAsked():
                self._mark_started(apps)
                self._unless_blocked(request)
            case ReloadAsked():
                if core.state.state is AppState.BLOCKED:
                    self._bind_all()
                else:
                    self._imports.reload()

    def _stop(self, apps: Sequence[str]) -> None:
        core = self._core
        for name in apps:
            core.step_app(name, AppStopAsked())
        if all(app.stopped for app in core.apps.values()):
            core.step(StopAsked())
            return
        self._mark_self_bound_started()
        self._send_all("close", apps)

    def _start(self, apps: Sequence[str]) -> None:
        core = self._core
        self._mark_started(apps)
        if core.state.state is not AppState.READY:
            self._unless_blocked(StartAsked())
            return
        for name in apps:
            self._binder.bind(name)
            self._imports.retry_now(name)

    def _mark_started(self, apps: Sequence[str]) -> None:
        self._send_all("open", [name for name in apps if self._core.apps[name].stopped])
        for name in apps:
            self._core.step_app(name, AppStartAsked())
        self._mark_self_bound_started()

    def _mark_self_bound_started(self) -> None:
        """An app that binds its port runs whenever its process does."""
        apps = self._core.apps
        if any(not app.stopped for app in apps.values()):
            for name, app in apps.items():
                if app.self_bound:
                    self._core.step_app(name, AppStartAsked())

    def _unless_blocked(self, request: Request) -> None:
        if self._core.state.state is AppState.BLOCKED:
            self._bind_all()
        else:
            self._core.step(request)

    def _bind_all(self) -> None:
        """Bind every port: one that was in use may be free by now."""
        for name in self._core.apps:
            self._binder.bind(name)

    def _send_all(self, what: str, apps: Sequence[str]) -> None:
        """Let every worker open or close ``apps``: accept their connections, or not.

        Also one that imports them still, and one that is paused and may have to serve again.
        """
        for worker in self._core.workers.values():
            for name in apps:
                worker.send({"type": what, "app": name})
