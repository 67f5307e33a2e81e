"""Ends what apps have started when the main process is killed and no systemd unit holds it all.

Programs in a session of their own survive their worker, and nobody would be left to end them. So a
small shell waits for the end of the main process, and only then runs Python. Started once.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from supervisor.process import descent
from supervisor.process.fork import own_children

_WAIT = 'cd /; read -r _; exec "$@"'
_END = "import sys; sys.path.insert(0, sys.argv[1]); "
_END += "from supervisor.process.descent import end_run; end_run(sys.argv[2])"
_ROOT = str(Path(__file__).parents[2])


class Guardian:
    """The shell; it sees the end of this process by a pipe, which no other process holds."""

    def __init__(self) -> None:
        """Start it; raises OSError."""
        read_end, self._write_end = os.pipe2(os.O_CLOEXEC)
        command = [sys.executable, "-I", "-c", _END, _ROOT, descent.run_id()]
        nowhere = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
        try:
            self._pid = os.posix_spawn(
                "/bin/sh",
                ["fs-guardian", "-c", _WAIT, "fs-guardian", *command],
                {},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, read_end, 0),
                    nowhere,
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
            )
        finally:
            os.close(read_end)
        own_children.add(self._pid)

    def stop(self) -> None:
        """End it: this process has ended what apps have started."""
        if self._pid in own_children:  # else it has been killed, and reaped
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            own_children.discard(self._pid)
        os.close(self._write_end)


def start_guardian(log: Callable[[str], None], *, is_needed: bool) -> Callable[[], None]:
    """Start a guardian if it ``is_needed``, and return what stops it.

    Where it can't be started, say so by ``log``: it must keep no app from its port.
    """
    try:
        return Guardian().stop if is_needed else _nothing
    except OSError as error:
        log(f"programs of apps would outlive a kill -9 of this process: {error.strerror}")
        return _nothing


def _nothing() -> None:
    """Stop nothing."""
