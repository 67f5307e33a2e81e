"""Forks children that can safely run an app's code.

The main process has one thread and an asyncio loop, and a child starts as a copy of it. So the
child first undoes whatever would let one of them affect the other: signal handlers and their
wakeup descriptor, the event loop, descriptors, the session and buffered output.
"""

import asyncio
import atexit
import contextlib
import ctypes
import io
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from typing import NoReturn

from supervisor.process import descent
from supervisor.process.child_exit import exit_process
from supervisor.process.limits import restore_files_limit
from supervisor.process.prctl import die_with_parent, set_name
from supervisor.values.records import dataclass

Run = Callable[[socket.socket], int]
"""What a worker runs: takes its channel, returns its exit code."""

_FAILED = 70  # sysexits.h EX_SOFTWARE: the function raised, its traceback is in the output

# A user-mode emulator (qemu) has threads of its own beside the one it emulates.
_EMULATOR_THREADS = len(os.listdir("/proc/self/task")) - threading.active_count()

own_children: set[int] = set()
"""The pids of forked children that have not been reaped; who reaps one removes it."""

_inherited: list[object] = []  # the parent's objects, which a child must never finalise


class UnsafeForkError(RuntimeError):
    """A fork beside other threads was refused: their locks would stay taken in the child."""


@dataclass(frozen=True, slots=True)
class Child:
    """A forked child. The owner closes both descriptors and reaps ``pid``.

    ``channel`` is our end of the channel, ``output`` the read end of the pipe that the child prints
    to; both are non-blocking.
    """

    pid: int
    channel: socket.socket
    output: int


def open_standard_streams() -> None:
    """Open /dev/null at 0, 1 and 2 where they are closed, before a socket gets their numbers."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # returns the lowest free number


def fork_child(
    run: Run,
    *,
    name: str,
    keep: Iterable[int] = (),
) -> Child:
    """Fork a child that calls ``run`` with its end of the channel and exits with what that returns.

    The child keeps the descriptors in ``keep`` and closes all others. The kernel kills it when this
    process ends. Raises OSError when there is no process or descriptor left, `UnsafeForkError`
    beside other threads.
    """
    ours, theirs = socket.socketpair()
    try:
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
    except OSError:
        ours.close()
        theirs.close()
        raise
    try:
        pid = fork_to(lambda: run(theirs), name, write_end, {theirs.fileno(), *keep})
    except (OSError, UnsafeForkError):
        os.close(read_end)
        os.close(write_end)
        ours.close()
        theirs.close()
        raise
    os.close(write_end)
    theirs.close()
    ours.setblocking(False)
    os.set_blocking(read_end, False)
    return Child(pid, ours, read_end)


def fork_to(run: Callable[[], int], name: str, output: int, keep: set[int]) -> int:
    """Fork a child that calls ``run`` and exits with what that returns; return its pid.

    The child prints to ``output``, and closes all descriptors but those in ``keep``. Raises as
    `fork_child`.
    """
    parent = os.getpid()
    descent.run_id()
    pid = _safe_fork()
    if pid == 0:
        _become_child(run, parent, name, output, keep)
    own_children.add(pid)
    return pid


def scrub_environment(names: Iterable[str]) -> None:
    """Remove variables from this process: from `os.environ` and from ``/proc/PID/environ``.

    A forked child shows the environment that its parent was started with, so every worker's
    ``/proc`` entry would show a secret in it. The values there are overwritten with zero bytes
    (proc_pid_stat(5): env_start and env_end are fields 50 and 51).
    """
    wanted = {name.encode() for name in names}
    for name in wanted:
        os.environb.pop(name, None)
    if not wanted:
        return
    with open("/proc/self/stat", "rb") as stream:
        fields = stream.read().rpartition(b")")[2].split()
    start, end = int(fields[47]), int(fields[48])
    offset = 0
    for entry in ctypes.string_at(start, end - start).split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if name in wanted:
            ctypes.memset(start + offset + len(name) + len(equals), 0, len(value))
        offset += len(entry) + 1


def kill_group(pid: int) -> None:
    """Send SIGKILL to the process group of a child that has not been reaped."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # it leads no group before its setsid()


def _safe_fork() -> int:
    """Fork with all signals blocked, and return the pid; `_become_child` unblocks them.

    Raises OSError, or `UnsafeForkError` when this process has other threads.
    """
    threads = os.listdir("/proc/self/task")
    if len(threads) - _EMULATOR_THREADS != 1:
        raise UnsafeForkError(
            f"cannot fork: this process has {len(threads)} threads ({_names_of(threads)}); "
            "only a process with a single thread may fork workers"
        )
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed at the start
            stream.flush()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise
    if pid != 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def _become_child(
    run: Callable[[], int], parent: int, name: str, output: int, keep: set[int]
) -> NoReturn:
    """Undo what was inherited, call ``run`` and exit; never return into the parent's stack."""
    code = _FAILED
    try:
        try:
            die_with_parent()
            if os.getppid() != parent:  # it died before prctl, so no signal will come
                os._exit(_FAILED)
            _forget_parent()
            descent.set_mark()
            os.setsid()
            sys.argv = [name]
            set_name(name)
            _redirect_output(output)
            close_others(keep)
            restore_files_limit()
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            code = run()
        except BaseException:  # noqa: BLE001 - the last boundary of this process: reported
            _report()
        exit_process(code)
    finally:
        os._exit(code)  # even if reporting failed: the parent's code must not run here


def _names_of(threads: list[str]) -> str:
    """Return the names of threads, by thread id; those that Python didn't start are numbered."""
    known = {thread.native_id: thread.name for thread in threading.enumerate()}
    return ", ".join(known.get(int(one), f"thread {one} of a library") for one in sorted(threads))


def _report() -> None:
    """Print the exception being handled, or at least that there was one."""
    try:
        traceback.print_exc()
    except BaseException:  # noqa: BLE001 - the app's streams, or an exception that can't be printed
        with contextlib.suppress(OSError):
            os.write(2, b"an error that cannot be printed ended this process\n")


def _forget_parent() -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        with contextlib.suppress(OSError, ValueError):  # SIGKILL and SIGSTOP have no handler
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_IGN)  # as Python sets them when it starts
    if sys.version_info < (3, 12):  # since 3.12 asyncio does this after a fork
        asyncio.set_event_loop_policy(None)
    own_children.clear()
    atexit._clear()  # the parent's handlers are the parent's
    if logging := sys.modules.get("logging"):
        atexit.register(logging.shutdown)


def _redirect_output(output: int) -> None:
    """Write output to ``output`` as UTF-8 whatever the locale; standard input is /dev/null."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(output, 2)
    os.dup2(2, 1)
    _inherited.extend((sys.stdin, sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__))
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), "utf-8")
    sys.stdout, sys.stderr = _text_output(1), _text_output(2)
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, f"__{name}__", getattr(sys, name))
    os.environ["PYTHONIOENCODING"] = "utf-8:backslashreplace"  # for children of the app


def _text_output(fd: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(fd, "w", closefd=False)),
        "utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )


def close_others(keep: set[int]) -> None:
    """Close all descriptors but 0, 1, 2 and those in ``keep``."""
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
        if fd > 2 and fd not in keep:
            with contextlib.suppress(OSError):  # that of listdir is closed already
                os.close(fd)
