"""What happened, for everybody who asks: the events, the log lines of apps, and the log."""

from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from supervisor.process.output_lines import OutputLine
from supervisor.supervision.changes import ChangeSignal
from supervisor.supervision.log_buffer import LogBook
from supervisor.values.events import Event, EventKind, EventLog
from supervisor.values.levels import Level
from supervisor.values.redaction import Redaction
from supervisor.values.reports import ImportReport

OWN_LINES = "-"  # the supervisor's own lines stand under this name in the log book


class LogOutput(Protocol):
    """Where log lines go; see `daemon.log.Log`."""

    def event(self, text: str, *, app: str | None, kind: str, problem: bool) -> None:
        """Write an event."""

    def output(self, text: str, *, app: str, pid: int, level: Level) -> None:
        """Write a line that a worker printed."""


class Journal:
    """Records events and what workers print; takes ``secrets`` out of every text.

    ``now`` returns monotonic seconds, ``wall`` the wall time for people (RFC 3339, UTC).
    ``on_event`` is called with each event, and the report of the import that failed, if any.
    """

    def __init__(
        self,
        log: LogOutput,
        signal: ChangeSignal,
        secrets: Collection[str],
        *,
        now: Callable[[], float],
        wall: Callable[[], str],
    ) -> None:
        self.events = EventLog()
        self.lines = LogBook()
        self.on_event: Callable[[Event, ImportReport | None], None] | None = None
        self.hide = Redaction(secrets)
        self._secrets = frozenset(secrets)
        self._log = log
        self._signal = signal
        self._now = now
        self._wall = wall

    def add_secrets(self, secrets: Collection[str]) -> None:
        """Take these out of every text too; workers that know the old ones may still run."""
        self._secrets |= frozenset(secrets)
        self.hide = Redaction(self._secrets)

    def record(
        self,
        kind: EventKind,
        text: str,
        *,
        app: str | None,
        problem: bool = False,
        report: ImportReport | None = None,
        by: str | None = None,
    ) -> None:
        """Log and remember an event of ``app`` (None: of the supervisor itself).

        ``report`` is that of the import which failed; it is kept with the last failure of the app.
        ``by`` says who did it: in the log, and for operators.
        """
        text, by = self.hide(text), by and self.hide(by)
        now, wall = self._now(), self._wall()
        event = Event(
            kind=kind, text=text, app=app, monotonic_s=now, wall=wall, problem=problem, by=by
        )
        self.events.add(event)
        if self.on_event is not None:
            self.on_event(event, report)
        self._signal.mark()
        self._log.event(event.full_text, app=app, kind=str(kind), problem=problem)
        line = OutputLine(event.full_text, "warning" if problem else "info")
        self.lines.add(line, app=app or OWN_LINES, pid=None, output=False, time=wall, now=now)

    def log_only(self, text: str, *, kind: EventKind, problem: bool = False) -> None:
        """Log what is not for the public, as a path: port 6000 shows events."""
        self._log.event(text, app=None, kind=str(kind), problem=problem)

    def print_output(self, app: str, pid: int, lines: Iterable[OutputLine]) -> None:
        """Log and remember lines that a worker of ``app`` printed."""
        for line in lines:
            self._log.output(line.text, app=app, pid=pid, level=line.level)
            now, wall = self._now(), self._wall()
            self.lines.add(line, app=app, pid=pid, output=True, time=wall, now=now)

    def print_traceback(self, app: str, pid: int, text: str) -> None:
        """Log and remember a traceback that a worker of ``app`` has reported."""
        self.print_output(app, pid, [OutputLine(line, "error") for line in text.splitlines()])
