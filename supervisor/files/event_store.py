"""What happened, over restarts and reboots: one small file, bounded, written whole.

An SD card wears out by writing, so the file is written only when something has happened, and never
more than once in `INTERVAL_S`. Events are in the order in which they were recorded, numbered on
over restarts: a machine that boots without a clock has no other. The boot id
(/proc/sys/kernel/random/boot_id) tells whose monotonic clock a time is of.
"""

import contextlib
import json
import math
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from supervisor.files.atomic_file import write_whole
from supervisor.values.events import Event, EventKind
from supervisor.values.records import dataclass

INTERVAL_S = 10.0  # between two writes
EVENTS_MAX = 200
_FORMAT = 1
_SIZE_MAX = 4 * 2**20  # bytes; what is larger is not ours
_TEXT_MAX = 500  # characters of an event
_LINES_MAX, _LINE_MAX = 20, 300  # of a worker's last output
_REPORT_MAX = 4000  # characters of one field of a failure report: a traceback is cut at its head
_DAMAGED = ".damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event and when it was: ``monotonic_s`` of the boot ``boot``, ``number`` from 1 on."""

    number: int
    boot: str
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFailure:
    """The last failure of an app: what it was, and what its worker printed last.

    ``report`` is that of a failed import (`ImportReport.to_json`), else None.
    """

    boot: str
    monotonic_s: float
    wall: str
    reason: str
    report: Mapping[str, Any] | None
    lines: tuple[str, ...] = ()


class EventHistory:
    """The newest events, oldest first, and each app's last failure; bounded.

    ``boot`` is the boot that this is. ``written`` says when the file was written last: a boot, and
    its monotonic seconds; None before the first time.
    """

    def __init__(self, boot: str) -> None:
        self.boot = boot
        self.written: tuple[str, float] | None = None
        self._events: deque[StoredEvent] = deque(maxlen=EVENTS_MAX)
        self._failures: dict[str, StoredFailure] = {}

    @property
    def events(self) -> list[StoredEvent]:
        """The events, oldest first."""
        return list(self._events)

    @property
    def failures(self) -> dict[str, StoredFailure]:
        """The last failure of each app that had one."""
        return dict(self._failures)

    def add(self, event: Event) -> StoredEvent:
        """Record an event of this boot; return it with its number."""
        number = self._events[-1].number + 1 if self._events else 1
        cut = replace(event, text=event.text[:_TEXT_MAX])
        stored = StoredEvent(number=number, boot=self.boot, event=cut)
        self._events.append(stored)
        return stored

    def fail(self, app: str, failure: StoredFailure) -> None:
        """Record the last failure of ``app``, cut to a bounded size."""
        report = failure.report
        self._failures[app] = replace(
            failure,
            reason=failure.reason[:_TEXT_MAX],
            lines=tuple(line[:_LINE_MAX] for line in failure.lines[-_LINES_MAX:]),
            report=None if report is None else {k: _end(v) for k, v in report.items()},
        )

    def add_lines(self, app: str, lines: Sequence[str]) -> None:
        """Add what the worker of ``app`` printed last to its failure."""
        failure = self._failures.get(app)
        if failure is not None:
            self.fail(app, replace(failure, lines=tuple(lines)))

    def forget_failures(self, but: Collection[str]) -> None:
        """Forget the failures of all apps that are not in ``but``."""
        self._failures = {app: one for app, one in self._failures.items() if app in but}

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        return {
            "format": _FORMAT,
            "written": self.written,
            "events": [_event_json(one) for one in self._events],
            "failures": {app: _failure_json(one) for app, one in self._failures.items()},
        }

    @classmethod
    def from_json(cls, content: Any, boot: str) -> "EventHistory":
        """Return the history that `to_json` wrote, for this ``boot``; raise ValueError if none."""
        history = cls(boot)
        try:
            if content["format"] != _FORMAT:
                raise ValueError(f"format {content['format']!r} is unknown")
            if content["written"] is not None:
                written, at = content["written"]
                history.written = (_a(str, written), _seconds(at))
            history._events.extend(_event_from(one) for one in content["events"])
            history._failures = {
                str(app): _failure_from(one) for app, one in content["failures"].items()
            }
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no history: {error!r}") from error
        numbers = [stored.number for stored in history._events]
        if numbers != sorted(set(numbers)):
            raise ValueError("the numbers of its events don't ascend")
        return history


