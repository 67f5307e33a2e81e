"""Who started which process: by ancestry, and by a mark in the environment.

A process that an app starts may leave its session, and lose its parent. While its worker lives,
ancestry finds it. Afterwards the mark does, which every program inherits from the worker. Needs the
standard library alone.
"""

import contextlib
import os
import signal
from time import monotonic, sleep  # the real ones, whatever an app patches

from supervisor.process.proc_stat import read_stat

MARK = "FLASK_SUPERVISOR_STARTED_BY"  # its value: the run, a dot, the pid of the worker
TERM_S = 1.0  # from SIGTERM to SIGKILL
_POLL_S = 0.01

# proc_tid_children(5): only of a kernel with CONFIG_PROC_CHILDREN
_HAS_CHILDREN_FILES = os.path.exists(f"/proc/self/task/{os.getpid()}/children")

_run: str | None = None  # inherited by children, which belong to the same run


def run_id() -> str:
    """Return what tells the processes of this main process from those of all others."""
    global _run
    if _run is None:
        own = read_stat(os.getpid())
        _run = f"{os.getpid()}-{own.started if own else 0}"
    return _run


def set_mark() -> None:
    """Mark what this process will start; `run_id` was called before the fork."""
    os.environ[MARK] = f"{run_id()}.{os.getpid()}"


def mark_of(pid: int) -> tuple[str, int] | None:
    """Return the run and the pid of the worker that ``pid`` comes from; None without a mark.

    A process that was forked and executed no program has no mark of its own: proc_pid_environ(5).
    """
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            variables = stream.read().split(b"\0")
    except OSError:  # it has ended, or belongs to another user
        return None
    start = MARK.encode() + b"="
    value = next((v[len(start) :] for v in variables if v.startswith(start)), b"")
    run, _, worker = value.decode("ascii", "replace").rpartition(".")
    return (run, int(worker)) if run and worker.isdecimal() else None


def children_of(pid: int) -> list[int]:
    """Return the children of ``pid``, zombies included; none if it has ended."""
    if not _HAS_CHILDREN_FILES:
        return [one for one in _all_pids() if (stat := read_stat(one)) and stat.parent == pid]
    found: list[int] = []
    with contextlib.suppress(OSError):  # it has ended
        for thread in os.listdir(f"/proc/{pid}/task"):
            path = f"/proc/{pid}/task/{thread}/children"
            with contextlib.suppress(OSError), open(path, encoding="ascii") as stream:
                found += map(int, stream.read().split())
    return found


def descendants(pid: int) -> list[int]:
    """Return the processes below ``pid``, parents before their children.

    Those whose parent has ended are not found.
    """
    found = children_of(pid)
    for one in found:  # it grows meanwhile
        found += children_of(one)
    return found


def end_own_descendants() -> None:
    """End the processes that this one has started: SIGTERM, then SIGKILL after `TERM_S`; blocks.

    One that ignores SIGTERM gets no time, and is left to whoever reaps this process: the resource
    tracker of `multiprocessing` lives as long as this process.
    """
    asked: set[int] = set()
    until = monotonic() + TERM_S
    while left := [pid for pid in descendants(os.getpid()) if _ends_by_sigterm(pid)]:
        is_late = monotonic() >= until
        for pid in left:
            if is_late or pid not in asked:
                send(pid, signal.SIGKILL if is_late else signal.SIGTERM)
        if is_late:
            return
        asked.update(left)
        sleep(_POLL_S)


def _ends_by_sigterm(pid: int) -> bool:
    stat = read_stat(pid)
    return stat is not None and not (stat.is_zombie or stat.ignores_sigterm)


def end_run(run: str) -> None:
    """End what carries a mark of ``run``, and what is below: SIGTERM, then SIGKILL; blocks."""
    asked: set[int] = set()
    kill_at = monotonic() + TERM_S
    while left := _of_run(run):
        now = monotonic()
        for pid in left:
            if now >= kill_at:
                send(pid, signal.SIGKILL)
            elif pid not in asked:
                send(pid, signal.SIGTERM)
        asked.update(left)
        if now >= kill_at + TERM_S:  # in uninterruptible sleep, as on a dead network disk
            return
        sleep(_POLL_S)


def _of_run(run: str) -> list[int]:
    marked = [pid for pid in _all_pids() if (mark := mark_of(pid)) and mark[0] == run]
    below = {one for pid in marked for one in descendants(pid)}
    return [pid for pid in {*marked, *below} if pid != os.getpid()]


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended, or belong to another user."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
