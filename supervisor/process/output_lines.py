"""Cuts what a worker prints into log lines.

Needs the standard library alone.
"""

import re
from typing import NamedTuple

from supervisor.process.line_levels import LevelReader
from supervisor.values.levels import Level
from supervisor.values.redaction import Redaction

LINE_MAX = 8 * 1024  # a longer line of an app is cut

_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")
_CONTROLS = dict.fromkeys([*range(9), *range(10, 32), *range(127, 160)], "·")
NOTHING_HIDDEN = Redaction()


class OutputLine(NamedTuple):
    """A line that an app printed, and how serious it is."""

    text: str
    level: Level


class OutputLines:
    """Cuts what a worker prints into lines fit for a log, whatever bytes it prints."""

    def __init__(self, hide: Redaction = NOTHING_HIDDEN) -> None:
        self._hide = hide
        self._levels = LevelReader()
        self._partial = bytearray()
        self._skipped = 0

    def feed(self, data: bytes) -> list[OutputLine]:
        """Add ``data``; return the lines that are complete."""
        lines = []
        *complete, rest = data.split(b"\n")
        for part in complete:
            self._add(part)
            lines.append(self._finish())
        self._add(rest)
        return lines

    def rest(self) -> list[OutputLine]:
        """Return what was printed without an end of line, at the end."""
        return [self._finish()] if self._partial else []

    def _add(self, part: bytes) -> None:
        room = LINE_MAX - len(self._partial)
        self._partial += part[:room]
        self._skipped += max(0, len(part) - room)

    def _finish(self) -> OutputLine:
        text = self._partial.decode("utf-8", "replace").rstrip("\r")
        text = _ESCAPE_SEQUENCE.sub("", text).translate(_CONTROLS)
        text, level = self._levels.read(text)
        if self._skipped:
            text = f"{self._hide.cut(text)} … ({self._skipped} bytes more)"
        else:
            text = self._hide(text)
        self._partial.clear()
        self._skipped = 0
        return OutputLine(text, level)
