"""One process of the configuration and the apps in it, mostly one.

What happens comes in here: the loop calls `on_time`, workers report messages and their end, the
status worker reports changed files, operators ask. Nothing here waits. Each kind of event has a
class of its own around a `ProcessCore`, which lets the tables of `policy` decide, and carries out
what they say.
"""

from collections.abc import Callable, Sequence

from supervisor.config.settings import BindSettings
from supervisor.policy import file_watches, process_state
from supervisor.policy.app_state import AppView
from supervisor.policy.app_transitions import AppFilesChanged
from supervisor.policy.generations import DRAIN_MARGIN_S
from supervisor.policy.process_events import (
    Elapsed,
    Exited,
    FallbackKnown,
    FilesChanged,
    FilesDiffer,
    Held,
    Released,
)
from supervisor.policy.process_state import Limits, ProcessState, Refusal, WorkerPhase
from supervisor.process.channel import Message
from supervisor.supervision.app_imports import AppImports
from supervisor.supervision.code_comparison import CodeComparison
from supervisor.supervision.known_good import NoKnownGood
from supervisor.supervision.managed_port import ManagedPort
from supervisor.supervision.metric_totals import MetricTotals
from supervisor.supervision.operator_requests import OperatorRequests, Request
from supervisor.supervision.port_binder import PortBinder
from supervisor.supervision.port_reach import INTERVAL_S, REMOVED
from supervisor.supervision.process_core import SHUTDOWN_IDLE_S, ProcessCore
from supervisor.supervision.runtime import Runtime
from supervisor.supervision.worker_handle import WorkerHandle
from supervisor.supervision.worker_messages import WorkerMessages
from supervisor.supervision.worker_spawner import WorkerMain, WorkerSpawner
from supervisor.values.events import EventKind
from supervisor.values.reports import Cause, Exit
from supervisor.values.states import AppState, CodeSource
from supervisor.values.watch_requests import WatchKey, WatchRequest, WatchSubject

_FINISHING = (WorkerPhase.READY, WorkerPhase.PAUSED, WorkerPhase.DRAINING)


