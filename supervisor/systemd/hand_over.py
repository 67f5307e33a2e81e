"""What a worker does when the main process is gone.

In the foreground it is killed together with the main process (prctl(2), PR_SET_PDEATHSIG). Under
systemd, which keeps the listeners for the next main process, it goes on accepting for a moment,
so that nobody waits for that one, then drains, and ends. A timer of the kernel (timer_create(2))
kills it if it can't, whether it is stopped or stuck outside of Python code: a worker that
lingers has such a timer, or it doesn't linger.

Needs the standard library alone.
"""

import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Callable

from supervisor.values.records import dataclass

LINGER_S = 2.0  # the next main process is serving by then
IDLE_S = 5.0  # keep-alive clients get this long for one more request
# The supervisor's own workers know no news of a main process that is gone, and must not be
# answering any more when what they know is older than status.STALE_S.
OWN_LINGER_S, OWN_IDLE_S = 1.5, 0.3
_MARGIN_S = 3.0  # from the end of the drain to the end of the process: threads, exit handlers
_PR_SET_PDEATHSIG = 1  # prctl(2)
_CLOCK_MONOTONIC = 1  # time.h
_SIGEV_SIGNAL = 0  # sigevent(7)
_PART = 65536
_libc = ctypes.CDLL(None, use_errno=True)


class _SigEvent(ctypes.Structure):
    """Struct sigevent of sigevent(7); the kernel reads 64 bytes of it."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_byte * 64),
    )


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class KillTimer:
    """Kills this process by SIGKILL unless it is set anew in time; raises OSError."""

    def __init__(self) -> None:
        self._id = ctypes.c_void_p()
        event = _SigEvent(signal=signal.SIGKILL, notify=_SIGEV_SIGNAL)
        _check(_libc.timer_create(_CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._id)))

    def set(self, seconds: float) -> None:
        """Kill in ``seconds`` from now, instead of whenever was said before."""
        spec = _TimerSpec(value=_TimeSpec(int(seconds), int(seconds % 1 * 1e9)))
        _check(_libc.timer_settime(self._id, 0, ctypes.byref(spec), None))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOverLimits:
    """How long a worker may outlive its main process, and where its output goes then.

    ``stuck_s`` is how long it may show no sign of life while there still is a main process, which
    otherwise decides about that. It goes on accepting for ``linger_s``, and keeps connections that
    are idle for ``idle_s`` after that. ``log_fd`` is an inherited copy of the main process's log.
    """

    drain_s: float
    stuck_s: float
    log_fd: int
    linger_s: float = LINGER_S
    idle_s: float = IDLE_S

    @property
    def grace_s(self) -> float:
        """The longest that a worker lives after its main process, stuck ones aside."""
        return self.linger_s + self.drain_s + _MARGIN_S


class HandOver:
    """The promise of one worker to cover for the next main process; made in its main thread."""

    def __init__(self, terms: HandOverLimits) -> None:
        """Live on from now on when the main process dies; raises OSError where that can't be."""
        self._terms = terms
        self._timer = KillTimer()
        self._lock = threading.Lock()
        self._orphaned = self._leaving = False
        # Its output is a pipe to the main process. With a reading end of its own, a print in the
        # moment before it knows that nobody reads does no harm.
        self._output = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self.feed_timer()
        _check(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(0), 0, 0, 0))

    def feed_timer(self) -> None:
        """Feed the timer; any thread may, as long as there is a main process."""
        with self._lock:
            if not self._orphaned:
                self._timer.set(self._terms.stuck_s + self._terms.grace_s)

    def start_grace(self) -> bool:
        """Let the grace begin, whoever notices first; gives whether it had not begun before."""
        with self._lock:
            first, self._orphaned = not self._orphaned, True
            if first:
                self._timer.set(self._terms.grace_s)
        return first

    def on_main_process_gone(self, drain: Callable[[float, float], None]) -> None:
        """Go on for a moment, then call ``drain`` with its limits, timeout and idle seconds.

        For the server's loop, where the end may show more than once: only the first call counts.
        """
        if self._leaving:
            return
        self._leaving = True
        self.start_grace()
        self._redirect_output()
        limits = (self._terms.drain_s, self._terms.idle_s)
        end = threading.Timer(self._terms.linger_s, drain, limits)
        end.daemon = True
        try:
            end.start()
        except RuntimeError:  # no thread to be had
            drain(*limits)

    def _redirect_output(self) -> None:
        """Send output to the log of the main process that was, first what it has not read."""
        os.dup2(self._terms.log_fd, 1)
        os.dup2(self._terms.log_fd, 2)
        with contextlib.suppress(OSError):  # nothing is left, or nobody reads the log either
            while part := os.read(self._output, _PART):
                os.write(1, part)
        os.close(self._output)


_terms: HandOverLimits | None = None


def allow(terms: HandOverLimits) -> None:
    """Let this process, a worker that has just been forked, `begin` later."""
    global _terms
    _terms = terms


def allowed_limits() -> HandOverLimits | None:
    """Give the terms that `allow` has set."""
    return _terms


def begin() -> HandOver | None:
    """Make the promise, if it is allowed and possible; None: this worker dies with its main.

    Called in the main thread, when it is about to serve.
    """
    if _terms is None:
        return None
    try:
        return HandOver(_terms)
    except OSError:
        return None
