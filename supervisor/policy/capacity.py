"""Whether the limits of the main process suffice for all apps: pure.

What answers in the place of an app that can't be started comes first: the listeners, the stand-in,
the status worker and throw-away children.
"""

from collections.abc import Iterable

from supervisor.config.settings import AppSettings
from supervisor.process.limits import Limits
from supervisor.values.reports import Cause

FILES_RESERVED = 24  # for the stand-in, status, throw-away children, commands
CHILD_FILES = 12  # for one more throw-away child
_FILES_BASE = 64
_FILES_PER_WORKER = 3  # channel, output, and a further listener
TASKS_RESERVED = 24  # status with its threads, the stand-in, throw-away children
_TASKS_PER_WORKER = 2  # beside the threads that answer requests


def files_needed(apps: Iterable[AppSettings]) -> int:
    """Return how many files the main process needs; a candidate needs as many as its app."""
    return _FILES_BASE + sum(1 + 2 * _FILES_PER_WORKER * app.workers for app in apps)


def worker_tasks(apps: Iterable[AppSettings]) -> int:
    """Return how many tasks one worker of ``apps`` takes at its start."""
    return _TASKS_PER_WORKER + sum(app.threads for app in apps)


def tasks_needed(apps: Iterable[AppSettings]) -> int:
    """Return how many tasks all apps take when they have started."""
    return TASKS_RESERVED + sum(worker_tasks([app]) * app.workers for app in apps)


def files_shortage(free: int) -> Cause | None:
    """Return why no worker may be started when ``free`` more files may be opened, or None."""
    if free >= FILES_RESERVED + _FILES_PER_WORKER:
        return None
    return Cause(
        reason="no worker could be started: the limit of open files is reached",
        hint="raise it: LimitNOFILE= in the unit, or ulimit -n",
    )


def tasks_shortage(tasks: int | None, in_use: int, wanted: int) -> Cause | None:
    """Return why no worker with ``wanted`` tasks may be started beside ``in_use``, or None.

    ``tasks`` is what `Limits` said when none of ours was started.
    """
    if tasks is None or in_use + wanted + TASKS_RESERVED <= tasks:
        return None
    return Cause(
        reason="no worker could be started: the limit of processes and threads is reached",
        hint="raise it: TasksMax= in the unit, pids.max, or ulimit -u; or lower `threads`",
    )


def warning(limits: Limits, apps: list[AppSettings]) -> Cause | None:
    """Return which limit is too low for all apps, as it was before any was started, or None."""
    files, tasks = files_needed(apps), tasks_needed(apps)
    if limits.files is not None and limits.files < files:
        return Cause(
            reason=f"{limits.files} open files are allowed, about {files} are needed",
            hint="raise the limit: LimitNOFILE= in the unit, or ulimit -n",
        )
    if limits.tasks is not None and limits.tasks < tasks:
        return Cause(
            reason=f"{limits.tasks} more processes and threads are allowed (the limit is "
            f"{limits.tasks_max}), about {tasks} are needed",
            hint="raise the limit: TasksMax= in the unit, pids.max, or ulimit -u",
        )
    return None
