"""Which facts about the machine are worth a warning: pure, from the ``host`` document.

Thresholds are those of ``[host]``. What the firmware or the kernel itself reports as a fault needs
none: under-voltage and throttling now, a card that can't be written, counted errors. What was so
since boot and is over, and a clock that nobody has set, are facts without a warning: a machine
without a network never has its clock set.
"""

from collections.abc import Mapping
from typing import Any

from supervisor.config.settings import HostSettings
from supervisor.values.reports import Cause

_INODES_PERCENT = 1.0
_DISKS = {
    "state_dir": ("host_disk", "the disk of the state folder"),
    "root": ("host_disk_root", "the disk of the system"),
}


def host_warnings(host: Mapping[str, Any], thresholds: HostSettings) -> dict[str, Cause | None]:
    """Return for each fact that is known whether it warns: by the name of the check, None if not.

    ``host`` is what `supervisor.host.facts.HostReader.read` returns.
    """
    found: dict[str, Cause | None] = {}
    for name, disk in host.get("disks", {}).items():
        if "free_percent" in disk:
            check, words = _DISKS[name]
            found[check] = _disk(words, disk, thresholds.disk_free_percent)
    if "memory" in host:
        found["host_memory"] = _memory(host["memory"], thresholds.memory_free_percent)
    if "temperature_c" in host:
        found["host_temperature"] = _temperature(host["temperature_c"], thresholds.temperature_c)
    if "power" in host:
        found["host_power"] = _power(host["power"])
    if "sd_card" in host:
        found["host_sd_card"] = _card(host["sd_card"])
    return found


def _disk(words: str, disk: Mapping[str, Any], least_percent: float) -> Cause | None:
    if words == _DISKS["state_dir"][1] and disk.get("read_only"):
        return Cause(
            reason=f"{words} is read-only",
            hint="find out why: sudo dmesg | grep -e mmc -e EXT4",
        )
    if disk.get("free_inodes_percent", 100.0) < _INODES_PERCENT:
        free = f"{disk['free_inodes_percent']:g} % of its inodes free"
        return Cause(
            reason=f"{words} has {free}, so that soon no file can be created",
            hint="find the folder with too many files: sudo du --inodes -x / | sort -n | tail",
        )
    if disk["free_percent"] >= least_percent:
        return None
    free = f"{disk['free_percent']:g} % free ({disk['free_mb']:.0f} MiB)"
    return Cause(
        reason=f"{words} has {free}, less than {least_percent:g} %",
        hint="free some space: sudo journalctl --vacuum-size=50M; sudo apt-get clean",
    )


def _memory(memory: Mapping[str, Any], least_percent: float) -> Cause | None:
    if memory["free_percent"] >= least_percent:
        return None
    free = f"{memory['free_percent']:g} % available ({memory['available_mb']:.0f} MiB)"
    return Cause(
        reason=f"the memory has {free}, less than {least_percent:g} %",
        hint="find what uses it: flask-supervisor status --json shows memory_mb of each app; "
        "set max_memory_mb for the one that grows",
    )


def _temperature(celsius: float, most_c: float) -> Cause | None:
    if celsius <= most_c:
        return None
    return Cause(
        reason=f"the processor is at {celsius:g} °C, above {most_c:g} °C",
        hint="let air reach it, or add a heat sink or a fan",
    )


def _power(power: Mapping[str, Any]) -> Cause | None:
    if power["under_voltage"]:
        return Cause(
            reason="the power supply is too weak: under-voltage now",
            hint="use the power supply of this model and a short cable; unplug USB devices",
        )
    if power.get("throttled"):
        return Cause(
            reason="the processor is throttled now",
            hint="it is too hot, or its power supply too weak: see temperature_c and power",
        )
    return None


def _card(card: Mapping[str, Any]) -> Cause | None:
    name = f"the SD card {card['device']}"
    replace = "save what is on it and replace it; see: sudo dmesg | grep -e mmc -e EXT4"
    if card["read_only"]:
        return Cause(reason=f"{name} can't be written any more", hint=replace)
    if card.get("errors"):
        count = "1 error" if card["errors"] == 1 else f"{card['errors']} errors"
        hint = f"{replace}; a repair (e2fsck -f, at the next boot: fsck.mode=force) resets this"
        return Cause(reason=f"{name}: its file system has counted {count}", hint=hint)
    return None