class WritePace:
    """When the file is to be written: on change, at most once in `INTERVAL_S`; monotonic times."""

    def __init__(self, next_at: float = -math.inf) -> None:
        self._changed = False
        self._next_at = next_at

    @property
    def due_at(self) -> float | None:
        """When it is to be written next; None while nothing has changed."""
        return self._next_at if self._changed else None

    def change(self) -> None:
        """Ask for a write: something has changed."""
        self._changed = True

    def begin(self, now: float) -> None:
        """Begin a write: what changes from now on asks for the next one."""
        self._changed = False
        self._next_at = now + INTERVAL_S

    def failed(self) -> None:
        """Ask for the write again: it has failed, after another interval."""
        self._changed = True


def load(path: Path, boot: str) -> tuple[EventHistory, str | None]:
    """Return the history in the file at ``path``, for the boot ``boot``, and what is wrong with it.

    A file that can't be used is set aside under another name, and the history is empty. Never
    raises for what is in the file.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_SIZE_MAX + 1)
    except FileNotFoundError:
        return EventHistory(boot), None
    except OSError as error:
        return EventHistory(boot), f"the events of before can't be read: {error.strerror}"
    try:
        return _parsed(content, boot), None
    except (ValueError, RecursionError) as error:
        aside = path.with_name(path.name + _DAMAGED)
        with contextlib.suppress(OSError):  # then the next write replaces it
            path.replace(aside)
        problem = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
        return EventHistory(boot), f"the events of before were damaged and set aside: {problem}"


def _parsed(content: bytes, boot: str) -> EventHistory:
    if len(content) > _SIZE_MAX:
        raise ValueError("it is too large")
    return EventHistory.from_json(json.loads(content), boot)


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write what `EventHistory.to_json` returned to ``path``, whole. Raises OSError."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    write_whole(path, text.encode("utf-8", "replace"))


def _end(value: Any) -> Any:
    return value[-_REPORT_MAX:] if isinstance(value, str) else value


def _event_json(stored: StoredEvent) -> dict[str, Any]:
    event = stored.event
    return {
        "number": stored.number,
        "boot": stored.boot,
        "monotonic_s": event.monotonic_s,
        "wall": event.wall,
        "app": event.app,
        "kind": str(event.kind),
        "text": event.text,
        "problem": event.problem,
        **({} if event.by is None else {"by": event.by}),
    }


def _event_from(content: Any) -> StoredEvent:
    event = Event(
        kind=EventKind(content["kind"]),
        text=_a(str, content["text"]),
        app=None if content["app"] is None else _a(str, content["app"]),
        monotonic_s=_seconds(content["monotonic_s"]),
        wall=_a(str, content["wall"]),
        problem=_a(bool, content["problem"]),
        by=None if content.get("by") is None else _a(str, content["by"]),
    )
    return StoredEvent(
        number=_a(int, content["number"]), boot=_a(str, content["boot"]), event=event
    )


def _failure_json(failure: StoredFailure) -> dict[str, Any]:
    return {
        "boot": failure.boot,
        "monotonic_s": failure.monotonic_s,
        "wall": failure.wall,
        "reason": failure.reason,
        "report": None if failure.report is None else dict(failure.report),
        "lines": list(failure.lines),
    }


def _failure_from(content: Any) -> StoredFailure:
    return StoredFailure(
        boot=_a(str, content["boot"]),
        monotonic_s=_seconds(content["monotonic_s"]),
        wall=_a(str, content["wall"]),
        reason=_a(str, content["reason"]),
        report=None if content["report"] is None else _a(dict, content["report"]),
        lines=tuple(_a(str, line) for line in _a(list, content["lines"])),
    )


def _a(kind: type[Any], value: Any) -> Any:
    """Return ``value`` if it is of that type, and raise TypeError if not."""
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _seconds(value: Any) -> float:
    found = float(value) if type(value) is int else _a(float, value)
    if not math.isfinite(found):
        raise TypeError(f"{value!r} is no time")
    return float(found)
