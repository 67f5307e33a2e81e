"""Ends what workers leave behind when they end: the main process, a subreaper, adopts it."""

import os
import signal

from supervisor.process import descent
from supervisor.process.fork import own_children
from supervisor.process.proc_stat import read_stat


class LeftBehind:
    """The children of this process that it has not forked: an app started them.

    Those that a worker leaves at its end are killed at once: the worker has asked them to end, or
    it was killed itself. A daemon was adopted earlier: it gets SIGTERM first. What a killed process
    leaves in turn is adopted then.
    """

    def __init__(self) -> None:
        self._daemons: set[int] = set()  # adopted while their worker lived
        self._ending: set[int] = set()

    @property
    def is_ending(self) -> bool:
        """Whether some have been asked to end and have not ended."""
        return bool(self._ending)

    def look(self) -> None:
        """Note the daemons; to be called while all workers that have ended are reaped."""
        self._daemons = _adopted() - self._ending

    def on_exit(self, ended: int) -> bool:
        """End what the child ``ended``, just reaped, leaves; return whether to `kill` it later."""
        if ended not in own_children and ended not in self._ending:
            return False  # a daemon; what it leaves is still its worker's
        own_children.discard(ended)
        adopted = _adopted()
        self._ending &= adopted
        is_asked = False
        for pid in adopted - self._ending:
            if self._is_left(pid, ended):
                is_daemon = pid in self._daemons
                is_asked |= is_daemon
                descent.send(pid, signal.SIGTERM if is_daemon else signal.SIGKILL)
                self._ending.add(pid)
        return is_asked

    def _is_left(self, pid: int, ended: int) -> bool:
        mark = descent.mark_of(pid)
        if mark is not None and mark[0] == descent.run_id():
            return mark[1] not in own_children
        # the app has cleared the environment, or a forked process runs on without a program
        stat = read_stat(pid)
        return pid not in self._daemons or (stat is not None and stat.session == ended)

    def kill(self) -> None:
        """Kill those that were asked to end and have not ended."""
        for pid in self._ending & _adopted():
            descent.send(pid, signal.SIGKILL)

    def kill_all(self) -> None:
        """Kill every adopted process, daemons of workers that live included."""
        self._ending |= _adopted()
        self.kill()


def _adopted() -> set[int]:
    return {pid for pid in descent.children_of(os.getpid()) if pid not in own_children}
