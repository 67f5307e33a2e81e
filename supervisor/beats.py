"""A worker's beats: every two seconds it says how it is, from a thread of its own.

A worker that is stopped, or busy outside of Python code, says nothing; one whose server loop
doesn't turn says so. Needs the standard library and waitress alone.
"""

import os
import resource
import threading
import time

from supervisor.channel import Channel
from supervisor.errors import ChannelClosed
from supervisor.handover import Handover
from supervisor.model import BEAT_S
from supervisor.serving import Server

_PAGE = resource.getpagesize()
_MB = 1024 * 1024


class Beats(threading.Thread):
    """Tells of ``server`` through ``channel`` until the process ends.

    ``heir``, if the worker may outlive the main process, is told too that the process lives.
    """

    def __init__(self, server: Server, channel: Channel, heir: Handover | None) -> None:
        super().__init__(name="beats", daemon=True)
        self._server = server
        self._channel = channel
        self._heir = heir

    def run(self) -> None:
        """Beat for ever, first at once."""
        while self.beat():
            if self._heir is not None:
                self._heir.alive()
            self._server.wake()  # so that an idle loop has turned before the next beat
            time.sleep(BEAT_S)
        if self._heir is not None:
            self._heir.orphaned()  # even if the loop is stuck

    def beat(self) -> bool:
        """Say now how the server is; gives whether anybody can hear it.

        Callable from any thread: at the end once more, so that no request goes uncounted.
        """
        try:
            self._channel.send_if_read(self._message(time.monotonic()))
        except ChannelClosed:
            return False  # the loop notices too, and ends this worker
        return True

    def _message(self, now: float) -> dict[str, object]:
        figures = self._server.figures(now)
        return {
            "type": "beat",
            "loop_age_s": round(self._server.loop_age_s(now), 3),
            "memory_mb": round(resident_mb(), 1),
            "figures": {name: one.to_json() for name, one in figures.items()},
        }


def resident_mb() -> float:
    """Give the resident memory of this process: proc_pid_statm(5)."""
    with open("/proc/self/statm", "rb") as stream:
        return int(stream.read(200).split()[1]) * _PAGE / _MB


def pin(number: int) -> None:
    """Keep this process on one of the cores it may use, the next one for the next ``number``."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[number % len(cores)]})
