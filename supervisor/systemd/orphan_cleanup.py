"""What an earlier main process of this unit left running, and how it is ended.

Workers may outlive their main process for a while (`handover`). They end by themselves; this is
for what doesn't, and for what apps have started and left. Only processes in this unit's own
cgroup (cgroups(7)) are ever touched, never this process, and none that it started.
"""

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

from supervisor.values.records import dataclass

_CGROUPS = Path("/sys/fs/cgroup")
_PARENT, _SESSION, _STARTED = 1, 3, 19  # proc_pid_stat(5), after the name


@dataclass(frozen=True, slots=True)
class Process:
    """A process as it was seen; ``started`` (clock ticks) tells it from a later one."""

    pid: int
    parent: int
    session: int
    started: int


def own_cgroup() -> Path | None:
    """Give the cgroup folder of the systemd service that this process is in, else None."""
    with contextlib.suppress(OSError), open("/proc/self/cgroup", encoding="utf-8") as stream:
        for line in stream:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            folder = _CGROUPS / path.lstrip("/")
            if not controllers and path.endswith(".service") and folder.is_dir():
                return folder
    return None


class Orphans:
    """The processes that were in ``cgroup`` before this one forked any; None: nothing is done."""

    def __init__(self, cgroup: Path | None) -> None:
        self._procs = None if cgroup is None else cgroup / "cgroup.procs"
        self._left = {process.pid: process for process in _not_ours(self._seen())}
        self._sessions = {process.session for process in self._left.values()}

    @property
    def pids(self) -> list[int]:
        """Those that were there at the start."""
        return list(self._left)

    def kill_remaining(self) -> list[int]:
        """Kill what is still there of the predecessor; gives the pids."""
        return _kill(
            process
            for process in _not_ours(self._seen())
            if self._is_left(process) or process.session in self._sessions
        )

    def kill_everything(self) -> list[int]:
        """Kill everything else in the cgroup, whoever started it; gives the pids."""
        return _kill(self._seen())

    def _is_left(self, process: Process) -> bool:
        known = self._left.get(process.pid)
        return known is not None and known.started == process.started

    def _seen(self) -> list[Process]:
        """Give the processes in the cgroup that are not this one."""
        if self._procs is None:
            return []
        try:
            pids = [int(line) for line in self._procs.read_text(encoding="ascii").split()]
        except (OSError, ValueError):
            return []
        return [one for one in map(_look_at, pids) if one is not None and one.pid != os.getpid()]


def _not_ours(processes: list[Process]) -> list[Process]:
    """Leave out what this process started, and what that started."""
    ours = {os.getpid()}
    while more := {one.pid for one in processes if one.parent in ours} - ours:
        ours |= more
    return [one for one in processes if one.pid not in ours]


def _look_at(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            fields = stream.read().rpartition(b")")[2].split()
    except OSError:
        return None  # it has ended
    parent, session, started = (int(fields[n]) for n in (_PARENT, _SESSION, _STARTED))
    return Process(pid, parent, session, started)


def _kill(processes: Iterable[Process]) -> list[int]:
    """Send SIGKILL to each of them, and to nobody who got its pid since (pidfd_open(2))."""
    killed = []
    for process in list(processes):
        try:
            descriptor = os.pidfd_open(process.pid)
        except OSError:
            continue  # it has ended
        try:
            now = _look_at(process.pid)
            if now is not None and now.started == process.started:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                killed.append(process.pid)
        except OSError:
            continue  # it has ended, or belongs to another user
        finally:
            os.close(descriptor)
    return killed
