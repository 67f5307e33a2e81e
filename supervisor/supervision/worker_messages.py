"""What the workers of a process report, turned into events of the process and its apps."""

from collections.abc import Callable
from typing import Any

from supervisor.policy.process_events import (
    AppFailed,
    AppJoined,
    GaveUp,
    HeartbeatSeen,
    ImportAt,
    ImportFailed,
    Importing,
    PauseConfirmed,
    Ready,
    UsageReported,
)
from supervisor.policy.process_state import STUCK_AFTER_S, WorkerPhase
from supervisor.process.channel import Message
from supervisor.supervision.app_imports import AppImports
from supervisor.supervision.code_comparison import CodeComparison
from supervisor.supervision.process_core import ProcessCore
from supervisor.supervision.worker_factory import STATUS
from supervisor.supervision.worker_handle import WorkerHandle
from supervisor.values.events import EventKind
from supervisor.values.metrics import Metrics, merged
from supervisor.values.reports import ImportReport
from supervisor.values.states import CodeSource

_CHECK_MARGIN_S = 0.5  # before a worker would count as stuck


class WorkerMessages:
    """Handles the messages of the workers of ``core``; ``other`` gets those of another type."""

    def __init__(
        self,
        core: ProcessCore,
        imports: AppImports,
        comparison: CodeComparison,
        other: Callable[[Message], None] | None = None,
    ) -> None:
        self._core = core
        self._imports = imports
        self._comparison = comparison
        self._other = other

    def handle(self, worker: WorkerHandle, message: Message) -> None:
        """Handle one message of ``worker``."""
        core = self._core
        match message:
            case {"type": "heartbeat"}:
                self._heartbeat(worker, message)
                return  # no change that anybody waits for
            case {"type": "importing", "watch": watch}:
                core.step(Importing(worker.number, watch))
            case {"type": "import_at", "file": file, "line": line}:
                core.step(ImportAt(worker.number, f"{file}, line {line}"))
            case {"type": "member_failed", "app": name, "report": report, "watch": watch} if (
                name in core.apps
            ):
                self._app_failed(worker, name, self._shown(report), watch)
            case {"type": "member_ready", "app": name, "watch": watch} if name in core.apps:
                core.step(AppJoined(worker.number, name, watch))
                if worker is core.serving:
                    self._imports.joined(name, worker)
            case {"type": "import_failed", "report": report, "watch": watch}:
                self._import_failed(worker, self._shown(report), watch)
            case {"type": "ready"}:
                worker.facts = message
                self._ready(worker)
            case {"type": "paused"}:
                core.step(PauseConfirmed(worker.number))
            case {"type": "stamps", "files": files}:
                core.known_good.on_stamps(files)
            case {"type": "imports"}:
                core.known_good.on_imports(worker, message)
            case {"type": "contents", "files": dict(files)}:
                self._comparison.on_contents(worker, files)
                return
            case {"type": "code", "loaded": list(files)}:
                self._comparison.on_code(worker, files)
                return
            case {"type": "written", "files": files}:
                core.known_good.on_written(files)
                return
            case _ if self._other is not None:
                self._other(message)
        core.runtime.signal.notify()

    def _shown(self, report: dict[str, Any]) -> ImportReport:
        """Return a report without secrets: a worker knows those of its own apps only."""
        return ImportReport.from_json(self._core.runtime.journal.hide.everywhere(report))

    # ---- imports

    def _import_failed(self, worker: WorkerHandle, report: ImportReport, watch: list[Any]) -> None:
        core = self._core
        state = core.state.worker(worker.number)
        core.step(ImportFailed(worker.number, report, watch))
        is_known = state is not None and state.failures and state.generation == core.state.current
        if not is_known:  # else each app's own failure has been recorded
            core.messages.of_failed_import(core.state, worker.pid, report)

    def _app_failed(
        self, worker: WorkerHandle, name: str, report: ImportReport, watch: list[Any]
    ) -> None:
        core = self._core
        if len(core.apps) == 1:  # its worker has nothing else to serve, and ends
            core.step(GaveUp(worker.number, report.cause))
            return
        core.step(AppFailed(worker.number, name, report, watch))
        state = core.state.worker(worker.number)
        if state is None or state.generation != core.state.current:
            return  # a candidate's failures count when it takes over
        if name in state.failures:
            self._imports.missing(name, worker, state.failures[name])

    def _ready(self, worker: WorkerHandle) -> None:
        core, before = self._core, self._core.state
        needed = frozenset(name for name, app in core.apps.items() if app.is_served)
        core.step(Ready(worker.number, needed))
        state = core.state.worker(worker.number)
        if state is None or state.phase is not WorkerPhase.READY:
            return  # it came too late, or would lose an app
        core.steer(worker)
        is_candidate = before.candidate == state.generation
        self._imports.worker_ready(worker, promoted=is_candidate)
        took_s = core.runtime.now() - worker.started_at
        is_first = before.current in (0, core.state.current)
        what = "ready" if is_first else "ready, with what is on disk now,"
        if core.state.source is CodeSource.KNOWN_GOOD:
            what = "ready, with the last known good release,"
        for name, app in core.apps.items():
            if app.is_served and app.bound:
                address = core.ports[name].address
                whom = " for monitors" if name == STATUS else ""  # browsers refuse port 6000
                where = f"{whom} on {address.url}" if address.is_known else ""
                text = f"{what}{where}, after {took_s:.2f} s"
                core.runtime.journal.record(EventKind.READY, text, app=name)

    # ---- heartbeats

    def _heartbeat(self, worker: WorkerHandle, message: Message) -> None:
        core, now = self._core, self._core.runtime.now()
        try:
            memory_mb, at = float(message["memory_mb"]), float(message["at"])
            metrics = {n: Metrics.from_json(one) for n, one in message["metrics"].items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            return  # the app has written into the channel: then this worker will seem stuck
        if (metrics, memory_mb) != worker.metrics:
            worker.metrics = (metrics, memory_mb)
            core.runtime.signal.mark()
        for name, one in metrics.items():
            if name in core.metrics:
                core.metrics[name].report(worker.number, one, memory_mb, now)
        whole = merged(metrics.values())
        core.step(HeartbeatSeen(worker.number, min(at, now)))
        worker.usage = UsageReported(
            worker.number,
            oldest_request_s=whole.oldest_s,
            memory_mb=memory_mb,
            requests=whole.total,
        )
        core.step(worker.usage)

    def on_time(self, now: float) -> None:
        """Check the shared pages and the last reports of all workers."""
        core = self._core
        for worker in list(core.workers.values()):
            state = core.state.worker(worker.number)
            if state is None:
                continue
            is_near = now >= state.alive_at + STUCK_AFTER_S - _CHECK_MARGIN_S
            if is_near and worker.alive_at > state.alive_at:
                core.step(HeartbeatSeen(worker.number, min(worker.alive_at, now)))
        limits = core.state.limits
        if limits.max_memory_mb is None and limits.max_requests is None:
            return
        for worker in list(core.workers.values()):
            if worker.usage is not None:
                core.step(worker.usage)  # it may have been too soon to replace it when it came
