"""Runs commands on a terminal of a test's own."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

from harness import Project


def shown_on_terminal(
    project: Project, *words: str, columns: int | None = None, **variables: str
) -> str:
    """Run a command on a terminal, standard error included, and return what it shows."""
    ours, theirs = pty.openpty()
    environment = project.environment(**{"TERM": "xterm", **variables})
    if columns is not None:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environment.pop("COLUMNS", None)  # it would override the terminal's width
    process = subprocess.Popen(
        [sys.executable, "-m", "supervisor", *words, "--config", str(project.config)],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    )
    os.close(theirs)
    received = bytearray()
    try:
        while part := os.read(ours, 65536):
            received += part
    except OSError:  # EIO: the other end is closed
        pass
    finally:
        os.close(ours)
        process.wait(30)
    return received.decode()
