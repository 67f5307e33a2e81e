"""What a process may have: open files, and tasks (processes and threads).

Tasks are limited by the cgroups it is in (``pids.max``, in cgroup v2 and v1) and, but for root, by
the number that its user may have (RLIMIT_NPROC, getrlimit(2)).
"""

import contextlib
import os
import re
import resource
from pathlib import Path

from supervisor.values.records import dataclass

_CGROUPS = (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))

_FILES_ENOUGH = 65536  # for thousands of workers
_soft_files: int | None = None  # the limit with which this process was started


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a process, or what it may raise them to; None: not known, or none.

    ``files`` may be open, ``files_open`` are. ``tasks`` may be started in addition; that comes from
    the limit ``tasks_max``.
    """

    files: int | None
    files_open: int
    tasks: int | None
    tasks_max: int | None


def raise_files_limit() -> None:
    """Let this process open as many files as it may allow itself; its children get the old limit.

    An app that uses select(2), which knows 1024 files, sees the limit that it has by hand.
    """
    global _soft_files
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    _soft_files = soft
    if soft == resource.RLIM_INFINITY:
        return
    most = _FILES_ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _FILES_ENOUGH)
    wanted = max(soft, most)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def restore_files_limit() -> None:
    """Give this process, a child, the limit that its parent was started with."""
    if _soft_files is not None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (_soft_files, hard))


def free_files() -> int:
    """Return how many more files this process may open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    soft = _FILES_ENOUGH if soft == resource.RLIM_INFINITY else soft
    return soft - len(os.listdir("/proc/self/fd"))


def limits_of(pid: int) -> Limits:
    """Return the limits of a process; raises OSError where they are hidden from this user."""
    folder = Path(f"/proc/{pid}")
    text = (folder / "limits").read_text(encoding="utf-8")
    headrooms = [_of_cgroup(folder), _of_user(folder, text)]
    known = [one for one in headrooms if one is not None]
    tasks, tasks_max = min(known) if known else (None, None)
    files = re.search(r"^Max open files +\S+ +(\d+)", text, re.MULTILINE)
    return Limits(
        files=int(files[1]) if files else None,
        files_open=len(os.listdir(folder / "fd")),
        tasks=tasks,
        tasks_max=tasks_max,
    )


def _of_cgroup(folder: Path) -> tuple[int, int] | None:
    """Return how many tasks may be started, and the limit, of the tightest cgroup; or None."""
    found = []
    for line in (folder / "cgroup").read_text(encoding="utf-8").splitlines():
        _number, controllers, path = line.split(":", 2)
        if controllers in ("", "pids"):
            for root in _CGROUPS:
                own = root / path.lstrip("/")
                for group in (own, *own.parents[: len(own.parts) - len(root.parts)]):
                    with contextlib.suppress(OSError, ValueError):  # not there, or "max"
                        most = int((group / "pids.max").read_text())
                        found.append((most - int((group / "pids.current").read_text()), most))
    return min(found, default=None)


def _of_user(folder: Path, limits: str) -> tuple[int, int] | None:
    most = re.search(r"^Max processes +(\d+)", limits, re.MULTILINE)
    uid = folder.stat().st_uid
    if most is None or uid == 0:
        return None
    tasks = 0
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it has ended
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                tasks += len(os.listdir(entry / "task"))
    return int(most[1]) - tasks, int(most[1])
