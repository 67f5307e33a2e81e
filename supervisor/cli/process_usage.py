"""CPU and memory of the supervisor's processes, measured by the command itself from /proc."""

import time
from collections.abc import Iterable
from typing import Any

from supervisor.process.descent import descendants
from supervisor.process.proc_stat import ProcStat, memory_mb, read_stat

SAMPLE_S = 0.5  # the clock ticks of /proc make shorter samples coarse

Snapshot = dict[str, Any]


class CpuMeter:
    """Measures the processor time of processes from one call to the next."""

    def __init__(self) -> None:
        self._before: dict[int, ProcStat] = {}
        self._measured_at = 0.0

    def percent(self, pids: Iterable[int]) -> dict[int, float]:
        """Return, by pid, the percentage of one core used since the last call.

        The first call waits for `SAMPLE_S`. A process that has started since then, has exited, or
        is hidden from this user is left out.
        """
        wanted = list(pids)
        if not self._before:
            self._remember(wanted)
            time.sleep(SAMPLE_S)
        before, since_s = self._before, self._measured_at
        self._remember(wanted)
        elapsed_s = max(self._measured_at - since_s, 1e-3)
        return {
            pid: 100 * (now.cpu_s - before[pid].cpu_s) / elapsed_s
            for pid, now in self._before.items()
            if pid in before and before[pid].started == now.started
        }

    def _remember(self, pids: list[int]) -> None:
        self._measured_at = time.monotonic()
        found = {pid: read_stat(pid) for pid in pids}
        self._before = {pid: stat for pid, stat in found.items() if stat is not None}


def with_usage(snapshot: Snapshot, meter: CpuMeter) -> Snapshot:
    """Return the snapshot with ``cpu_percent`` and ``memory_mb`` of the main process and workers.

    With a worker all that it has started counts, as its program. An unknown value is None.
    """
    main = snapshot["pid"]
    workers = [worker["pid"] for app in snapshot["apps"].values() for worker in app["workers"]]
    members = {main: [main]} | {pid: [pid, *descendants(pid)] for pid in workers}
    percent = meter.percent([pid for several in members.values() for pid in several])

    def usage(pid: int) -> dict[str, float | None]:
        cpu = [percent[one] for one in members[pid] if one in percent]
        memory = memory_mb(members[pid])
        return {
            "cpu_percent": round(sum(cpu), 1) if cpu else None,
            "memory_mb": round(memory, 1) if memory else None,
        }

    apps = {
        name: {**app, "workers": [{**one, **usage(one["pid"])} for one in app["workers"]]}
        for name, app in snapshot["apps"].items()
    }
    return {**snapshot, **usage(snapshot["pid"]), "apps": apps}
