"""What ``/proc`` shows of one process: proc_pid_stat(5) and proc_pid_statm(5)."""

import os
import signal
from collections.abc import Iterable

from supervisor.values.records import dataclass

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
# Fields behind the name, which may hold anything: state is number 0.
_STATE, _PARENT, _SESSION, _USER_TICKS, _SYSTEM_TICKS, _STARTED = 0, 1, 3, 11, 12, 19
_IGNORED = 30  # signals, as bits; those below 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcStat:
    """A process; ``started`` (clock ticks since boot) distinguishes it from a later one.

    ``name`` is that of its main thread, ``cpu_s`` the processor time that it has used, in seconds.
    """

    pid: int
    name: str
    parent: int
    session: int
    started: int
    cpu_s: float
    is_zombie: bool
    is_stopped: bool  # by a signal, as SIGSTOP
    ignores_sigterm: bool


def read_stat(pid: int) -> ProcStat | None:
    """Return what is known of process ``pid``, None if it has ended or is hidden from this user."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            head, _, rest = stream.read().rpartition(b")")
    except OSError:
        return None
    fields = rest.split()
    return ProcStat(
        pid=pid,
        name=head.partition(b"(")[2].decode("utf-8", "replace"),
        parent=int(fields[_PARENT]),
        session=int(fields[_SESSION]),
        started=int(fields[_STARTED]),
        cpu_s=(int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])) / _TICKS_PER_S,
        is_zombie=fields[_STATE] in (b"Z", b"X"),
        is_stopped=fields[_STATE] == b"T",
        ignores_sigterm=bool(int(fields[_IGNORED]) >> (signal.SIGTERM - 1) & 1),
    )


def memory_mb(pids: Iterable[int]) -> float:
    """Return the memory of several processes in MiB: their own, and once what they may share."""
    own, shared = 0.0, 0.0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm", encoding="ascii") as stream:
                _size, resident, of_files, *_ = (int(one) for one in stream.read().split())
        except OSError:
            continue
        own += (resident - of_files) * _PAGE_MB
        shared = max(shared, of_files * _PAGE_MB)
    return own + shared
