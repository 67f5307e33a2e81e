"""A worker's heartbeats: its server's loop sends one every two seconds, with metrics that are new.

A worker that is stopped, that is busy outside of Python code, or whose loop is stuck sends none.
Needs the standard library and waitress alone.
"""

import contextlib
import os
import resource
import threading
from collections.abc import Callable
from select import poll  # the real one, whatever an app patches
from typing import Protocol

from supervisor.process import heartbeat_page
from supervisor.process.channel import Channel
from supervisor.systemd.hand_over import HandOver
from supervisor.values.errors import ChannelClosed
from supervisor.values.metrics import Metrics

_PAGE = resource.getpagesize()
_MB = 1024 * 1024
_MESSAGE_EVERY_S = 30.0  # the longest time between two messages, also when nothing is new


class Metered(Protocol):
    """What has metrics, by app, at a time in monotonic seconds: a server, for one."""

    def metrics(self, now: float) -> dict[str, Metrics]:
        """Return the metrics as of ``now``."""


class HeartbeatSender:
    """Sends heartbeats of ``server``: to the shared page, and through ``channel`` what is new.

    ``handover``, of a worker that may outlive the main process, has to be kept alive too.
    ``memory_mb`` measures what the worker uses; by default this process alone.
    """

    def __init__(
        self,
        server: Metered,
        channel: Channel,
        handover: HandOver | None,
        memory_mb: Callable[[], float] | None = None,
    ) -> None:
        self._server = server
        self._channel = channel
        self._handover = handover
        self._page = heartbeat_page.own_page()
        self._memory_mb = memory_mb or _Memory().resident_mb
        self._sent: tuple[dict[str, Metrics], float] | None = None  # metrics and memory in MB
        self._message_due_at = 0.0  # monotonic seconds

    def send(self, now: float) -> None:
        """Send a heartbeat, and a message with metrics if they have changed; for the loop."""
        if self._handover is not None:
            self._handover.feed_timer()
        if self._page is not None:
            self._page.worker.write(now)
        current = self._server.metrics(now), round(self._memory_mb(), 1)
        is_known = current == self._sent and now < self._message_due_at
        if is_known and self._page is not None:
            return
        self._sent = None
        metrics, memory_mb = current
        message = {
            "type": "heartbeat",
            "at": now,
            "memory_mb": memory_mb,
            "metrics": {name: one.to_json() for name, one in metrics.items()},
        }
        with contextlib.suppress(ChannelClosed):  # the loop notices that too, and ends this worker
            if self._channel.send_if_read(message):
                self._sent, self._message_due_at = current, now + _MESSAGE_EVERY_S


def notice_main_process_end(channel: Channel, handover: HandOver) -> None:
    """Notify ``handover`` when the main process ends, even if the server's loop is stuck then."""

    def wait() -> None:
        hang_up = poll()
        hang_up.register(channel.fileno(), 0)  # reports the hang-up, and no message
        hang_up.poll()
        handover.start_grace()

    threading.Thread(target=wait, name="orphaned", daemon=True).start()


class _Memory:
    """The memory of this process; its file stays open, because reopening costs more."""

    def __init__(self) -> None:
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    def resident_mb(self) -> float:
        """Return the resident memory in MB: proc_pid_statm(5)."""
        return int(os.pread(self._statm, 200, 0).split()[1]) * _PAGE / _MB


def pin_to_core(number: int) -> None:
    """Pin this process to one of the cores it may use: the ``number``-th, modulo their count."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[number % len(cores)]})
