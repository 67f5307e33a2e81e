"""Settings of this process by prctl(2). Needs the standard library alone."""

import ctypes
import errno
import os
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_NAME_MAX = 15  # bytes

_libc = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """Adopt orphaned descendants, so that this process can reap them."""
    try:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    except OSError as error:
        if error.errno != errno.EINVAL:  # not in a user-mode emulator; then init reaps them
            raise


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that forked it ends; execve(2) keeps it."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def allow_own_proc() -> None:
    """Own /proc/self again after a change of the user; see proc(5) on PR_SET_DUMPABLE."""
    _prctl(_PR_SET_DUMPABLE, 1)


def set_name(name: str) -> None:
    """Set the name that ``ps`` shows; it is cut at 15 bytes."""
    _libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:_NAME_MAX]))


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
