"""Process trees by proc(5): members, memory, processor time, and their end."""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterable

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_POLL_S = 0.01


def become_subreaper() -> None:
    """Make orphaned descendants our children, so that none escapes: prctl(2)."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def descendants(root: int) -> list[int]:
    """Return the pids below ``root``, without it, parents before their children.

    Zombies are left out: they have exited, and have no children.
    """
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                state, parent, *_ = _stat(int(name))
                if state != "Z":
                    children.setdefault(int(parent), []).append(int(name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found[1:]


def pss_mib(pids: Iterable[int]) -> float:
    """Return the proportional memory (PSS) of processes in MiB: shared pages count once in all."""
    return sum(map(_pss_kib, pids)) / 1024


def _pss_kib(pid: int) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as stream:
        for line in stream:
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0  # it has ended


def cpu_s(pids: Iterable[int]) -> float:
    """Return the processor time that processes and their ended children have used.

    A process's own time has nanoseconds: clock_getcpuclockid(3) derives its clock from the pid.
    """
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += time.clock_gettime((~pid << 3) | 2)
            fields = _stat(pid)
            total += (int(fields[13]) + int(fields[14])) / _TICKS_PER_S  # cutime, cstime
    return total


def fd_count(pid: int) -> int:
    """Return the number of descriptors that ``pid`` has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def name_of(pid: int) -> str:
    """Return the name of a process."""
    with open(f"/proc/{pid}/comm") as stream:
        return stream.read().strip()


def end_descendants(*, grace_s: float, limit_s: float) -> list[int]:
    """End every descendant of this process, reap all, and return those left: normally none.

    Children get SIGTERM first. After ``grace_s`` the rest is killed, again and
    again, since a process may fork meanwhile. The caller is a subreaper.
    """
    started = time.monotonic()
    for pid in _children():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGCONT)
    while time.monotonic() < started + grace_s + limit_s:
        reap()
        left = descendants(os.getpid())
        if not left:
            return []
        if time.monotonic() >= started + grace_s:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)
    return descendants(os.getpid())


def reap() -> None:
    """Reap every child that has exited."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _children() -> list[int]:
    me = os.getpid()
    found = []
    for pid in descendants(me):
        with contextlib.suppress(OSError):
            if int(_stat(pid)[1]) == me:
                found.append(pid)
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields of ``stat`` from the state on: proc_pid_stat(5), field 3 comes first."""
    with open(f"/proc/{pid}/stat") as stream:
        return stream.read().rpartition(")")[2].split()
