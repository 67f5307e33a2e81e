"""A worker's beats: every two seconds its server's loop shows that it turns, and tells what is new.

A worker that is stopped, busy outside of Python code, or whose loop is stuck, shows nothing. Needs
the standard library and waitress alone.
"""

import contextlib
import os
import resource
import select
import threading

from supervisor.process import heartbeat_page
from supervisor.process.channel import Channel
from supervisor.server.server import Server
from supervisor.systemd.hand_over import HandOver
from supervisor.values.errors import ChannelClosed
from supervisor.values.metrics import Metrics

_PAGE = resource.getpagesize()
_MB = 1024 * 1024
_TELL_S = 30.0  # at least this often, also when nothing is new


class Beats:
    """Tells of ``server`` through ``channel``; `beat` is for the server's loop.

    ``heir``, if the worker may outlive the main process, is told too that the process lives.
    """

    def __init__(self, server: Server, channel: Channel, heir: HandOver | None) -> None:
        self._server = server
        self._channel = channel
        self._heir = heir
        self._pulses = heartbeat_page.own()
        self._memory = _Memory()
        self._told: tuple[dict[str, Metrics], float] | None = None
        self._tell_at = 0.0  # monotonic seconds

    def beat(self, now: float) -> None:
        """Show that the loop turns, and tell how the server is, if that is news."""
        if self._heir is not None:
            self._heir.feed_timer()
        if self._pulses is not None:
            self._pulses.worker.beat(now)
        metrics, memory_mb = self._server.metrics(now), round(self._memory.resident_mb(), 1)
        is_told = (metrics, memory_mb) == self._told and now < self._tell_at
        if is_told and self._pulses is not None:
            return
        self._told = None
        message = {
            "type": "beat",
            "at": now,
            "memory_mb": memory_mb,
            "metrics": {name: one.to_json() for name, one in metrics.items()},
        }
        with contextlib.suppress(ChannelClosed):  # the loop notices too, and ends this worker
            if self._channel.send_if_read(message):
                self._told, self._tell_at = (metrics, memory_mb), now + _TELL_S


def tell_when_orphaned(channel: Channel, heir: HandOver) -> None:
    """Tell ``heir`` at once when the main process is gone, even if the server's loop is stuck."""

    def wait() -> None:
        poll = select.poll()
        poll.register(channel.fileno(), 0)  # the end alone, no message
        poll.poll()
        heir.start_grace()

    threading.Thread(target=wait, name="orphaned", daemon=True).start()


class _Memory:
    """The memory of this process; its file stays open, which is cheaper."""

    def __init__(self) -> None:
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    def resident_mb(self) -> float:
        """Give what is resident: proc_pid_statm(5)."""
        return int(os.pread(self._statm, 200, 0).split()[1]) * _PAGE / _MB


def pin(number: int) -> None:
    """Keep this process on one of the cores it may use, the next one for the next ``number``."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[number % len(cores)]})
