"""Runs a function in a throw-away child: whatever may block, or runs an app's code."""

import asyncio
import contextlib
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

_PART = 65536
_PARTS_AT_END = 16


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
        part = os.read(pipe, _PART)
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

    The child is like that of `run_in_child`, but `result` gives what it prints to ``on_output``,
    if that is given. Raises OSError when there is no process or descriptor left.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        on_output: Callable[[bytes], None] | None = None,
    ) -> None:
        self._on_output = on_output
        self._output: int | None = None
        if on_output is None:
            self._pid, self._pipe = _fork_task(function, arguments, output=2)
            return
        self._output, write_end = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._output, False)
        try:
            self._pid, self._pipe = _fork_task(function, arguments, output=write_end)
        except BaseException:
            self._close_output()
            raise
        finally:
            os.close(write_end)

    def result(self, *, timeout_s: float) -> Any:
        """Return the result and reap the child; to be called once.

        Raises `TaskFailed`, with how the child ended, when there is no result.
        """
        deadline = time.monotonic() + timeout_s
        try:
            received = self._read_line(deadline)
            if received is None:
                raise TaskFailed(f"no result within {timeout_s:g} s")
            # with a result, exit handlers get their time; without one, its exit code is due
            self._wait_for_end(time.monotonic() + CLEANUP_S if received else deadline)
        finally:
            os.close(self._pipe)
            for pid in descendants(self._pid):
                send(pid, signal.SIGKILL)
            kill_group(self._pid)
            _, status = os.waitpid(self._pid, 0)
            own_children.discard(self._pid)
            self._close_output()
        if not received:
            raise TaskFailed(str(Exit.from_exitcode(os.waitstatus_to_exitcode(status))))
        return _result(received)

    def _read_line(self, deadline: float) -> bytes | None:
        """Read to the end of the line or file; None when that takes until ``deadline``."""
        received = bytearray()
        while not received.endswith(b"\n"):
            if not self._wait_for(self._pipe, deadline):
                return None
            part = os.read(self._pipe, _PART)
            if not part:
                break
            received += part
        return bytes(received)

    def _wait_for_end(self, deadline: float) -> None:
        pidfd = os.pidfd_open(self._pid)
        try:
            self._wait_for(pidfd, deadline)
        finally:
            os.close(pidfd)

    def _wait_for(self, fd: int, deadline: float) -> bool:
        """Wait until ``fd`` is readable, and pass output on meanwhile; False at ``deadline``."""
        while (left_s := deadline - time.monotonic()) > 0:
            watched = [fd] if self._output is None else [fd, self._output]
            readable = select.select(watched, [], [], left_s)[0]
            if self._output in readable and not self._pass_output_on():
                self._close_output()
            if fd in readable:
                return True
        return False

    def _pass_output_on(self) -> bool:
        """Pass on a part of the output; return whether there was one."""
        part = b""
        if self._output is not None and self._on_output is not None:
            with contextlib.suppress(BlockingIOError):
                part = os.read(self._output, _PART)
                self._on_output(part)
        return bool(part)

    def _close_output(self) -> None:
        """Pass on what is left, but for what a process that it left behind prints for ever."""
        if self._output is not None:
            for _ in range(_PARTS_AT_END):
                if not self._pass_output_on():
                    break
            os.close(self._output)
            self._output = None


def call_in_child(
    function: Callable[..., Any],
    *arguments: Any,
    timeout_s: float,
    on_output: Callable[[bytes], None] | None = None,
) -> Any:
    """Run ``function`` in a throw-away child and block until it has ended; see `ChildTask`."""
    return ChildTask(function, *arguments, on_output=on_output).result(timeout_s=timeout_s)


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
