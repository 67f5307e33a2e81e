"""How a worker covers the gap between its main process and the next one.

In the foreground the kernel kills a worker together with its main process (prctl(2),
PR_SET_PDEATHSIG). Under systemd, which keeps the listeners for the next main process, a worker
accepts connections for `LINGER_S` more, so that no client waits for the next main process; then
it drains and exits. A worker that is stopped, or stuck outside of Python code, can't exit by
itself: a kernel timer (timer_create(2)) kills it. A worker without such a timer doesn't linger.

Needs the standard library alone.
"""

import ctypes
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import field

from supervisor.process import child_exit
from supervisor.systemd.hand_over_output import OutputForwarder
from supervisor.values.records import dataclass
from supervisor.values.redaction import Redaction

LINGER_S = 2.0  # the next main process serves by then
IDLE_S = 5.0  # keep-alive clients get this long for one more request
# The supervisor's own workers get no snapshots from a main process that is gone. They must stop
# answering before their last snapshot is stale (status_worker.STALE_S).
OWN_LINGER_S, OWN_IDLE_S = 1.5, 0.3
# A worker whose successor is about to serve accepts no more, and says so by this name. Its idle
# clients get longer: the machine is busy.
SUCCEEDED, SUCCEEDED_IDLE_S = "fs-succeeded", 1.5
_MARGIN_S = 3.0  # from the end of the drain to the exit: threads, exit handlers
_PR_SET_PDEATHSIG = 1  # prctl(2)
_CLOCK_MONOTONIC = 1  # time.h
_SIGEV_SIGNAL = 0  # sigevent(7)
_libc = ctypes.CDLL(None, use_errno=True)


class _SigEvent(ctypes.Structure):
    """Struct sigevent of sigevent(7); the kernel reads 64 bytes."""

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
    """Kills this process by SIGKILL unless `set` is called again in time; raises OSError."""

    def __init__(self) -> None:
        self._id = ctypes.c_void_p()
        event = _SigEvent(signal=signal.SIGKILL, notify=_SIGEV_SIGNAL)
        _check(_libc.timer_create(_CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._id)))

    def set(self, seconds: float) -> None:
        """Kill this process in ``seconds`` from now; replaces the earlier time."""
        spec = _TimerSpec(value=_TimeSpec(int(seconds), int(seconds % 1 * 1e9)))
        _check(_libc.timer_settime(self._id, 0, ctypes.byref(spec), None))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOverLimits:
    """How long a worker may outlive its main process, and where its output goes then.

    The worker accepts connections for ``linger_s`` seconds, then drains within ``drain_s``, and
    keeps idle connections for ``idle_s`` of these. ``stuck_s`` is how long it may send no heartbeat
    while its main process lives. ``log_fd`` is an inherited copy of the main process's log; what
    the worker prints is written there under ``name``, without ``secrets``, and ``as_json`` if the
    configuration wants that.
    """

    drain_s: float
    stuck_s: float
    log_fd: int
    name: str = ""
    as_json: bool = False
    secrets: list[str] = field(default_factory=list, repr=False)
    linger_s: float = LINGER_S
    idle_s: float = IDLE_S

    @property
    def grace_s(self) -> float:
        """The seconds after its main process by which a worker has exited, or is killed."""
        return self.linger_s + self.drain_s + _MARGIN_S


class HandOver:
    """The hand-over of one worker; created in its main thread."""

    def __init__(self, limits: HandOverLimits) -> None:
        """Let this process outlive its main process from now on; raises OSError if it can't."""
        self._limits = limits
        self._timer = KillTimer()
        self._lock = threading.Lock()
        self._in_grace = self._leaving = False
        # Its output is a pipe to the main process. It holds a reading end itself, so that a print
        # raises no BrokenPipeError in the moment before the end of the main process is noticed.
        output = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._output = OutputForwarder(
            output,
            limits.log_fd,
            app=limits.name,
            as_json=limits.as_json,
            hide=Redaction(limits.secrets),
        )
        self.feed_timer()
        _check(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(0), 0, 0, 0))

    @property
    def is_leaving(self) -> bool:
        """Whether the end of the main process has been noticed."""
        return self._leaving

    def feed_timer(self) -> None:
        """Postpone the kill while the main process lives; any thread may call this."""
        with self._lock:
            if not self._in_grace:
                self._timer.set(self._limits.stuck_s + self._limits.grace_s)

    def start_grace(self) -> bool:
        """Start the grace time, once; return whether this call started it. Any thread may call."""
        with self._lock:
            first, self._in_grace = not self._in_grace, True
            if first:
                self._timer.set(self._limits.grace_s)
        return first

    def on_main_process_gone(self, drain: Callable[[float, float], None]) -> None:
        """Accept for `LINGER_S` more, then call ``drain`` with its timeout and idle seconds.

        The server's loop may notice the end of the main process more than once: only the first
        call counts.
        """
        if self._leaving:
            return
        self._leaving = True
        self.start_grace()
        self._output.start()
        child_exit.call_last(self._output.finish)
        drain_limits = (self._limits.drain_s, self._limits.idle_s)
        end = threading.Timer(self._limits.linger_s, drain, drain_limits)
        end.daemon = True
        try:
            end.start()
        except RuntimeError:  # the system has no thread to give
            drain(*drain_limits)


_limits: HandOverLimits | None = None


def allow(limits: HandOverLimits) -> None:
    """Allow this process, a worker that has just been forked, to `begin` a hand-over."""
    global _limits
    _limits = limits


def allowed_limits() -> HandOverLimits | None:
    """Return the limits that `allow` has set, None where it wasn't called."""
    return _limits


def begin() -> HandOver | None:
    """Return this worker's hand-over; None: this worker dies with its main process.

    Called in the main thread, right before the worker serves.
    """
    if _limits is None:
        return None
    try:
        return HandOver(_limits)
    except OSError:
        return None
