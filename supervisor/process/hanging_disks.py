"""Finds out which disks don't answer, as a dead network mount or card: without waiting for them.

A process that waits for such a disk can't be interrupted, often not even killed. So a child looks.
"""

import contextlib
import os
import select
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from supervisor.process.fork import fork_to, kill_group


def hanging(paths: Iterable[Path], *, timeout_s: float) -> set[Path]:
    """Return those of ``paths`` that can't be looked at within ``timeout_s`` seconds; blocks.

    Usually it takes one child, and a millisecond. A child that hangs is left to itself. Raises
    OSError when there is no process left.
    """
    wanted = list(dict.fromkeys(paths))
    if not _late([wanted], timeout_s):
        return set()
    return {wanted[number] for number in _late([[path] for path in wanted], timeout_s)}


def _late(groups: list[list[Path]], timeout_s: float) -> list[int]:
    """Return the numbers of the groups that children couldn't look at within ``timeout_s``."""

    late: list[int] = []
    children = [fork_to(partial(_look_at, paths), "fs-disk", 2, set()) for paths in groups]
    for number, pid in enumerate(children):
        pidfd = os.pidfd_open(pid)
        if select.select([pidfd], [], [], timeout_s if not late else 0)[0]:
            os.waitpid(pid, 0)
        else:
            late.append(number)
            kill_group(pid)
        os.close(pidfd)
    return late


def _look_at(paths: list[Path]) -> int:
    """Look at files and folders, whatever that finds: only that it returns matters."""
    for path in paths:
        with contextlib.suppress(OSError):
            os.path.lexists(path / "any")
            if path.is_file():
                path.read_bytes()
    return 0
