"""All that is known about the machine, in one document."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor.host import clock, system
from supervisor.host.power import power_facts
from supervisor.host.storage import card_facts, disk_facts, read_mounts

HostDocument = dict[str, Any]
_ROOT = Path("/")


class HostReader:
    """Reads the facts about this machine, below ``root``; ``state_dir`` is absolute in there."""

    def __init__(
        self,
        state_dir: str,
        *,
        root: Path = _ROOT,
        clock_status: Callable[[], int | None] = clock.kernel_status,
    ) -> None:
        self._state_dir = state_dir
        self._root = root
        self._clock_status = clock_status
        self._cpu = system.CpuUsage(root)

    def read(self) -> HostDocument:
        """Return the ``host`` part of the health document; what has no source is left out.

        Blocks while a disk does. `docs/health.md` describes each field.
        """
        root = self._root
        mounts = read_mounts(root)
        disks = {
            "state_dir": disk_facts(root, mounts, self._state_dir),
            "root": disk_facts(root, mounts, "/"),
        }
        uptime = system.uptime_s(root)
        facts = {
            "model": system.model(root),
            "boot_id": system.boot_id(root),
            "uptime_s": None if uptime is None else round(uptime, 1),
            "cpu": self._cpu.facts(),
            "load": system.load_facts(root),
            "memory": system.memory_facts(root),
            "swap": system.swap_facts(root),
            "disks": {name: disk for name, disk in disks.items() if disk} or None,
            "temperature_c": system.temperature_c(root),
            "clock_synchronised": clock.is_synchronised(root, self._clock_status),
            "power": power_facts(root),
            "sd_card": card_facts(root, mounts, [self._state_dir, "/"]),
        }
        return {name: value for name, value in facts.items() if value is not None}
