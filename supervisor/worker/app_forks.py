"""Makes the processes that an app forks what they would be without a supervisor.

`multiprocessing` (with its start method ``fork``) and `os.fork` copy the whole worker: listeners,
which keep the port in use; connections of clients, which stay open; the channel; and the handler
of SIGTERM, which keeps `Process.terminate` from ending the copy. A copy also has to end when its
worker is killed.
"""

import contextlib
import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterable
from select import poll  # the real one, whatever an app patches

from supervisor.process.prctl import die_with_parent
from supervisor.worker import app_signals


class _Lifeline:
    """A pipe that ends when the worker ends: the kernel then kills the processes that hold it.

    PR_SET_PDEATHSIG would kill them when the *thread* that forked them ends, and a thread pool that
    shrinks, or an import in a thread, ends threads. So each process opens the read end anew, as a
    file description of its own, and asks for SIGKILL when it becomes readable (F_SETSIG, O_ASYNC).
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC)

    def hold(self, *, forked_by_main_thread: bool) -> None:
        """Have this process, which has just been forked, killed when the worker ends."""
        inherited = self._read
        try:
            self._read = _killing_end(inherited)
        except OSError:  # too many open files, or an emulated kernel
            if forked_by_main_thread:  # which ends with the worker
                die_with_parent()
        else:
            os.close(inherited)
        if self._write >= 0:
            os.close(self._write)
            self._write = -1
        hang_up = poll()
        hang_up.register(self._read, 0)
        if hang_up.poll(0):  # the worker ended before this process asked for the signal
            os.kill(os.getpid(), signal.SIGKILL)


def _killing_end(read_end: int) -> int:
    """Open the pipe ``read_end`` anew; its hang-up kills this process. Raises OSError."""
    fd = os.open(f"/proc/self/fd/{read_end}", os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    except OSError:
        os.close(fd)
        raise
    return fd


def separate_forks(descriptors: Callable[[], Iterable[int]]) -> None:
    """Separate each process that is forked from now on from this worker.

    ``descriptors`` returns what they must not keep: listeners, connections, the channel.
    """
    lifeline = _Lifeline()
    worker = os.getpid()
    forking = threading.local()  # of the thread that forks: its signal mask, and which it is

    def before() -> None:
        forking.by_main = threading.current_thread() is threading.main_thread()
        forking.mask = app_signals.block()

    def in_child() -> None:
        app_signals.restore()
        _release(descriptors())
        lifeline.hold(forked_by_main_thread=forking.by_main and os.getppid() == worker)
        signal.pthread_sigmask(signal.SIG_SETMASK, forking.mask)

    def in_parent() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, forking.mask)

    os.register_at_fork(before=before, after_in_child=in_child, after_in_parent=in_parent)


def _release(descriptors: Iterable[int]) -> None:
    """Close descriptors; /dev/null takes their numbers, because objects still refer to them."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in descriptors:
        with contextlib.suppress(OSError):  # a thread of the worker has just closed it
            os.fstat(fd)
            os.dup2(null, fd, inheritable=False)
    os.close(null)
