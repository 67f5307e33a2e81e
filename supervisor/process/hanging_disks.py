"""Finds out which disks don't answer, as a dead network mount or card: without waiting for them.

A process that waits for such a disk can't be interrupted, often not even killed. So a child looks.
"""

import contextlib
import os
import re
import select
import signal
from collections.abc import Iterable
from pathlib import Path

_IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs", "proc", "sysfs", "cgroup", "cgroup2"}
_ESCAPED = re.compile(r"\\([0-7]{3})")  # a space, tab or backslash: getmntent(3)
_LINKS_MAX = 40  # as the kernel, path_resolution(7)
_FDS_MAX = 65536  # more than any listener that systemd has passed on


def hanging(paths: Iterable[Path], *, timeout_s: float) -> set[Path]:
    """Return those of ``paths`` that can't be looked at within ``timeout_s`` seconds; blocks.

    Mostly all lies on the disk of the system, and nothing has to be done; else one child looks. A
    child that hangs is left to itself. Raises OSError when there is no process left.
    """
    points = _mount_points()
    wanted = [path for path in dict.fromkeys(paths) if _is_elsewhere(str(path.absolute()), points)]
    if not wanted or not _late([wanted], timeout_s):
        return set()
    return {wanted[number] for number in _late([[path] for path in wanted], timeout_s)}


def _mount_points() -> list[str]:
    """Return where disks are mounted that may hang while that of the system answers; proc(5)."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            own, _, rest = line.partition(" - ")
            point = _ESCAPED.sub(lambda one: chr(int(one[1], 8)), own.split(" ")[4])
            if point != "/" and rest.split(" ")[0] not in _IN_MEMORY:
                found.append(point)
    return found


def _is_elsewhere(path: str, points: list[str]) -> bool:
    """Return whether a path leads to one of the mount points; looks at none of them."""
    pending, reached, links = path.split("/")[::-1], "", 0
    while pending:
        name = pending.pop()
        if name in ("", "."):
            continue
        reached = os.path.dirname(reached) if name == ".." else f"{reached.rstrip('/')}/{name}"
        if reached in points:
            return True
        if os.path.islink(reached) and links < _LINKS_MAX:
            links += 1
            target = os.readlink(reached)
            reached = "" if target.startswith("/") else os.path.dirname(reached)
            pending += target.split("/")[::-1]
    return False


def _late(groups: list[list[Path]], timeout_s: float) -> list[int]:
    """Return the numbers of the groups that children couldn't look at within ``timeout_s``."""
    late: list[int] = []
    children = [_fork_to_look_at(paths) for paths in groups]
    for number, pid in enumerate(children):
        pidfd = os.pidfd_open(pid)
        if select.select([pidfd], [], [], timeout_s if not late else 0)[0]:
            os.waitpid(pid, 0)
        else:
            late.append(number)
            os.kill(pid, signal.SIGKILL)
        os.close(pidfd)
    return late


def _fork_to_look_at(paths: list[Path]) -> int:
    """Fork a child that looks at files and folders, whatever that finds; return its pid.

    It runs no code of others, so it needs nothing that `fork.fork_to` does, which takes ten times
    as long. This process has a single thread.
    """
    pid = os.fork()
    if pid == 0:
        try:
            os.closerange(3, _FDS_MAX)
            for path in paths:
                with contextlib.suppress(OSError):
                    os.path.lexists(path / "any")
                    if path.is_file():
                        path.read_bytes()
        finally:
            os._exit(0)
    return pid
