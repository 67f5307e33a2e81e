"""Finds out whether the kernel killed a process because memory ran out.

It reads the counter ``oom_kill``: that of our own control group (``memory.events``, kernel
documentation cgroup-v2) where the memory controller is enabled, else that of the whole machine
(``/proc/vmstat``), because Raspberry Pi OS boots without that controller.
"""

from pathlib import Path


class KillCounter:
    """Counts out-of-memory kills; each of them explains one SIGKILL."""

    def __init__(self, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> None:
        self._file = self._choose(proc, cgroups)
        self._seen = self._read()
        self._unclaimed = 0

    def claim(self) -> bool | None:
        """Return whether a process that was just ended by SIGKILL was killed for lack of memory.

        Returns None where the kernel doesn't count such kills.
        """
        count = self._read()
        if count is None or self._seen is None:
            return None
        self._unclaimed += max(0, count - self._seen)
        self._seen = count
        if self._unclaimed == 0:
            return False
        self._unclaimed -= 1
        return True

    @staticmethod
    def _choose(proc: Path, cgroups: Path) -> Path:
        try:
            own = (proc / "self/cgroup").read_text().splitlines()
        except OSError:
            own = []
        for line in own:
            if line.startswith("0::/"):  # version 2: cgroups(7)
                file = cgroups / line.removeprefix("0::/") / "memory.events"
                if file.exists():
                    return file
        return proc / "vmstat"

    def _read(self) -> int | None:
        try:
            lines = self._file.read_text().splitlines()
        except OSError:
            return None
        for line in lines:
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
        return None
