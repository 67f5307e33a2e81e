"""Signs of life that wake nobody up: times, in a page that a worker shares with its main process.

A message would cost both a wake-up, which is most of what an idle machine does. Needs the
standard library alone.
"""

import mmap
import struct

_TIME = struct.Struct("d")  # aligned, so that it is written and read in one piece


class Pulse:
    """When a process was well last; one process beats, another one looks."""

    def __init__(self, memory: mmap.mmap, offset: int) -> None:
        self._memory = memory
        self._offset = offset

    def beat(self, now: float) -> None:
        """Be well, at ``now``, in monotonic seconds: the same clock in all processes."""
        _TIME.pack_into(self._memory, self._offset, now)

    @property
    def at(self) -> float:
        """The monotonic time of the last beat, 0 before the first."""
        at: float = _TIME.unpack_from(self._memory, self._offset)[0]
        return at


class Pulses:
    """The pulses of one worker and of its main process, made before the fork; raises OSError.

    Workers that are forked later have the page too, and leave it alone. (MADV_DONTFORK would hide
    it from them, but not the object here, which would unmap at its end what lies there by then.)
    """

    def __init__(self) -> None:
        memory = mmap.mmap(-1, mmap.PAGESIZE)
        self.worker = Pulse(memory, 0)
        self.main = Pulse(memory, _TIME.size)


_own: Pulses | None = None


def take(pulses: Pulses) -> None:
    """Let these be the ones of this process, a worker that has just been forked."""
    global _own
    _own = pulses


def own() -> Pulses | None:
    """Give those of this worker; None when it runs in another interpreter, which shares none."""
    return _own
