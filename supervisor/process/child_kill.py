"""Kills a throw-away child with what it started, and waits until they are really gone.

A killed process may still finish the system call that it is in, and its write would land beside
what its parent does next. A pidfd (pidfd_open(2)) becomes readable when its process has ended,
whoever reaps that.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Coroutine, Iterator
from typing import Any

from supervisor.process.descent import descendants
from supervisor.process.fork import kill_group

GONE_S = 10.0  # longer only in uninterruptible sleep, as on a dead network disk


async def kill_and_wait(pid: int) -> bool:
    """Kill the child ``pid`` and its descendants, and wait until they have ended.

    Returns False when one of them has not ended after `GONE_S`. A task that is cancelled meanwhile
    raises `asyncio.CancelledError` afterwards. The caller's loop may reap the child at any time.
    """
    if has_been_reaped(pid):  # no other code runs between this check and the kill
        return True
    pidfds = list(_pidfds([pid, *descendants(pid)]))
    kill_group(pid)
    for pidfd in pidfds:  # those that have left the group, too
        with contextlib.suppress(OSError):  # ended meanwhile, or of another user
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    try:
        return await _uncancelled(_all_readable(pidfds))
    finally:
        for pidfd in pidfds:
            os.close(pidfd)


def has_been_reaped(pid: int) -> bool:
    """Return whether ``pid`` is no child of this process any more."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def _pidfds(pids: list[int]) -> Iterator[int]:
    for pid in pids:
        with contextlib.suppress(OSError):  # ended meanwhile, or too many open files
            yield os.pidfd_open(pid)


async def _all_readable(pidfds: list[int]) -> bool:
    """Wait until all these processes have ended: then their pidfds are readable."""
    deadline = asyncio.get_running_loop().time() + GONE_S
    for pidfd in pidfds:
        if not await _readable(pidfd, deadline):
            return False
    return True


async def _readable(pidfd: int, deadline: float) -> bool:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[bool] = loop.create_future()
    loop.add_reader(pidfd, lambda: None if ended.done() else ended.set_result(True))
    timer = loop.call_at(deadline, lambda: None if ended.done() else ended.set_result(False))
    try:
        return await ended
    finally:
        timer.cancel()
        loop.remove_reader(pidfd)


async def _uncancelled(work: Coroutine[Any, Any, bool]) -> bool:
    """Finish ``work`` even if this task is cancelled; raise `asyncio.CancelledError` afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return task.result()
