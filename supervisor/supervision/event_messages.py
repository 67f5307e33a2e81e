"""Words the events of one process for the journal, each thing once."""

from supervisor.policy.backoff import STABLE_S
from supervisor.policy.process_events import ImportFailed, ProcessEvent
from supervisor.policy.process_state import ProcessState, WorkerPhase, WorkerState
from supervisor.supervision.journal import Journal
from supervisor.values.events import EventKind
from supervisor.values.reports import Cause, Exit, ImportReport
from supervisor.values.states import AppState


class EventMessages:
    """Records what happens to the process ``name``, and remembers what was recorded already."""

    def __init__(self, journal: Journal, name: str) -> None:
        self._journal = journal
        self._name = name
        self._cause: Cause | None = None
        self._wait: AppState | None = None

    def record(
        self,
        kind: EventKind,
        text: str,
        *,
        problem: bool = False,
        report: ImportReport | None = None,
    ) -> None:
        """Record ``text`` of the process."""
        self._journal.record(kind, text, app=self._name, problem=problem, report=report)

    def repeat_all(self) -> None:
        """Record again what was recorded before: it is news now."""
        self._cause = self._wait = None

    def of_exit(self, worker: WorkerState, exit_: Exit, now: float) -> None:
        """Record how a worker ended."""
        is_ending = worker.phase is WorkerPhase.ENDING
        if worker.phase is WorkerPhase.DRAINING or (is_ending and not worker.verdict):
            how = "" if exit_.code == 0 else f": {exit_}"
            self.record(EventKind.EXITED, f"the worker ended as it was told to{how}")
        elif worker.phase is WorkerPhase.IMPORTING:
            text = f"the worker ended while importing: {exit_}"
            self.record(EventKind.EXITED, text, problem=True)
        elif not is_ending:  # else its end has been recorded with its reason
            if now - worker.since >= STABLE_S:
                self.repeat_all()
            text = worker.verdict.reason if worker.verdict else f"the worker ended: {exit_}"
            self.record(EventKind.EXITED, text, problem=True)

    def of_failed_import(self, process: ProcessState, pid: int, report: ImportReport) -> None:
        """Record why nothing could be imported, with the traceback that the worker reported."""
        cause = report.cause
        if cause == self._cause:
            return  # the same as at the last attempt
        self._cause, self._wait = cause, None
        is_refused = process.refusal is not None and process.refusal.cause == cause
        refused = "reload refused, what runs goes on: " if is_refused else ""
        text = f"{refused}{cause.in_full}"
        self.record(EventKind.IMPORT_FAILED, text, problem=True, report=report)
        self._journal.print_traceback(self._name, pid, report.traceback)

    def of_step(self, before: ProcessState, process: ProcessState, event: ProcessEvent) -> None:
        """Record what is new in a process after ``event``."""
        self._of_wait(before, process)
        refusal = process.refusal
        is_new = refusal is not None and refusal != before.refusal
        if refusal is not None and is_new and not isinstance(event, ImportFailed):
            text = f"reload refused, what runs goes on: {refusal.cause.reason}"
            self.record(EventKind.REFUSED, text, problem=True)
        stuck = {w.number for w in process.workers if w.stuck}
        if stuck - {w.number for w in before.workers if w.stuck} and process.cause:
            self.record(EventKind.STUCK, process.cause.in_full, problem=True)

    def _of_wait(self, before: ProcessState, process: ProcessState) -> None:
        """Record once how a process that fails again and again is retried."""
        is_known = process.state in (before.state, self._wait)
        if is_known or process.retry_at is None:
            return
        self._wait = process.state
        pace = "once a minute" if process.state is AppState.FAILED else "soon, after growing waits"
        self.record(EventKind.RETRY, f"it is tried again when its files change, and {pace}")
