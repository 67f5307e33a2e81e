"""Writes to the log what a worker prints when its main process, which did that, is gone.

The lines are as the main process writes them: cut, without secrets, with their level. Needs the
standard library alone.
"""

import contextlib
import json
import os
import threading
from datetime import UTC, datetime
from select import POLLIN, poll  # the real ones, whatever an app patches
from time import sleep

from supervisor.process.output_lines import OutputLine, OutputLines
from supervisor.systemd.journal import JournalSocket, is_journal, output_entry
from supervisor.values.levels import marked
from supervisor.values.redaction import Redaction

_PART = 65536
_JOURNAL_TRIES, _JOURNAL_PAUSE_S = 50, 0.01  # while journald's queue is full


class OutputForwarder:
    """Forwards the pipe ``output``, which this process prints to, to the log ``log_fd``.

    It owns ``output``, a non-blocking read end. ``app`` is the name under which the lines stand.
    """

    def __init__(
        self, output: int, log_fd: int, *, app: str, as_json: bool, hide: Redaction
    ) -> None:
        self._output = output
        self._log_fd = log_fd
        self._app = app
        self._lines = OutputLines(hide)
        self._lock = threading.Lock()
        self._as_json = as_json
        self._is_journal = is_journal(log_fd)
        self._journal: JournalSocket | None = None
        if self._is_journal and not as_json:
            with contextlib.suppress(OSError):  # no socket: then its stream takes lines
                self._journal = JournalSocket()

    def start(self) -> None:
        """Forward in a thread from now on."""
        with contextlib.suppress(RuntimeError):  # no thread is left: `finish` does it all
            threading.Thread(target=self._run, name="output", daemon=True).start()

    def finish(self) -> None:
        """Forward the rest; called when nothing more is printed."""
        self._forward()
        with self._lock:
            self._write(self._lines.rest())

    def _run(self) -> None:
        readable = poll()
        readable.register(self._output, POLLIN)
        while True:
            readable.poll()
            self._forward()

    def _forward(self) -> None:
        """Forward what the pipe holds; this process is one of its writers, so it never ends."""
        with self._lock, contextlib.suppress(BlockingIOError):
            while part := os.read(self._output, _PART):
                self._write(self._lines.feed(part))

    def _write(self, lines: list[OutputLine]) -> None:
        for line in lines:
            with contextlib.suppress(OSError):  # nobody reads the log any more
                if self._journal is not None:
                    self._send(self._journal, line)
                else:
                    os.write(self._log_fd, self._text(line).encode("utf-8", "backslashreplace"))

    def _send(self, journal: JournalSocket, line: OutputLine) -> None:
        data = output_entry(line, app=self._app, pid=os.getpid())
        for _ in range(_JOURNAL_TRIES):
            try:
                journal.send(data)
            except BlockingIOError:
                sleep(_JOURNAL_PAUSE_S)
            else:
                return

    def _text(self, line: OutputLine) -> str:
        text = f"{self._app} | {line.text}"
        if self._as_json:
            time = {} if self._is_journal else {"timestamp": _now()}
            fields = {"level": line.level, "app": self._app, "event": line.text}
            more = {"pid": os.getpid(), "output": True}
            text = json.dumps({**time, **fields, **more}, ensure_ascii=False)
        return (marked(text, line.level) if self._is_journal else text) + "\n"


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
