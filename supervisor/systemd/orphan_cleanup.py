"""Ends orphans: processes that an earlier main process of this unit left.

Workers may outlive their main process for a while (`hand_over`) and exit by themselves; this
module kills those that don't, and what apps have started and left. It touches only processes in
this unit's own cgroup (cgroups(7)), never this process, and none that this process started.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from supervisor.process.descent import mark_of
from supervisor.process.proc_stat import ProcStat, read_stat

_POLL_S = 0.002
_CGROUPS = Path("/sys/fs/cgroup")


def own_cgroup() -> Path | None:
    """Return the cgroup folder of the systemd service that this process is in, else None."""
    with contextlib.suppress(OSError), open("/proc/self/cgroup", encoding="utf-8") as stream:
        for line in stream:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            folder = _CGROUPS / path.lstrip("/")
            if not controllers and path.endswith(".service") and folder.is_dir():
                return folder
    return None


class Orphans:
    """The processes that were in ``cgroup`` before this one forked any; none if it is None."""

    def __init__(self, cgroup: Path | None) -> None:
        self._procs = None if cgroup is None else cgroup / "cgroup.procs"
        self._orphans = {process.pid: process for process in _without_ours(self._others())}
        self._sessions = {process.session for process in self._orphans.values()}

    @property
    def pids(self) -> list[int]:
        """The orphans that were there at the start."""
        return list(self._orphans)

    def drain(self, name: str, timeout_s: float) -> None:
        """Let the orphans of that ``name`` accept no more connections, and wait until they don't.

        They say so by another name (`hand_over.SUCCEEDED`); what they have accepted they still
        answer. Blocks for ``timeout_s`` at most.
        """
        deadline = time.monotonic() + timeout_s
        for orphan in self._orphans.values():
            if orphan.name == name:
                with _held(orphan) as descriptor:
                    if descriptor is not None:
                        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
                        _wait_for_drain(orphan, descriptor, deadline)

    def kill_remaining(self) -> list[int]:
        """Kill the orphans that are still there, and what they started; return their pids."""
        return _kill(
            process
            for process in _without_ours(self._others())
            if self._is_orphan(process)
            or process.session in self._sessions
            or mark_of(process.pid) is not None  # of an earlier run: ours are left out
        )

    def kill_everything(self) -> list[int]:
        """Kill every other process in the cgroup, whoever started it; return their pids."""
        return _kill(self._others())

    def _is_orphan(self, process: ProcStat) -> bool:
        known = self._orphans.get(process.pid)
        return known is not None and known.started == process.started

    def _others(self) -> list[ProcStat]:
        """Return the processes in the cgroup, without this one."""
        if self._procs is None:
            return []
        try:
            pids = [int(line) for line in self._procs.read_text(encoding="ascii").split()]
        except (OSError, ValueError):
            return []
        return [one for one in map(read_stat, pids) if one is not None and one.pid != os.getpid()]


def _wait_for_drain(orphan: ProcStat, descriptor: int, deadline: float) -> None:
    while time.monotonic() < deadline:
        has_exited = bool(select.select([descriptor], [], [], _POLL_S)[0])
        now = read_stat(orphan.pid)
        if has_exited or now is None or now.name != orphan.name:
            return


def _without_ours(processes: list[ProcStat]) -> list[ProcStat]:
    """Return ``processes`` without this one and its descendants."""
    ours = {os.getpid()}
    while more := {one.pid for one in processes if one.parent in ours} - ours:
        ours |= more
    return [one for one in processes if one.pid not in ours]


def _kill(processes: Iterable[ProcStat]) -> list[int]:
    """Send SIGKILL to ``processes``; return the pids of those that were still there."""
    killed = []
    for process in list(processes):
        with _held(process) as descriptor:
            if descriptor is not None:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                killed.append(process.pid)
    return killed


@contextlib.contextmanager
def _held(process: ProcStat) -> Iterator[int | None]:
    """Yield a pidfd of ``process``, never of a later one with its pid (pidfd_open(2)).

    None if it has ended. An OSError in the block means that it has ended just then, or belongs to
    another user, and ends the block.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        yield None
        return
    try:
        now = read_stat(process.pid)
        with contextlib.suppress(OSError):
            yield descriptor if now is not None and now.started == process.started else None
    finally:
        os.close(descriptor)
