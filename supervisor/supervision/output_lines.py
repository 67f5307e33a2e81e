"""Cuts what a worker prints into log lines, and limits how many are passed on."""

import re

from supervisor.values.redaction import Redaction

LINE_MAX = 8 * 1024  # a longer line of an app is cut
LINES_PER_S_MAX = 1000  # of one app; a flood beyond it is counted, not logged
FAST_BYTES_PER_S = 8 * 1024 * 1024  # of one app; what is more is a flood, even in few lines
TAIL_BYTES, TAIL_LINES = 16 * 1024, 100  # of a flood's end, kept for when the app ends there

_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")
_CONTROLS = dict.fromkeys([*range(9), *range(10, 32), *range(127, 160)], "·")
NOTHING_HIDDEN = Redaction()


class LineRate:
    """Passes `LINES_PER_S_MAX` lines a second on, and counts the others.

    An app that prints without end must not keep the supervisor busy with logging it. The end of
    what was left out is kept: when the app ends right there, it says why.
    """

    def __init__(self) -> None:
        self._since_s = 0.0
        self._lines = self._bytes = 0  # of this second
        self._left_out = 0
        self._tail = b""  # of what was left out, since something was passed on
        self._within_line = False  # what was left out last has not ended its line yet

    @property
    def exceeded(self) -> bool:
        """Whether this second has had its lines, or its bytes."""
        return self._lines >= LINES_PER_S_MAX or self._bytes >= FAST_BYTES_PER_S

    def take(self, data: bytes, now: float) -> bytes:
        """Return what may be logged of ``data``, which comes at ``now`` (monotonic seconds)."""
        if now >= self._since_s + 1.0:
            self._since_s, self._lines, self._bytes = now, 0, 0
        self._bytes += len(data)
        passed, rest = b"", data
        if self._lines < LINES_PER_S_MAX and self._within_line:
            end = data.find(b"\n") + 1 or len(data)
            self._leave_out(data[:end])
            rest = data[end:]
        if room := LINES_PER_S_MAX - self._lines:
            passed, rest = _first_lines(rest, room)
            self._lines += passed.count(b"\n")
        if passed:
            self._tail = b""
        self._leave_out(rest)
        return passed

    def _leave_out(self, data: bytes) -> None:
        if data:
            self._left_out += data.count(b"\n")
            self._tail = (self._tail + data)[-TAIL_BYTES:]
            self._within_line = not data.endswith(b"\n")

    def left_out(self, now: float) -> list[str]:
        """Return a line with how many were left out, if any, once their second is over."""
        return self._count_line() if now >= self._since_s + 1.0 else []

    def end(self) -> tuple[bytes, list[str]]:
        """Return the last lines of what was left out, and a line with how many went before."""
        lines = self._tail.split(b"\n")
        if len(self._tail) == TAIL_BYTES:
            del lines[0]  # its beginning is gone
        last = b"\n".join(lines[-TAIL_LINES - 1 :])  # behind the last end of line comes nothing
        self._left_out -= last.count(b"\n")
        return last, self._count_line()

    def _count_line(self) -> list[str]:
        count, self._left_out = self._left_out, 0
        return [f"… {count} lines left out: more than {LINES_PER_S_MAX} a second"] if count else []


def _first_lines(data: bytes, count: int) -> tuple[bytes, bytes]:
    """Split after ``count`` lines; fewer all go first, an unfinished one too."""
    lines = data.split(b"\n", count)
    if len(lines) <= count:
        return data, b""
    return data[: len(data) - len(lines[-1])], lines[-1]


class OutputLines:
    """Cuts what a worker prints into lines fit for a log, whatever bytes it prints."""

    def __init__(self, hide: Redaction = NOTHING_HIDDEN) -> None:
        self._hide = hide
        self._partial = bytearray()
        self._skipped = 0

    def feed(self, data: bytes) -> list[str]:
        """Add ``data``; return the lines that are complete."""
        lines = []
        *complete, rest = data.split(b"\n")
        for part in complete:
            self._add(part)
            lines.append(self._finish())
        self._add(rest)
        return lines

    def rest(self) -> list[str]:
        """Return what was printed without an end of line, at the end."""
        return [self._finish()] if self._partial else []

    def _add(self, part: bytes) -> None:
        room = LINE_MAX - len(self._partial)
        self._partial += part[:room]
        self._skipped += max(0, len(part) - room)

    def _finish(self) -> str:
        text = self._partial.decode("utf-8", "replace").rstrip("\r")
        text = _ESCAPE_SEQUENCE.sub("", text).translate(_CONTROLS)
        if self._skipped:
            text = f"{self._hide.cut(text)} … ({self._skipped} bytes more)"
        else:
            text = self._hide(text)
        self._partial.clear()
        self._skipped = 0
        return text
