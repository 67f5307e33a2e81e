"""Keeps events, and each app's last failure, over restarts: see `supervisor.files.event_store`.

The file is read once, at the start, and written by throw-away children: syncing may take an SD card
seconds. What happened in an earlier boot has a wall time at best; where the clock was not set, then
or now, its age is unknown.
"""

import contextlib
import math
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from supervisor.files import event_store
from supervisor.files.atomic_file import remove_incomplete
from supervisor.files.event_store import EventHistory, StoredEvent, StoredFailure, WritePace
from supervisor.host.source_files import read_text
from supervisor.policy.health_document import CheckFacts
from supervisor.process.line_levels import LevelReader
from supervisor.process.output_lines import OutputLine
from supervisor.process.throwaway import TaskFailed, run_in_child
from supervisor.supervision.runtime import Runtime
from supervisor.values.events import Event, EventKind
from supervisor.values.reports import ImportReport

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIMEOUT_S = 60.0
_FAILURES = (EventKind.IMPORT_FAILED, EventKind.EXITED, EventKind.STUCK)
_LINES = 20  # of the log, kept with a failure
_HINT = "see: df -h, and dmesg about the disk of the state folder"
_FIRST_REAL_YEAR = 2024  # a wall time before is that of a clock which nobody has set


class EventFile:
    """The file at ``path``: `restore` comes first, `on_tick` each second, `close` at the end."""

    def __init__(self, runtime: Runtime, path: Path) -> None:
        self._runtime = runtime
        self._path = path
        self._history = EventHistory(read_text(_BOOT_ID) or "unknown")
        self._pace = WritePace()
        self._failed_apps: set[str] = set()  # since the last write
        self._is_writing = False
        self._problem: str | None = None  # why the last write failed

    def restore(self, *, unexpected_end: bool) -> None:
        """Read the file, and let the journal know what happened before.

        ``unexpected_end``: and that the run before did not end in order.
        """
        journal, now = self._runtime.journal, self._runtime.now()
        with contextlib.suppress(OSError):  # then they stay
            remove_incomplete(self._path.parent)
        self._history, problem = event_store.load(self._path, self._history.boot)
        written = self._history.written
        if written is not None and written[0] == self._history.boot:
            self._pace = WritePace(written[1] + event_store.INTERVAL_S)
        age_s = self._ages(now)
        journal.events.restore(_dated(self._history.events, age_s, now))
        for app, failure in self._history.failures.items():
            at = now - age_s(failure.boot, failure.monotonic_s, failure.wall)
            levels = LevelReader()
            for text in failure.lines:
                line = OutputLine(*levels.read(text))
                journal.lines.add(line, app=app, pid=None, output=True, time=failure.wall, now=at)
        journal.on_event = self._on_event
        if problem is not None:
            journal.record(EventKind.STARTED, problem, app=None, problem=True)
        if unexpected_end:
            journal.record(EventKind.EXITED, self._unexpected_end(), app=None, problem=True)

    def _unexpected_end(self) -> str:
        events = self._history.events
        text = "the supervisor's run before ended unexpectedly"
        if events and events[-1].boot != self._history.boot:
            return f"{text}: the machine lost its power, crashed or was reset"
        return f"{text}: its main process was killed, or crashed"

    def checks(self) -> list[CheckFacts]:
        """Return the check that warns while events can't be kept."""
        if self._problem is None:
            return []
        reason = f"events would be lost by a restart, they can't be written: {self._problem}"
        return [CheckFacts(name="events", reason=reason, hint=_HINT, critical=False)]

    def last_failure(self, app: str) -> dict[str, Any] | None:
        """Return the last failure of an app for a program, None if it had none."""
        failure = self._history.failures.get(app)
        if failure is None:
            return None
        now = self._runtime.now()
        age_s = self._ages(now)(failure.boot, failure.monotonic_s, failure.wall)
        return {
            "reason": failure.reason,
            "time": failure.wall,
            "age_s": round(age_s, 1) if math.isfinite(age_s) else None,
        }

    def failure_in_full(self, app: str) -> dict[str, Any] | None:
        """Return `last_failure` with the import's report and the worker's last output."""
        found, failure = self.last_failure(app), self._history.failures.get(app)
        if found is None or failure is None:
            return None
        report = None if failure.report is None else dict(failure.report)
        return {**found, "report": report, "lines": list(failure.lines)}

    def on_tick(self) -> None:
        """Write the file in a child, if that is due."""
        due_at = self._pace.due_at
        if due_at is not None and self._runtime.now() >= due_at and not self._is_writing:
            self._is_writing = True
            self._runtime.jobs.run(self._write(self._content()))

    def close(self) -> None:
        """Write the file at the end, if that is due; raises OSError."""
        due_at = self._pace.due_at
        if due_at is not None and self._runtime.now() >= due_at:
            event_store.save(self._path, self._content())

    def _on_event(self, event: Event, report: ImportReport | None) -> None:
        self._history.add(event)
        self._pace.change()
        if event.app is not None and event.problem and event.kind in _FAILURES:
            failure = StoredFailure(
                boot=self._history.boot,
                monotonic_s=event.monotonic_s,
                wall=event.wall,
                reason=event.text,
                report=None if report is None else report.to_json(),
            )
            self._history.fail(event.app, failure)
            self._failed_apps.add(event.app)

    def _content(self) -> dict[str, Any]:
        """Return what is to be written now; what comes after it asks for the next write."""
        now = self._runtime.now()
        for app in self._failed_apps:
            lines = self._runtime.journal.lines.lines(apps=[app], newest=_LINES)
            self._history.add_lines(app, [line.text for line in lines if line.output])
        self._failed_apps.clear()
        processes = self._runtime.config.processes()
        self._history.forget_failures(but={*processes, *self._runtime.config.apps})
        self._pace.begin(now)
        self._history.written = (self._history.boot, now)
        return self._history.to_json()

    async def _write(self, content: dict[str, Any]) -> None:
        before = self._problem
        try:
            self._problem = await run_in_child(
                _save, self._path, content, timeout_s=_TIMEOUT_S, quiet=True
            )
        except TaskFailed as error:  # a disk that hangs
            self._problem = str(error)
        except OSError as error:
            self._problem = f"no child can be started: {error.strerror}"
        finally:
            self._is_writing = False
        if self._problem is not None:
            self._pace.failed()
        if self._problem != before:
            self._runtime.signal.notify()

    def _ages(self, now: float) -> Callable[[str, float, str], float]:
        """Return a function from boot, monotonic and wall time to an age; infinite if unknown."""
        wall_now = _real(self._runtime.wall())

        def age_s(boot: str, monotonic_s: float, wall: str) -> float:
            if boot == self._history.boot:
                return now - monotonic_s
            then = _real(wall)
            if wall_now is None or then is None or then > wall_now:
                return math.inf
            return (wall_now - then).total_seconds()

        return age_s


def _save(path: Path, content: dict[str, Any]) -> str | None:
    """Write the file; return why that failed, without its path, or None."""
    try:
        event_store.save(path, content)
    except OSError as error:
        return error.strerror or type(error).__name__
    return None


def _dated(
    stored: Iterable[StoredEvent], age_s: Callable[[str, float, str], float], now: float
) -> list[Event]:
    """Return events with monotonic times of this boot, minus infinity where these are unknown."""
    return [
        Event(
            kind=one.event.kind,
            text=one.event.text,
            app=one.event.app,
            monotonic_s=now - age_s(one.boot, one.event.monotonic_s, one.event.wall),
            wall=one.event.wall,
            problem=one.event.problem,
        )
        for one in stored
    ]


def _real(wall: str) -> datetime | None:
    """Return a wall time (RFC 3339), None if the clock was not set."""
    try:
        found = datetime.fromisoformat(wall.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo is not None and found.year >= _FIRST_REAL_YEAR else None
