"""Binds the ports of a process, retries for ever, and names the process that holds one."""

from functools import partial

from supervisor.policy.app_transitions import (
    HolderFound,
    PortBindFailed,
    PortBound,
    PortLost,
    ReachChanged,
    ReloadNeeded,
    SharingChanged,
)
from supervisor.policy.process_events import BindFailed, Bound, ReloadAsked
from supervisor.policy.process_state import WorkerPhase
from supervisor.ports.listeners import BindError
from supervisor.supervision.process_core import ProcessCore
from supervisor.values.events import EventKind
from supervisor.values.reports import Cause
from supervisor.values.states import AppState

_LATE = Cause(reason="it has got its port, and waits for a reload of its process")


class PortBinder:
    """Binds the ports of the apps in ``core``."""

    def __init__(self, core: ProcessCore) -> None:
        self._core = core

    def on_time(self, now: float) -> None:
        """Bind the ports for which that is due."""
        for name, app in self._core.apps.items():
            if app.bind_is_due(now):
                self.bind(name)

    def bind(self, name: str) -> None:
        """Bind the port of an app now, unless it is bound."""
        core = self._core
        if core.apps[name].bound:
            return
        try:
            core.ports[name].bind()
        except BindError as error:
            self._failed(name, error)
        else:
            attempt = core.apps[name].bind_failures + 1
            core.step_app(name, PortBound())
            if attempt > 1:
                text = f"bound {core.ports[name].address.public}, at attempt {attempt}"
                core.runtime.journal.record(EventKind.BOUND, text, app=name)
        self._settle(name)

    def _failed(self, name: str, error: BindError) -> None:
        core, settings = self._core, self._core.bind_settings
        cause = Cause(reason=error.reason, hint=error.hint)
        core.step_app(name, PortBindFailed(cause, in_use=error.in_use, settings=settings))
        app, port = core.apps[name], core.ports[name].address.port
        if app.bind_failures <= settings.attempts and app.bind_at is not None:  # then only once
            is_last = app.bind_failures == settings.attempts
            delay_s = app.bind_at - core.runtime.now()
            pace = f"it is tried again {'every' if is_last else 'in'} {round(delay_s, 3):g} s"
            text = f"{error.reason} (attempt {app.bind_failures}); {pace}"
            core.runtime.journal.record(EventKind.BIND_FAILED, text, app=name, problem=True)
        if error.in_use and port is not None:
            core.runtime.jobs.find_holder(port, partial(self._holder_found, name))

    def _holder_found(self, name: str, cause: Cause) -> None:
        core = self._core
        app = core.apps[name]
        if core.is_ending or app.bound or cause == app.bind_cause:
            return
        core.step_app(name, HolderFound(cause))
        text = f"{cause.reason} ({cause.hint})"
        core.runtime.journal.record(EventKind.BIND_FAILED, text, app=name, problem=True)
        self._settle(name)

    def _settle(self, name: str) -> None:
        """Let the process know what the port of an app means for it."""
        core = self._core
        app, apps = core.apps[name], core.apps.values()
        if not any(one.bound for one in apps):
            if app.bind_cause is not None and not core.state.bound:  # else it has lost its port
                core.step(BindFailed(app.bind_cause))
        elif not core.state.bound:
            if all(one.bind_was_tried for one in apps):
                core.step(Bound())
        elif app.bound and core.state.state is not AppState.STOPPED and not self._passed_on(name):
            text = "its process is reloaded, since it has got its port only now"
            core.runtime.journal.record(EventKind.BOUND, text, app=name)
            core.step_app(name, ReloadNeeded(_LATE))
            core.step(ReloadAsked())

    def _passed_on(self, name: str) -> bool:
        """Send the listeners to the workers that had those before; return whether all have them."""
        sockets = self._core.ports[name].sockets
        workers = [
            worker
            for worker in self._core.workers.values()
            if (state := self._core.state.worker(worker.number)) is not None
            and state.phase not in (WorkerPhase.DRAINING, WorkerPhase.ENDING)
        ]
        sent = [worker.send_sockets(name, sockets) for worker in workers]
        return all(sent)

    def on_reach(self, name: str, cause: Cause | None) -> None:
        """Handle that no client gets to a port that is bound (``cause``), or that clients do."""
        core = self._core
        if core.is_ending or not core.apps[name].bound:
            return
        core.step_app(name, ReachChanged(cause))
        if cause is None:
            text = f"clients can reach {core.ports[name].address.public} again"
            core.runtime.journal.record(EventKind.BOUND, text, app=name)
        else:
            core.runtime.journal.record(EventKind.BIND_FAILED, cause.reason, app=name, problem=True)

    def on_lost(self, name: str, cause: Cause) -> None:
        """Bind a port again whose listener is of no use any more; `on_time` tries it again."""
        core = self._core
        if core.is_ending or not core.apps[name].bound:
            return
        text = f"{cause.reason}; binding it again"
        core.runtime.journal.record(EventKind.BIND_FAILED, text, app=name, problem=True)
        core.ports[name].remove()
        core.step_app(name, PortLost(cause))
        self.bind(name)

    def on_sharing(self, name: str, cause: Cause | None) -> None:
        """Handle that another process listens on a port too (``cause``), or does so no longer."""
        core, port = self._core, self._core.ports[name].address.port
        if core.is_ending or not core.apps[name].bound:
            return
        if cause is None:
            core.step_app(name, SharingChanged(None))
            text = f"port {port} is ours alone again"
            core.runtime.journal.record(EventKind.PORT_SHARED, text, app=name)
            return
        holder = cause.reason.removeprefix(f"port {port} is in use by ")
        text = f"port {port} has another listener, which takes a part of the requests: {holder}"
        core.step_app(name, SharingChanged(Cause(reason=text, hint=cause.hint)))
        text = f"{text} ({cause.hint})"
        core.runtime.journal.record(EventKind.PORT_SHARED, text, app=name, problem=True)
