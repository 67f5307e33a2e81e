"""What the supervisor writes: log lines for a terminal or for programs, never blocking.

A terminal gets short coloured lines, anything else one JSON object a line. The writer drops
lines, and says how many, rather than wait for a reader that doesn't read.
"""

import os
import re
import select
import socket
import stat
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import structlog

from supervisor.redaction import Redaction

LINE_MAX = 8 * 1024  # a longer line of an app is cut
LINES_PER_S_MAX = 1000  # of one app; a flood beyond it is counted, not told
FAST_BYTES_PER_S = 8 * 1024 * 1024  # of one app; what is more is a flood, even in few lines
TAIL_BYTES, TAIL_LINES = 16 * 1024, 100  # of a flood's end, kept for when the app ends there
BACKLOG_MAX = 2000  # lines kept for a reader that is slow
BACKLOG_BYTES_MAX = 2 * 1024 * 1024  # ... and their length

Level = Literal["debug", "info", "warning", "error"]

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_COLOURS = {"debug": "2", "info": "36", "warning": "33", "error": "31", "output": "0"}
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3}
_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")
NOTHING_HIDDEN = Redaction()
_CONTROLS = dict.fromkeys([*range(9), *range(10, 32), *range(127, 160)], "·")


class Writer:
    """Writes lines to a descriptor without ever waiting for it; the caller owns ``fd``."""

    def __init__(self, fd: int) -> None:
        self._write = _non_blocking_writer(fd)
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._dropped = 0

    def msg(self, line: str) -> None:
        """Write ``line``, now or by a later call."""
        if len(self._kept) >= BACKLOG_MAX or self._kept_bytes >= BACKLOG_BYTES_MAX:
            self._dropped += 1
        else:
            self._keep(line.encode("utf-8", "backslashreplace") + b"\n")
        self.flush()

    def _keep(self, data: bytes) -> None:
        self._kept.append(data)
        self._kept_bytes += len(data)

    debug = info = warning = error = msg

    def flush(self) -> None:
        """Write what was kept, as far as the reader takes it."""
        while self._kept:
            try:
                written = self._write(self._kept[0])
            except BlockingIOError:
                return
            except OSError:
                self._kept.clear()  # nobody will ever read it: the terminal or pipe is closed
                self._kept_bytes = 0
                return
            self._kept_bytes -= written
            if written < len(self._kept[0]):
                self._kept[0] = self._kept[0][written:]
            else:
                self._kept.popleft()
            if self._dropped and not self._kept:
                text = f"... {self._dropped} log lines were dropped: nobody read them in time\n"
                self._keep(text.encode())
                self._dropped = 0


def _non_blocking_writer(fd: int) -> Callable[[bytes], int]:
    """Give a function that writes to ``fd`` what it takes now, or raises BlockingIOError.

    The descriptor itself stays as it is: other processes share its flags (the shell, for one).
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return partial(os.write, fd)
    if stat.S_ISSOCK(mode):  # journald's
        connection = socket.socket(fileno=os.dup(fd))
        return lambda data: connection.send(data, socket.MSG_DONTWAIT)
    try:
        own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:  # a terminal of another user: poll() promises room for a page at least
        return partial(_write_if_ready, fd)
    return partial(os.write, own)


def _write_if_ready(fd: int, data: bytes) -> int:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(fd, data[: select.PIPE_BUF])


class Log:
    """The log of a supervisor, on descriptor ``fd``.

    ``level`` is for the supervisor's own lines; what apps print is always passed on.
    """

    def __init__(self, log_format: str, level: Level, fd: int = 2) -> None:
        journal = _is_journal(fd)
        self._writer = Writer(fd)
        processors = _processors(log_format, fd, journal=journal)
        self._own = self._logger(processors, _LEVELS[level])
        self._output = self._logger(processors, _LEVELS["debug"])

    def event(self, text: str, *, app: str | None, kind: str, problem: bool) -> None:
        """Write what happened; a ``problem`` is a warning."""
        (self._own.warning if problem else self._own.info)(text, app=app, kind=kind)

    def output(self, text: str, *, app: str, pid: int) -> None:
        """Write a line that a worker printed."""
        self._output.info(text, app=app, pid=pid, output=True)

    def flush(self) -> None:
        """Write what a slow reader has not taken yet, as far as it takes it now."""
        self._writer.flush()

    def _logger(self, processors: list[Any], level: int) -> Any:
        return structlog.wrap_logger(
            self._writer,
            processors=processors,
            wrapper_class=structlog.make_filtering_bound_logger(level),
            context_class=dict,
            cache_logger_on_first_use=True,
        )


def _processors(log_format: str, fd: int, *, journal: bool) -> list[Any]:
    terminal = os.isatty(fd)
    console = log_format == "console" or (log_format == "auto" and terminal)
    renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
    if console:
        renderer = _ConsoleRenderer(colours=terminal and "NO_COLOR" not in os.environ)
    chain: list[Any] = [structlog.processors.add_log_level]
    if not journal:  # which has times of its own
        form, utc = ("%H:%M:%S", False) if console else ("iso", True)
        chain.append(structlog.processors.TimeStamper(fmt=form, utc=utc))
    if not console:
        chain.append(_in_order)
    return [*chain, _Prioritised(renderer) if journal else renderer]


def _is_journal(fd: int) -> bool:
    """Say whether ``fd`` leads to journald: systemd.exec(5), JOURNAL_STREAM."""
    found = os.fstat(fd)
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class _Prioritised:
    """Puts the priority before each line as journald takes it: sd-daemon(3)."""

    def __init__(self, renderer: Any) -> None:
        self._renderer = renderer

    def __call__(self, logger: Any, method: str, event: dict[str, Any]) -> str:
        priority = _PRIORITIES[event["level"]]
        return f"<{priority}>{self._renderer(logger, method, event)}"


def _in_order(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Put first what a person looks for first."""
    first = ("timestamp", "level", "app", "event")
    return {**{key: event[key] for key in first if key in event}, **event}


