"""Imports of apps on trial: of one that is missing in a running process, and before a reload."""

from supervisor.policy.app_state import ImportPhase
from supervisor.policy.app_transitions import (
    AppImportFailed,
    AppServed,
    AttemptBegun,
    AttemptTimedOut,
)
from supervisor.policy.process_events import ReloadAsked, ReloadRefused
from supervisor.policy.process_state import AppFailure
from supervisor.supervision.background_jobs import Trial
from supervisor.supervision.process_core import ProcessCore
from supervisor.supervision.worker_handle import WorkerHandle
from supervisor.values.events import EventKind
from supervisor.values.states import AppState


class AppImports:
    """Brings apps into the process of ``core`` that are missing in its running worker."""

    def __init__(self, core: ProcessCore) -> None:
        self._core = core

    @property
    def limit_s(self) -> float:
        """How long an attempt may take: a trial in a child, then the import in the worker."""
        return 2 * self._core.state.limits.import_timeout_s

    # ---- what a worker reports

    def worker_ready(self, worker: WorkerHandle, *, promoted: bool) -> None:
        """Serve what a worker that serves from now on could import; the rest is missing.

        ``promoted``: it was a candidate, whose failures have not been recorded yet.
        """
        core = self._core
        state = core.state.worker(worker.number)
        failures = state.failures if state is not None else {}
        for name in core.apps:
            if name not in failures:
                core.step_app(name, AppServed())
            elif promoted:
                self.missing(name, worker, failures[name])
            if core.apps[name].stopped:
                worker.send({"type": "close", "app": name})
        worker.send({"type": "resume"})  # one with several apps waits for this

    def missing(self, name: str, worker: WorkerHandle, failure: AppFailure) -> None:
        """Record that the process serves, or is to, without one of its apps."""
        core, cause = self._core, failure.report.cause
        before = core.apps[name].failure
        core.step_app(name, AppImportFailed(cause, failure.watch))
        if before != cause:
            core.runtime.journal.record(
                EventKind.IMPORT_FAILED, cause.in_full, app=name, problem=True
            )
            core.runtime.journal.print_traceback(name, worker.pid, failure.report.traceback)

    def joined(self, name: str, worker: WorkerHandle) -> None:
        """Serve an app that has been imported beside the others."""
        core = self._core
        core.step_app(name, AppServed())
        if core.apps[name].stopped:  # meanwhile: the worker knows
            return
        text = f"ready on {core.ports[name].address.url}, in the process of the others"
        core.runtime.journal.record(EventKind.READY, text, app=name)

    # ---- attempts

    def on_time(self, now: float) -> None:
        """Begin the attempts that are due, and give up those that take too long."""
        core = self._core
        if core.serving is None or core.state.held is not None:
            return
        for name, app in core.apps.items():
            if app.attempt_is_overdue(now):
                core.step_app(name, AttemptTimedOut())
            elif app.retry_is_due(now):
                core.step_app(name, AttemptBegun(self.limit_s))

    def retry_now(self, name: str) -> None:
        """Begin an attempt of an app that is missing in a process that serves."""
        core = self._core
        is_free = core.serving is not None and core.state.held is None
        if is_free and core.apps[name].import_phase is ImportPhase.MISSING:
            core.step_app(name, AttemptBegun(self.limit_s))

    def begin(self, name: str) -> None:
        """Import an app in a throw-away child, then, if that works, in the worker that serves."""
        core, worker = self._core, self._core.serving
        if worker is None:
            return  # the next worker imports it anyway
        if core.ports[name].self_bound:
            worker.send({"type": "import", "app": name})  # two can't bind its port
            return
        attempt = core.apps[name].attempt

        def tried(trial: Trial) -> None:
            app = core.apps[name]
            is_current = attempt == app.attempt and app.import_phase is ImportPhase.JOINING
            if not is_current or worker is not core.serving:
                return  # overtaken by something else
            if trial.cause is None:
                worker.send({"type": "import", "app": name})
                return
            if trial.cause != app.failure:
                core.runtime.journal.record(
                    EventKind.IMPORT_FAILED, trial.cause.in_full, app=name, problem=True
                )
            core.step_app(name, AppImportFailed(trial.cause, trial.watch))

        runtime = core.runtime
        runtime.jobs.try_import(runtime.config, name, core.apps[name].watch, tried)

    # ---- reloads

    def reload(self) -> None:
        """Reload the process; if it has to be stopped for that, only after trial imports."""
        core = self._core
        if not core.state.limits.replace or core.state.state is not AppState.READY:
            core.step(ReloadAsked())
            return
        left = [name for name, app in core.apps.items() if app.is_served]

        def tried(trial: Trial) -> None:
            if core.is_ending or core.state.state is not AppState.READY:
                return  # something else has happened meanwhile
            if trial.cause is not None:
                core.step(ReloadRefused(trial.cause))
            elif left:
                core.runtime.jobs.try_import(core.runtime.config, left.pop(0), None, tried)
            else:
                core.step(ReloadAsked())

        tried(Trial(cause=None, watch=None))
