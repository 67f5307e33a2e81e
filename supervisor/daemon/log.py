"""The log: lines for a terminal or for programs, written without ever blocking.

A terminal gets short coloured lines, journald the same ones with fields, anything else one JSON
object a line. The writer drops lines, and says how many, rather than wait for a reader that doesn't
read.
"""

import os
import select
import socket
import stat
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from supervisor.daemon.own_structlog import structlog
from supervisor.process.output_lines import OutputLine
from supervisor.systemd.journal import JournalSocket, entry, is_journal, output_entry
from supervisor.values.levels import PRIORITIES, Level
from supervisor.values.terminal import colourless

BACKLOG_MAX = 2000  # lines kept for a reader that is slow
BACKLOG_BYTES_MAX = 2 * 1024 * 1024  # ... and their length

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_COLOURS = {"debug": "2", "info": "36", "warning": "33", "error": "31", "critical": "31"}


class Writer:
    """Writes lines to descriptor ``fd``, which the caller owns, without ever waiting for it.

    With ``journal`` it sends entries there.
    """

    def __init__(self, fd: int, journal: JournalSocket | None = None) -> None:
        self._write = journal.send if journal else _non_blocking_writer(fd)
        self._is_journal = journal is not None
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._dropped = 0

    def msg(self, line: str | bytes) -> None:
        """Write ``line``, or the entry that it is, now or by a later call."""
        if len(self._kept) >= BACKLOG_MAX or self._kept_bytes >= BACKLOG_BYTES_MAX:
            self._dropped += 1
        else:
            self._keep(line)
        self.flush()

    def _keep(self, line: str | bytes) -> None:
        data = line if isinstance(line, bytes) else line.encode("utf-8", "backslashreplace") + b"\n"
        self._kept.append(data)
        self._kept_bytes += len(data)

    debug = info = warning = error = critical = msg

    def flush(self) -> None:
        """Write what was kept, as much as the reader takes now."""
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
                text = f"... {self._dropped} log lines were dropped: nobody read them in time"
                self._keep(entry(text, "warning", {}) if self._is_journal else text)
                self._dropped = 0


def _non_blocking_writer(fd: int) -> Callable[[bytes], int]:
    """Return a function that writes to ``fd`` what it takes now, or raises BlockingIOError.

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
        journal = _journal_socket() if log_format != "json" and is_journal(fd) else None
        self._writer = Writer(fd, journal)
        processors = _FOR_JOURNAL if journal else _processors(log_format, fd)
        self._own = self._logger(processors, _LEVELS[level])
        self._output = self._logger(processors, _LEVELS["debug"])

    def event(self, text: str, *, app: str | None, kind: str, problem: bool) -> None:
        """Write an event; a ``problem`` is a warning."""
        (self._own.warning if problem else self._own.info)(text, app=app, kind=kind)

    def output(self, text: str, *, app: str, pid: int, level: Level) -> None:
        """Write a line that a worker printed."""
        getattr(self._output, level)(text, app=app, pid=pid, output=True)

    def flush(self) -> None:
        """Write what a slow reader has not taken yet, as much as it takes now."""
        self._writer.flush()

    def _logger(self, processors: list[Any], level: int) -> Any:
        return structlog.wrap_logger(
            self._writer,
            processors=processors,
            wrapper_class=structlog.make_filtering_bound_logger(level),
            context_class=dict,
            cache_logger_on_first_use=True,
        )


def _journal_socket() -> JournalSocket | None:
    try:
        return JournalSocket()
    except OSError:  # then its stream takes lines
        return None


def _processors(log_format: str, fd: int) -> list[Any]:
    terminal, journal = os.isatty(fd), is_journal(fd)
    console = log_format == "console" or (log_format == "auto" and (terminal or journal))
    renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
    if console:
        renderer = _ConsoleRenderer(colours=terminal and not colourless(os.environ))
    chain: list[Any] = [structlog.processors.add_log_level]
    if not journal:  # which has times of its own
        form, utc = ("%H:%M:%S", False) if console else ("iso", True)
        chain.append(structlog.processors.TimeStamper(fmt=form, utc=utc))
    if not console:
        chain.append(_in_order)
    return [*chain, _Prioritised(renderer) if journal else renderer]


class _Prioritised:
    """Puts the priority before each line as journald takes it: sd-daemon(3)."""

    def __init__(self, renderer: Any) -> None:
        self._renderer = renderer

    def __call__(self, logger: Any, method: str, event: dict[str, Any]) -> str:
        mark = f"<{PRIORITIES[event['level']]}>"
        return f"{mark}{self._renderer(logger, method, event)}"


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
        colour = "0" if output and level == "info" else _COLOURS[level]
        return f"\x1b[2m{head}\x1b[0m\x1b[{colour}m{text}\x1b[0m"


def _journal_entry(_logger: Any, _method: str, event: dict[str, Any]) -> bytes:
    """Return the entry for journald: a readable line, and the fields of the JSON format."""
    line, app = OutputLine(event["event"], event["level"]), event["app"]
    if "output" in event:
        return output_entry(line, app=app, pid=event["pid"])
    fields = {"kind": event["kind"], **({"app": app} if app else {})}
    return entry(f"{app}: {line.text}" if app else line.text, line.level, fields)


_FOR_JOURNAL: list[Any] = [structlog.processors.add_log_level, _journal_entry]