class _ConsoleRenderer:
    """Renders ``12:00:01 coach    text``, an app's own lines behind a bar."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: Any, _method: str, event: dict[str, Any]) -> str:
        level, app = event.pop("level"), event.pop("app", None) or "-"
        output = event.pop("output", False)
        time, text = event.pop("timestamp", ""), str(event.pop("event"))
        head = f"{time} {app:<10} {'|' if output else ' '} ".lstrip()
        if not self._colours:
            return head + text
        colour = _COLOURS["output" if output else level]
        return f"\x1b[2m{head}\x1b[0m\x1b[{colour}m{text}\x1b[0m"


class LineRate:
    """Lets `LINES_PER_S_MAX` lines a second through, and counts the others.

    An app that prints without end must not keep the supervisor busy with telling it. The end of
    what was left out is kept: when the app ends right there, it says why.
    """

    def __init__(self) -> None:
        self._since_s = 0.0
        self._lines = self._bytes = 0  # of this second
        self._left_out = 0
        self._tail = b""  # of what was left out, since something was told last
        self._within_line = False  # what was left out last has not ended its line yet

    @property
    def exceeded(self) -> bool:
        """Whether this second's lines are used up, or it had enough bytes."""
        return self._lines >= LINES_PER_S_MAX or self._bytes >= FAST_BYTES_PER_S

    def take(self, data: bytes, now: float) -> bytes:
        """Give what may be told of ``data``, which comes at ``now`` (monotonic seconds)."""
        if now >= self._since_s + 1.0:
            self._since_s, self._lines, self._bytes = now, 0, 0
        self._bytes += len(data)
        told, rest = b"", data
        if self._lines < LINES_PER_S_MAX and self._within_line:
            end = data.find(b"\n") + 1 or len(data)
            self._leave_out(data[:end])
            rest = data[end:]
        if room := LINES_PER_S_MAX - self._lines:
            told, rest = _first_lines(rest, room)
            self._lines += told.count(b"\n")
        if told:
            self._tail = b""
        self._leave_out(rest)
        return told

    def _leave_out(self, data: bytes) -> None:
        if data:
            self._left_out += data.count(b"\n")
            self._tail = (self._tail + data)[-TAIL_BYTES:]
            self._within_line = not data.endswith(b"\n")

    def left_out(self, now: float) -> list[str]:
        """Give a line that says how many were left out, if any, once their second is over."""
        return self._told_count() if now >= self._since_s + 1.0 else []

    def end(self) -> tuple[bytes, list[str]]:
        """Give the last lines of what was left out, and a line that says how many went before."""
        lines = self._tail.split(b"\n")
        if len(self._tail) == TAIL_BYTES:
            del lines[0]  # its beginning is gone
        last = b"\n".join(lines[-TAIL_LINES - 1 :])  # behind the last end of line comes nothing
        self._left_out -= last.count(b"\n")
        return last, self._told_count()

    def _told_count(self) -> list[str]:
        count, self._left_out = self._left_out, 0
        return [f"… {count} lines left out: more than {LINES_PER_S_MAX} a second"] if count else []


def _first_lines(data: bytes, count: int) -> tuple[bytes, bytes]:
    """Split behind ``count`` lines; fewer lines are all told, the one that has no end yet too."""
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
        """Take ``data``; give the lines that are complete."""
        lines = []
        *complete, rest = data.split(b"\n")
        for part in complete:
            self._add(part)
            lines.append(self._finish())
        self._add(rest)
        return lines

    def rest(self) -> list[str]:
        """Give what was printed without an end of line, at the end."""
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