class AppProcess:
    """One process with its apps; lives as long as the configuration has it.

    The process of an app alone has the app's name. ``other_message`` gets the messages of workers
    that are not about a process, as those of the status worker.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        name: str,
        worker_main: WorkerMain,
        limits: Limits,
        bind_settings: BindSettings,
        shutdown_timeout_s: float,
        reload_on_change: bool = False,
        other_message: Callable[[Message], None] | None = None,
        known_good: NoKnownGood | None = None,
    ) -> None:
        self.name = name
        self.known_good = known_good or NoKnownGood()
        self._runtime = runtime
        self._shutdown_timeout_s = shutdown_timeout_s
        self._reload_on_change = reload_on_change
        self._core = core = ProcessCore(
            runtime,
            name=name,
            limits=limits,
            bind_settings=bind_settings,
            known_good=self.known_good,
            spawn=lambda action: self._spawner.spawn(action),
            import_app=lambda app: self._imports.begin(app),
        )
        self._spawner = WorkerSpawner(core, self, worker_main)
        self._imports = AppImports(core)
        self._binder = PortBinder(core)
        self._requests = OperatorRequests(core, self._imports, self._binder)
        self._comparison = CodeComparison(core)
        self._messages = WorkerMessages(core, self._imports, self._comparison, other_message)

    def add(self, port: ManagedPort) -> None:
        """Let the app of ``port`` live in this process; before anything else is done with it."""
        self._core.add(port)

    # ---- what it is

    @property
    def state(self) -> ProcessState:
        """The state of the process."""
        return self._core.state

    @property
    def names(self) -> list[str]:
        """The names of its apps, in the order of the configuration."""
        return list(self._core.apps)

    @property
    def ports(self) -> dict[str, ManagedPort]:
        """The ports by app."""
        return self._core.ports

    @property
    def workers(self) -> list[WorkerHandle]:
        """The workers that have not been reaped."""
        return list(self._core.workers.values())

    def view(self, name: str) -> AppView:
        """Return an app in its process."""
        return self._core.view(name)

    def views(self) -> list[AppView]:
        """Return all its apps in their process."""
        return [self.view(name) for name in self._core.apps]

    def metrics(self, name: str) -> MetricTotals:
        """Return the metrics of an app."""
        return self._core.metrics[name]

    def since_wall(self, name: str) -> str:
        """Return the wall time of an app's last change of state."""
        return self._core.since_wall(name)

    def watches(self) -> list[WatchRequest]:
        """Return which files to watch."""
        core, on_change = self._core, self._reload_on_change
        files = file_watches.watches(self.name, core.state, core.apps, reload_on_change=on_change)
        return files + [
            WatchRequest(
                key=WatchKey(
                    process=self.name, subject=WatchSubject.LISTENER, number=port.binds, app=name
                ),
                watch=port.watch,
                every_s=INTERVAL_S,
            )
            for name, port in self.ports.items()
            if port.watch is not None and port.sockets
        ]

    def imported(self) -> list[str]:
        """Return what the live code that serves, or served last, had imported when it was ready."""
        self.known_good.note(self.state, self._core.serving)  # it may have got ready a moment ago
        return self.known_good.imported

    def next_wakeup(self) -> float | None:
        """Return the monotonic time at which `on_time` is wanted next, or None."""
        now = self._runtime.now()
        times = [process_state.next_wakeup(self.state, now)]
        times += [view.next_wakeup(now) for view in self.views()]
        return min((time for time in times if time is not None), default=None)

    # ---- what happens to it

    def on_time(self) -> None:
        """Do what is due now; nothing while the process is ending."""
        if self._core.is_ending:
            return
        now = self._runtime.now()
        self._binder.on_time(now)
        self._messages.on_time(now)
        self._core.step(Elapsed())
        self._imports.on_time(now)
        self.known_good.on_time(self.state, self._core.serving, now)

    def on_message(self, worker: WorkerHandle, message: Message) -> None:
        """Handle a message of a worker."""
        self._messages.handle(worker, message)

    def on_exit(self, worker: WorkerHandle, exit_: Exit) -> None:
        """Handle the end of a worker, which has been reaped."""
        core = self._core
        del core.workers[worker.number]
        for totals in core.metrics.values():
            totals.end(worker.number)
        if core.is_ending:
            return
        state = core.state.worker(worker.number)
        if state is not None:
            core.messages.of_exit(state, exit_, self._runtime.now())
        core.steer()
        core.step(Exited(worker.number, exit_))

    def on_fallback_known(self, *, available: bool) -> None:
        """Handle that it is known whether there is a release to fall back on."""
        if not self._core.is_ending:
            self._core.step(FallbackKnown(available=available))

    def on_port_sharing(self, name: str, cause: Cause | None) -> None:
        """Handle that another process listens on an app's port too, or does so no longer."""
        self._binder.on_sharing(name, cause)

    def on_port_reach(self, name: str, cause: Cause | None) -> None:
        """Handle that no client gets to an app's port, though it is bound, or that clients do."""
        self._binder.on_reach(name, cause)

    def on_port_lost(self, name: str, cause: Cause) -> None:
        """Handle that an app's port has to be bound again."""
        self._binder.on_lost(name, cause)

    def on_files(self, key: WatchKey, *, changed: bool) -> None:
        """Handle that watched files differ from what was imported, or no longer do."""
        if self._core.is_ending:
            return
        match key.subject:
            case WatchSubject.SERVING:
                if changed:
                    self.compare_code(lambda it: self._core.step(FilesDiffer(key.number, it)))
                else:
                    self._core.step(FilesDiffer(key.number, differ=False))
            case WatchSubject.NEWEST:
                if changed and key.number == self.state.generation:
                    self._newest_changed(key.number)
            case WatchSubject.APP:
                if changed and key.app is not None:
                    self._app_changed(key.app, key.number)
            case WatchSubject.LISTENER:
                if changed and key.app in self.ports and key.number == self.ports[key.app].binds:
                    self._binder.on_lost(key.app, REMOVED)

    def compare_code(self, done: Callable[[bool], None]) -> None:
        """Call ``done`` with whether the code that runs differs from the files."""
        self._comparison.begin(done)

    def _newest_changed(self, generation: int) -> None:
        is_live = self.state.source is CodeSource.LIVE
        if self.state.state is not AppState.READY or not is_live:
            self._try_files()
        elif self._reload_on_change or self.state.settling_until is not None:
            self.compare_code(lambda differs: self._try_differing(generation, differs=differs))

    def _try_differing(self, generation: int, *, differs: bool) -> None:
        if differs and generation == self.state.generation:
            self._try_files()

    def _try_files(self) -> None:
        core, is_ready = self._core, self.state.state is AppState.READY
        text = "its files have changed: trying them at once"
        core.messages.record(EventKind.FILES_CHANGED, text)
        if is_ready and self.state.limits.replace:
            self._imports.reload()
        else:
            core.step(FilesChanged())

    def _app_changed(self, name: str, attempt: int) -> None:
        core = self._core
        if name not in core.apps or core.apps[name].attempt != attempt:
            return
        core.step_app(name, AppFilesChanged(self._imports.limit_s))
        if core.apps[name].attempt != attempt:
            text = "its files have changed: trying them at once"
            self._runtime.journal.record(EventKind.FILES_CHANGED, text, app=name)

    def on_operator(
        self, request: Request, *, apps: Sequence[str] = (), by: str = "an operator"
    ) -> None:
        """Start, stop, restart or reload, without waiting for the outcome.

        ``apps``: of several that share the process, only these are stopped or started.
        """
        self._requests.handle(request, apps=apps, by=by)

    def allow_for_pause(self, pause_s: float) -> None:
        """Don't count ``pause_s`` seconds, in which this process did not run, against workers."""
        self._core.allow_for_pause(pause_s)

    def hold(self, cause: Cause) -> None:
        """Start no worker until `release`, since the files are being replaced."""
        self._core.step(Held(cause))

    def release(self) -> None:
        """Start what had to wait for the files."""
        self._core.step(Released())

    def forget_refusal(self, before: Refusal | None) -> None:
        """Take back the newest refusal: the files that it spoke of are gone again."""
        self._core.forget_refusal(before)

    def configure(
        self, *, limits: Limits, bind_settings: BindSettings, shutdown_timeout_s: float
    ) -> None:
        """Take new settings; workers that run keep theirs until they are replaced."""
        self._core.configure(limits, bind_settings)
        self._shutdown_timeout_s = shutdown_timeout_s

    # ---- the end

    def stop(self) -> None:
        """Let the workers finish their requests and end; nothing is started any more."""
        self._core.is_ending = True
        for worker in self.workers:
            state = self.state.worker(worker.number)
            if state is not None and state.phase in _FINISHING:
                worker.drain(self._shutdown_timeout_s, SHUTDOWN_IDLE_S)
            else:
                worker.kill()

    def retire(self) -> None:
        """Close the ports at once and let the workers end: the configuration has no such process.

        Other apps may have the ports from now on. Requests in flight are finished within their
        limit.
        """
        self._shutdown_timeout_s = self.state.limits.stop_timeout_s
        self.stop()
        self._runtime.pool.kill_later(self.workers, self._shutdown_timeout_s + DRAIN_MARGIN_S)
        for port in self._core.ports.values():
            port.remove()
