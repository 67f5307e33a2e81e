"""Says what happens to the workers of a process, each thing once, in words."""

from supervisor.policy import process_state as lives
from supervisor.policy.backoff import STABLE_S
from supervisor.policy.process_state import ProcessState, WorkerPhase
from supervisor.supervision.worker_handle import Host, WorkerHandle
from supervisor.values.events import EventKind
from supervisor.values.reports import Cause, Exit, ImportReport
from supervisor.values.states import AppState


class EventMessages:
    """Tells ``host`` of the process ``name``, and remembers what has been said."""

    def __init__(self, host: Host, name: str) -> None:
        self._host = host
        self._name = name
        self._cause: Cause | None = None
        self._wait: AppState | None = None

    def tell(self, kind: EventKind, text: str, *, problem: bool = False) -> None:
        """Say ``text``."""
        self._host.tell(kind, text, app=self._name, problem=problem)

    def begin_anew(self) -> None:
        """Say again what has been said before: it is news now."""
        self._cause = self._wait = None

    def of_exit(self, worker: lives.WorkerState, exit_: Exit) -> None:
        """Say how a worker ended."""
        if worker.phase is WorkerPhase.DRAINING or (
            worker.phase is WorkerPhase.ENDING and not worker.verdict
        ):
            self.tell(EventKind.EXITED, f"the worker ended as it was told to: {exit_}")
        elif worker.phase is WorkerPhase.IMPORTING:
            self.tell(EventKind.EXITED, f"the worker ended while importing: {exit_}", problem=True)
        elif worker.phase is not WorkerPhase.ENDING:  # else its end has been told with its reason
            if self._host.now() - worker.since >= STABLE_S:
                self.begin_anew()
            text = worker.verdict.reason if worker.verdict else f"the worker ended: {exit_}"
            self.tell(EventKind.EXITED, text, problem=True)

    def of_failed_import(
        self, life: ProcessState, worker: WorkerHandle, report: ImportReport
    ) -> None:
        """Say why an app could not be imported, with the traceback."""
        cause = report.cause
        if cause == self._cause:
            return  # the same as at the last attempt: said already
        self._cause, self._wait = cause, None
        is_refused = life.refusal is not None and life.refusal.cause == cause
        refused = "reload refused, what runs goes on: " if is_refused else ""
        self.tell(EventKind.IMPORT_FAILED, f"{refused}{cause.in_full}", problem=True)
        assert worker.child is not None
        self._host.print_output(self._name, worker.child.pid, report.traceback.splitlines())

    def of_step(self, before: ProcessState, life: ProcessState, event: lives.ProcessEvent) -> None:
        """Say what is new in a life after ``event``."""
        self._of_wait(before, life)
        refusal = life.refusal
        if refusal not in (None, before.refusal) and not isinstance(event, lives.ImportFailed):
            assert refusal is not None
            text = f"reload refused, what runs goes on: {refusal.cause.reason}"
            self.tell(EventKind.REFUSED, text, problem=True)
        stuck = {w.number for w in life.workers if w.stuck}
        if stuck - {w.number for w in before.workers if w.stuck} and life.cause:
            self.tell(EventKind.STUCK, life.cause.in_full, problem=True)

    def _of_wait(self, before: ProcessState, life: ProcessState) -> None:
        """Say once how an app that fails again and again is tried."""
        if life.state is before.state or life.retry_at is None or life.state is self._wait:
            return
        self._wait = life.state
        pace = "once a minute" if life.state is AppState.FAILED else "soon, after growing waits"
        self.tell(EventKind.RETRY, f"it is tried again when its files change, and {pace}")
