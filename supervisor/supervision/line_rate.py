"""Limits how many lines of what a worker prints are passed on."""

from supervisor.process.output_lines import OutputLine

LINES_PER_S_MAX = 1000  # of one app; a flood beyond it is counted, not logged
FAST_BYTES_PER_S = 8 * 1024 * 1024  # of one app; what is more is a flood, even in few lines
TAIL_BYTES, TAIL_LINES = 16 * 1024, 100  # of a flood's end, kept for when the app ends there


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

    def left_out(self, now: float) -> list[OutputLine]:
        """Return a line with how many were left out, if any, once their second is over."""
        return self._count_line() if now >= self._since_s + 1.0 else []

    def end(self) -> tuple[bytes, list[OutputLine]]:
        """Return the last lines of what was left out, and a line with how many went before."""
        lines = self._tail.split(b"\n")
        if len(self._tail) == TAIL_BYTES:
            del lines[0]  # its beginning is gone
        last = b"\n".join(lines[-TAIL_LINES - 1 :])  # behind the last end of line comes nothing
        self._left_out -= last.count(b"\n")
        return last, self._count_line()

    def _count_line(self) -> list[OutputLine]:
        count, self._left_out = self._left_out, 0
        text = f"… {count} lines left out: more than {LINES_PER_S_MAX} a second"
        return [OutputLine(text, "warning")] if count else []


def _first_lines(data: bytes, count: int) -> tuple[bytes, bytes]:
    """Split after ``count`` lines; fewer all go first, an unfinished one too."""
    lines = data.split(b"\n", count)
    if len(lines) <= count:
        return data, b""
    return data[: len(data) - len(lines[-1])], lines[-1]
