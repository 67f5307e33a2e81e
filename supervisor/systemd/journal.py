"""Entries for journald, in its own protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/.

A library for it would wait for journald, or needs a compiler where it is installed. Standard
library only: workers use it too.
"""

import os
import socket
from collections.abc import Mapping

from supervisor.process.output_lines import OutputLine
from supervisor.values.levels import PRIORITIES, Level

SOCKET = "/run/systemd/journal/socket"
_IDENTIFIER = "flask-supervisor"


def is_journal(fd: int) -> bool:
    """Return whether ``fd`` leads to journald: systemd.exec(5), JOURNAL_STREAM."""
    found = os.fstat(fd)
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def entry(text: str, level: Level, fields: Mapping[str, object]) -> bytes:
    """Return an entry with ``text`` as its message; ``fields`` have names in lower case."""
    named = {
        "MESSAGE": text,
        "PRIORITY": PRIORITIES[level],
        "SYSLOG_IDENTIFIER": _IDENTIFIER,
        **{name.upper(): value for name, value in fields.items()},
    }
    return b"".join(_field(name, str(value)) for name, value in named.items())


def output_entry(line: OutputLine, *, app: str, pid: int) -> bytes:
    """Return the entry for a line that a worker of ``app`` printed."""
    return entry(f"{app} | {line.text}", line.level, {"app": app, "worker_pid": pid})


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")
    if b"\n" not in data:
        return b"%s=%s\n" % (name.encode(), data)
    return b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)


class JournalSocket:
    """Sends entries to journald; never waits. Raises OSError where journald's socket is missing."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        os.stat(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def send(self, data: bytes) -> int:
        """Send an entry and return its length.

        Raises BlockingIOError while journald's queue is full, OSError while there is no journald.
        """
        # by its path each time: another journald may listen there after an upgrade
        return self._socket.sendto(data, socket.MSG_DONTWAIT, self._path)
