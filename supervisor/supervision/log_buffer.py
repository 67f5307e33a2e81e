"""The newest log lines of every app, kept in memory within bounds."""

from collections import deque
from collections.abc import Collection
from dataclasses import asdict, dataclass
from itertools import chain
from math import isfinite
from typing import Any

from supervisor.process.output_lines import OutputLine
from supervisor.values.levels import Level

LINES_MAX = 500  # of one app
CHARACTERS_MAX = 256 * 1024  # of one app: a few long lines must not cost megabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line; ``number`` orders the lines of all apps.

    ``output``: the app printed it; else it is an event of the supervisor.
    """

    number: int
    app: str
    pid: int | None
    output: bool
    level: Level
    text: str
    time: str
    monotonic_s: float


class _AppLines:
    """The lines of one app."""

    def __init__(self) -> None:
        self.lines: deque[Line] = deque()
        self._characters = 0

    def add(self, line: Line) -> None:
        self.lines.append(line)
        self._characters += len(line.text)
        while len(self.lines) > LINES_MAX or self._characters > CHARACTERS_MAX:
            self._characters -= len(self.lines.popleft().text)


class LogBook:
    """The lines of all apps, numbered from 1."""

    def __init__(self) -> None:
        self._by_app: dict[str, _AppLines] = {}
        self._last = 0

    @property
    def last(self) -> int:
        """The number of the newest line, 0 before the first."""
        return self._last

    def add(
        self,
        line: OutputLine,
        *,
        app: str,
        pid: int | None,
        output: bool,
        time: str,
        now: float,
    ) -> None:
        """Remember a line, and forget the oldest of its app beyond the bounds."""
        self._last += 1
        added = Line(
            number=self._last,
            app=app,
            pid=pid,
            output=output,
            level=line.level,
            text=line.text,
            time=time,
            monotonic_s=now,
        )
        self._by_app.setdefault(app, _AppLines()).add(added)

    def lines(
        self,
        *,
        apps: Collection[str] | None = None,
        after: int = 0,
        newest: int | None = None,
        since_s: float | None = None,
    ) -> list[Line]:
        """Return lines in order: of ``apps`` or of all, with numbers above ``after``.

        ``newest`` limits their count, ``since_s`` is a monotonic time before which none count.
        """
        chosen = [lines for name, lines in self._by_app.items() if apps is None or name in apps]
        found = [
            line
            for line in chain.from_iterable(lines.lines for lines in chosen)
            if line.number > after and (since_s is None or line.monotonic_s >= since_s)
        ]
        found.sort(key=lambda line: line.number)
        return found if newest is None else found[max(0, len(found) - newest) :]


def to_json(line: Line, now: float) -> dict[str, Any]:
    """Return a line for a program, with its age (None if unknown) in place of a monotonic time."""
    fields = asdict(line)
    age_s = now - fields.pop("monotonic_s")
    fields["age_s"] = round(age_s, 1) if isfinite(age_s) else None
    return fields
