"""Processor, memory, load, temperature, uptime and identity of the machine.

Numbers of /proc come from psutil, which knows the formats of many kernels.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from supervisor.host.source_files import folders, read_number, read_text

_MB = 2**20
_CPU_ZONES = ("cpu-thermal", "cpu_thermal", "bcm2835_thermal", "soc-thermal", "x86_pkg_temp")
_CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
_PLAUSIBLE_C = (-40.0, 150.0)  # a sensor that answers beyond is not one
_reading = threading.Lock()


@contextmanager
def _proc(root: Path) -> Iterator[None]:
    """Let psutil read below ``root``: its setting is one for the whole process."""
    with _reading:
        before = psutil.PROCFS_PATH
        psutil.PROCFS_PATH = str(root / "proc")
        try:
            yield
        finally:
            psutil.PROCFS_PATH = before


class CpuUsage:
    """How busy all cores together were between two calls."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._last: tuple[float, float] | None = None  # busy and total, seconds since boot

    def facts(self) -> dict[str, Any] | None:
        """Return ``count`` of cores and ``percent`` since the last call; the first has none."""
        try:
            with _proc(self._root):
                cores = psutil.cpu_times(percpu=True)
        except (OSError, ValueError, IndexError):
            return None
        if not cores:
            return None
        total = sum(_total(core) for core in cores)
        idle = sum(core.idle + getattr(core, "iowait", 0.0) for core in cores)
        last, self._last = self._last, (total - idle, total)
        found: dict[str, Any] = {"count": len(cores)}
        if last is not None and total > last[1]:
            share = (total - idle - last[0]) / (total - last[1])
            found["percent"] = round(100 * min(1.0, max(0.0, share)), 1)
        return found


def _total(core: Any) -> float:
    """Return the seconds of one core; those of guests are counted in ``user`` already."""
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    return sum(float(getattr(core, name, 0.0)) for name in names)


def memory_facts(root: Path) -> dict[str, Any] | None:
    """Return ``total_mb``, ``available_mb`` and ``free_percent`` of the memory."""
    try:
        with _proc(root):
            found = psutil.virtual_memory()
    except (OSError, KeyError, ValueError):
        return None
    if not found.total:
        return None
    return {
        "total_mb": round(found.total / _MB, 1),
        "available_mb": round(found.available / _MB, 1),
        "free_percent": round(100 * found.available / found.total, 1),
    }


def swap_facts(root: Path) -> dict[str, Any] | None:
    """Return ``total_mb`` and ``used_mb`` of the swap space; None where there is none."""
    text = read_text(root / "proc/meminfo")
    found = dict(line.split(":", 1) for line in text.splitlines() if ":" in line) if text else {}
    try:
        total, free = (int(found[key].split()[0]) for key in ("SwapTotal", "SwapFree"))
    except (KeyError, ValueError, IndexError):
        return None
    if not total:
        return None
    return {"total_mb": round(total / 1024, 1), "used_mb": round((total - free) / 1024, 1)}


def load_facts(root: Path) -> dict[str, float] | None:
    """Return the load averages over ``1m``, ``5m`` and ``15m``."""
    words = (read_text(root / "proc/loadavg") or "").split()
    try:
        return dict(zip(("1m", "5m", "15m"), map(float, words[:3]), strict=True))
    except ValueError:
        return None


def uptime_s(root: Path) -> float | None:
    """Return the seconds since boot."""
    words = (read_text(root / "proc/uptime") or "").split()
    try:
        return float(words[0])
    except (ValueError, IndexError):
        return None


def boot_id(root: Path) -> str | None:
    """Return the identity of this boot: another one after each reboot."""
    return read_text(root / "proc/sys/kernel/random/boot_id")


def model(root: Path) -> str | None:
    """Return the name of the machine's model, as the device tree or the BIOS has it."""
    tree = read_text(root / "proc/device-tree/model")
    return tree or read_text(root / "sys/class/dmi/id/product_name")


def temperature_c(root: Path) -> float | None:
    """Return the temperature of the processor; of the hottest zone where none is known as that."""
    zones = {
        read_text(zone / "type") or "": found
        for zone in folders(root / "sys/class/thermal", "thermal_zone*")
        if (found := _celsius(zone / "temp")) is not None
    }
    known = [zones[name] for name in _CPU_ZONES if name in zones]
    if known:
        return known[0]
    return max(_chip_temperatures(root), default=max(zones.values(), default=None))


def _chip_temperatures(root: Path) -> list[float]:
    return [
        found
        for chip in folders(root / "sys/class/hwmon", "hwmon*")
        if read_text(chip / "name") in _CPU_CHIPS
        for file in folders(chip, "temp*_input")
        if (found := _celsius(file)) is not None
    ]


def _celsius(path: Path) -> float | None:
    millidegrees = read_number(path)
    if millidegrees is None:
        return None
    low, high = _PLAUSIBLE_C
    found = millidegrees / 1000
    return round(found, 1) if low <= found <= high else None
