"""Runs a function in a throw-away child: whatever may block, or runs an app's code."""

import asyncio
import json
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any

from supervisor.process.child_exit import CLEANUP_S
from supervisor.process.child_kill import GONE_S, kill_and_wait
from supervisor.process.descent import descendants, send
from supervisor.process.fork import UnsafeForkError, fork_to, kill_group, own_children
from supervisor.values.reports import Exit


class TaskFailed(Exception):
    """A function that ran in a throw-away child returned no result."""


async def run_in_child(
    function: Callable[..., Any], *arguments: Any, timeout_s: float, quiet: bool = False
) -> Any:
    """Run ``function`` in a throw-away child and return its result, which has to be JSON.

    When this returns or raises, the child and the processes that it started have ended, so what
    follows doesn't run beside them. Its output goes to standard error, or nowhere if ``quiet``. The
    owner of the loop reaps the child.

    Raises `TaskFailed` when there is no result within ``timeout_s`` seconds, OSError when there is
    no process or descriptor left.
    """
    with open(os.devnull, "wb") as nowhere:
        output = nowhere.fileno() if quiet else 2
        pid, pipe = _fork_task(function, arguments, output=output)
    received: bytes | None = None
    is_gone = False
    try:
        received = await _line_from(pipe, timeout_s)
    finally:
        is_gone = await kill_and_wait(pid)
    if received is not None:
        return _result(received)
    ended = "" if is_gone else f", and process {pid} has not ended {GONE_S:g} s after SIGKILL"
    raise TaskFailed(f"no result within {timeout_s:g} s{ended}")


async def _line_from(pipe: int, timeout_s: float) -> bytes | None:
    """Read to the end of the line or file and close ``pipe``; None when that takes too long."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()
    received = bytearray()

    def read() -> None:
        part = os.read(pipe, 65536)
        received.extend(part)
        if (not part or part.endswith(b"\n")) and not done.done():
            done.set_result(bytes(received))

    loop.add_reader(pipe, read)
    try:
        return await asyncio.wait_for(done, timeout_s)
    except TimeoutError:
        return None
    finally:
        loop.remove_reader(pipe)
        os.close(pipe)


class ChildTask:
    """A function that runs in a throw-away child from now on, for a process without a loop.

    The child is like that of `run_in_child`. Raises OSError when there is no process or descriptor
    left.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._pid, self._pipe = _fork_task(function, arguments, output=2)

    def result(self, *, timeout_s: float) -> Any:
        """Return the result and reap the child; to be called once.

        Raises `TaskFailed`, with how the child ended, when there is no result.
        """
        deadline = time.monotonic() + timeout_s
        try:
            received = _read_line(self._pipe, deadline)
            if received is None:
                raise TaskFailed(f"no result within {timeout_s:g} s")
            # with a result, exit handlers get their time; without one, its exit code is due
            _wait_for_end(self._pid, time.monotonic() + CLEANUP_S if received else deadline)
        finally:
            os.close(self._pipe)
            for pid in descendants(self._pid):
                send(pid, signal.SIGKILL)
            kill_group(self._pid)
            _, status = os.waitpid(self._pid, 0)
            own_children.discard(self._pid)
        if not received:
            raise TaskFailed(str(Exit.from_exitcode(os.waitstatus_to_exitcode(status))))
        return _result(received)


def call_in_child(function: Callable[..., Any], *arguments: Any, timeout_s: float) -> Any:
    """Run ``function`` in a throw-away child and block until it has ended; see `ChildTask`."""
    return ChildTask(function, *arguments).result(timeout_s=timeout_s)


def _read_line(pipe: int, deadline: float) -> bytes | None:
    """Read to the end of the line or file; None when that takes until ``deadline``."""
    received = bytearray()
    while not received.endswith(b"\n"):
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([pipe], [], [], left_s)[0]:
            return None
        part = os.read(pipe, 65536)
        if not part:
            break
        received += part
    return bytes(received)


def _wait_for_end(pid: int, deadline: float) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        select.select([pidfd], [], [], max(0.0, deadline - time.monotonic()))
    finally:
        os.close(pidfd)


def _result(answer: bytes) -> Any:
    try:
        return json.loads(answer)
    except ValueError as error:
        raise TaskFailed("the child ended in the middle of its result") from error


def _fork_task(
    function: Callable[..., Any], arguments: tuple[Any, ...], *, output: int
) -> tuple[int, int]:
    """Fork the child of `run_in_child`; return its pid and the read end of its result pipe."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)

    def run() -> int:
        result = json.dumps(function(*arguments)).encode() + b"\n"
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(result)
        return 0

    try:
        pid = fork_to(run, "fs-task", output, {write_end})
    except (OSError, UnsafeForkError):
        os.close(read_end)
        os.close(write_end)
        raise
    os.close(write_end)
    os.set_blocking(read_end, False)
    return pid, read_end
