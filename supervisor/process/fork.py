"""Forks children that are safe to run foreign code in.

The main process has one thread and an asyncio loop. A child starts as a copy of it, so
everything that would let one reach into the other is undone first: signal handlers and their
wakeup descriptor, the event loop, the descriptors, the session, the buffered output.
"""

import asyncio
import atexit
import contextlib
import ctypes
import errno
import io
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from typing import NoReturn

from supervisor.process.child_exit import end
from supervisor.values.records import dataclass

_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_NAME_MAX = 15  # prctl(2): a longer name is cut
_FAILED = 70  # sysexits.h EX_SOFTWARE: the child's own code failed, see its output

# A user-mode emulator (qemu) has threads of its own beside the one it emulates.
_EMULATOR_THREADS = len(os.listdir("/proc/self/task")) - threading.active_count()

_libc = ctypes.CDLL(None, use_errno=True)
_inherited: list[object] = []  # objects of the parent that must never be finalised in a child


@dataclass(frozen=True, slots=True)
class Child:
    """A forked child. The owner closes both ends and reaps ``pid``.

    ``channel`` talks to it; ``output`` (a read end, non-blocking) gives what it prints.
    """

    pid: int
    channel: socket.socket
    output: int


def become_subreaper() -> None:
    """Make orphaned descendants our children (prctl(2)), so that they can be reaped."""
    try:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a user-mode emulator has no such thing; init reaps then
            raise


def die_with_parent() -> None:
    """Have this process killed when the one that started it ends (prctl(2)); kept by exec."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def open_standard_streams() -> None:
    """Give 0, 1 and 2 to /dev/null where they are closed, before a socket gets their numbers."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number


def fork_child(
    run: Callable[[socket.socket], int],
    *,
    name: str,
    keep: Iterable[int] = (),
) -> Child:
    """Fork a child that calls ``run`` with its end of the channel and exits with its result.

    The child keeps the descriptors in ``keep`` and closes every other one. It dies with this
    process. Raises OSError when no process or descriptor can be had.
    """
    ours, theirs = socket.socketpair()
    try:
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
    except OSError:
        ours.close()
        theirs.close()
        raise
    parent = os.getpid()
    try:
        pid = safe_fork()
    except OSError:
        os.close(read_end)
        os.close(write_end)
        ours.close()
        theirs.close()
        raise
    if pid == 0:
        become_child(lambda: run(theirs), parent, name, write_end, {theirs.fileno(), *keep})
    os.close(write_end)
    theirs.close()
    ours.setblocking(False)
    os.set_blocking(read_end, False)
    return Child(pid, ours, read_end)


def scrub_environment(names: Iterable[str]) -> None:
    """Take variables out of this process: from `os.environ`, and from ``/proc/PID/environ``.

    A forked child shows the environment its parent was started with, so a secret in it would
    stand in every worker's ``/proc`` entry. Their values there become zero bytes (proc(5):
    env_start and env_end are fields 50 and 51 of ``stat``).
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
    """Send SIGKILL to the process group of a child that has not been reaped yet."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # before its setsid() it is in our own group


def safe_fork() -> int:
    """Fork with every signal blocked; the child unblocks them when it is its own."""
    threads = len(os.listdir("/proc/self/task")) - _EMULATOR_THREADS
    assert threads == 1, f"fork is only safe from a single thread, there are {threads}"
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


def become_child(
    run: Callable[[], int], parent: int, name: str, output: int, keep: set[int]
) -> NoReturn:
    """Undo what was inherited, run, and end; nothing of the parent's stack ever runs again."""
    code = _FAILED
    try:
        try:
            die_with_parent()
            if os.getppid() != parent:  # it died before prctl: nobody would ever end us
                os._exit(_FAILED)
            _forget_parent()
            os.setsid()
            _set_name(name)
            _redirect_output(output)
            _close_others(keep)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            code = run()
        except BaseException:  # noqa: BLE001 - the last boundary of this process: reported
            _report()
        end(code)
    finally:
        os._exit(code)  # even if reporting failed: the parent's code must not go on here


def _report() -> None:
    """Print the exception being handled, or at least that there is one."""
    try:
        traceback.print_exc()
    except BaseException:  # noqa: BLE001 - foreign streams, or an exception that can't be shown
        with contextlib.suppress(OSError):
            os.write(2, b"an error that can't be shown ended this process\n")


def _forget_parent() -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        with contextlib.suppress(OSError, ValueError):  # SIGKILL and SIGSTOP have no handler
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_IGN)  # as Python itself starts
    if sys.version_info < (3, 12):  # from 3.12 on asyncio does this itself after a fork
        asyncio.set_event_loop_policy(None)
    atexit._clear()  # the parent's handlers are the parent's
    if logging := sys.modules.get("logging"):
        atexit.register(logging.shutdown)


def _set_name(name: str) -> None:
    sys.argv = [name]
    _libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:_NAME_MAX]))


def _redirect_output(output: int) -> None:
    """Send output to ``output`` as UTF-8 whatever the locale, and read nothing."""
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


def _close_others(keep: set[int]) -> None:
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
        if fd > 2 and fd not in keep:
            with contextlib.suppress(OSError):  # the one that listed the folder is closed already
                os.close(fd)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
