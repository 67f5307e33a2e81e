"""Metric families of the machine, from the ``host`` part of the health document."""

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import Metric

from supervisor.health.metric_family import MB, gauge

# name, help, where the fact is, by what it is multiplied
_FACTS: tuple[tuple[str, str, tuple[str, ...], float], ...] = (
    ("host_uptime_seconds", "Time since the machine was booted.", ("uptime_s",), 1),
    ("host_cpus", "Cores of the machine.", ("cpu", "count"), 1),
    (
        "host_cpu_busy_ratio",
        "How busy all cores together were between the last two readings.",
        ("cpu", "percent"),
        0.01,
    ),
    ("host_load1", "Load average over 1 minute.", ("load", "1m"), 1),
    ("host_load5", "Load average over 5 minutes.", ("load", "5m"), 1),
    ("host_load15", "Load average over 15 minutes.", ("load", "15m"), 1),
    ("host_memory_size_bytes", "Memory of the machine.", ("memory", "total_mb"), MB),
    ("host_memory_available_bytes", "Available memory.", ("memory", "available_mb"), MB),
    ("host_swap_size_bytes", "Swap space.", ("swap", "total_mb"), MB),
    ("host_swap_used_bytes", "Swap space that is used.", ("swap", "used_mb"), MB),
    ("host_temperature_celsius", "Temperature of the processor.", ("temperature_c",), 1),
    (
        "host_clock_synchronised",
        "Whether a time server has set the clock.",
        ("clock_synchronised",),
        1,
    ),
    (
        "host_sd_card_read_only",
        "Whether a file system on the SD card can't be written any more.",
        ("sd_card", "read_only"),
        1,
    ),
    (
        "host_sd_card_errors",
        "Errors that the file systems on the SD card have counted since their last repair.",
        ("sd_card", "errors"),
        1,
    ),
)
_OF_DISKS: tuple[tuple[str, str, str, float], ...] = (
    ("host_disk_size_bytes", "Size of a disk.", "total_mb", MB),
    ("host_disk_free_bytes", "What is free on a disk.", "free_mb", MB),
    ("host_disk_read_only", "Whether a disk can't be written.", "read_only", 1),
)


def families(host: dict[str, Any]) -> Iterator[Metric]:
    """Yield the families of what is known; nothing for facts that are absent."""
    if "model" in host:
        labels = {"model": host["model"]}
        yield gauge("host_info", "The model of the machine; always 1.", [(labels, 1)])
    for name, text, path, factor in _FACTS:
        value = _at(host, path)
        if value is not None:
            yield gauge(name, text, [({}, value * factor)])
    for name, text, key, factor in _OF_DISKS:
        rows = [
            ({"disk": disk}, facts[key] * factor)
            for disk, facts in host.get("disks", {}).items()
            if key in facts
        ]
        if rows:
            yield gauge(name, text, rows)
    yield from _power(host.get("power", {}))


def _power(power: dict[str, Any]) -> Iterator[Metric]:
    now = {name: value for name, value in power.items() if name != "since_boot"}
    for name, text, faults in (
        ("host_power_fault", "What is wrong with the power now.", now),
        (
            "host_power_fault_since_boot",
            "What has been wrong with the power since boot.",
            power.get("since_boot", {}),
        ),
    ):
        if faults:
            yield gauge(name, text, [({"fault": key}, value) for key, value in faults.items()])


def _at(host: dict[str, Any], path: tuple[str, ...]) -> float | None:
    found: Any = host
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return None if found is None else float(found)
