"""Processor, memory, load, temperature, uptime and identity of the machine: proc(5), sysfs.

Without psutil, which would cost the status worker a third of its own memory.
"""

from pathlib import Path
from typing import Any

from supervisor.host.source_files import folders, read_number, read_text

_IDLE, _IOWAIT, _STEAL = 3, 4, 7  # columns of /proc/stat; those of guests are counted in the first
_CPU_ZONES = ("cpu-thermal", "cpu_thermal", "bcm2835_thermal", "soc-thermal", "x86_pkg_temp")
_CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
_PLAUSIBLE_C = (-40.0, 150.0)  # a sensor that answers beyond is not one


class CpuUsage:
    """How busy all cores together were between two calls."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._last: tuple[int, int] | None = None  # idle and total, clock ticks since boot

    def facts(self) -> dict[str, Any] | None:
        """Return ``count`` of cores and ``percent`` since the last call; the first has none."""
        lines = [line.split() for line in (read_text(self._root / "proc/stat") or "").splitlines()]
        try:
            ticks = [list(map(int, words[1:])) for words in lines if _is_core(words)]
        except ValueError:
            return None
        if not ticks or any(len(core) <= _IDLE for core in ticks):
            return None
        total = sum(sum(core[: _STEAL + 1]) for core in ticks)
        idle = sum(sum(core[_IDLE : _IOWAIT + 1]) for core in ticks)
        last, self._last = self._last, (idle, total)
        found: dict[str, Any] = {"count": len(ticks)}
        if last is not None and total > last[1]:
            share = 1 - (idle - last[0]) / (total - last[1])
            found["percent"] = round(100 * min(1.0, max(0.0, share)), 1)
        return found


def _is_core(words: list[str]) -> bool:
    """Return whether a line of /proc/stat is of one core; "cpu" alone is all of them."""
    return bool(words) and words[0].startswith("cpu") and words[0] != "cpu"


def memory_facts(root: Path) -> dict[str, Any] | None:
    """Return ``total_mb``, ``available_mb`` and ``free_percent`` of the memory."""
    kib = _meminfo(root)
    total, available = kib.get("MemTotal"), kib.get("MemAvailable")
    if not total or available is None:
        return None
    return {
        "total_mb": round(total / 1024, 1),
        "available_mb": round(available / 1024, 1),
        "free_percent": round(100 * available / total, 1),
    }


def swap_facts(root: Path) -> dict[str, Any] | None:
    """Return ``total_mb`` and ``used_mb`` of the swap space; None where there is none."""
    kib = _meminfo(root)
    total, free = kib.get("SwapTotal"), kib.get("SwapFree")
    if not total or free is None:
        return None
    return {"total_mb": round(total / 1024, 1), "used_mb": round((total - free) / 1024, 1)}


def _meminfo(root: Path) -> dict[str, int]:
    """Return the numbers of /proc/meminfo, by name."""
    found = {}
    for line in (read_text(root / "proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        number = value.split()[:1]
        if number and number[0].isdecimal():
            found[name] = int(number[0])
    return found


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
