"""Heartbeats that wake nobody: times in a memory page shared by a worker and the main process.

A message would wake both, which is most of what an idle machine does. Needs the standard library
alone.
"""

import mmap
import struct

_TIME = struct.Struct("d")  # aligned, so that a write is never seen by halves


class HeartbeatSlot:
    """The time of one process's last heartbeat: that process writes it, the other one reads it."""

    def __init__(self, memory: mmap.mmap, offset: int) -> None:
        self._memory = memory
        self._offset = offset

    def write(self, now: float) -> None:
        """Record a heartbeat at ``now``: monotonic seconds, the same clock in all processes."""
        _TIME.pack_into(self._memory, self._offset, now)

    @property
    def at(self) -> float:
        """The monotonic time of the last heartbeat; 0 before the first."""
        at: float = _TIME.unpack_from(self._memory, self._offset)[0]
        return at


class HeartbeatPage:
    """The heartbeats of one worker and of its main process; create it before the fork.

    Workers that are forked later inherit the page and don't use it. (MADV_DONTFORK would unmap it
    there, but not the mmap object, which would unmap whatever lies at that address by then.)
    Raises OSError.
    """

    def __init__(self) -> None:
        memory = mmap.mmap(-1, mmap.PAGESIZE)
        self.worker = HeartbeatSlot(memory, 0)
        self.main = HeartbeatSlot(memory, _TIME.size)


_own: HeartbeatPage | None = None


def set_own_page(page: HeartbeatPage) -> None:
    """Make ``page`` that of this process, a worker that has just been forked."""
    global _own
    _own = page


def own_page() -> HeartbeatPage | None:
    """Return the page of this worker; None in an interpreter of its own, which shares no memory."""
    return _own
