"""The facts about the machine, read from the files of several machines and from this one."""

import os
import re
from pathlib import Path
from typing import Any

import psutil
import pytest
from machine_trees import change, unpack

from supervisor.host import clock
from supervisor.host.facts import HostReader

STATE_DIR = "/var/lib/flask-supervisor"
SYNCHRONISED, NOT_SYNCHRONISED = 0x1, 0x40


def read(name: str, root: Path, *, status: int | None = SYNCHRONISED) -> dict[str, Any]:
    """Return the facts of one of the recorded machines."""
    unpack(name, root)
    return HostReader(STATE_DIR, root=root, clock_status=lambda: status).read()


def test_a_pi_3_with_a_weak_power_supply(tmp_path: Path) -> None:
    """Under-voltage and throttling, now and since boot; the card is found behind /dev/root."""
    facts = read("pi-3", tmp_path)
    assert facts["model"] == "Raspberry Pi 3 Model B Plus Rev 1.3"
    assert facts["boot_id"] == "3b1c9e52-7c1f-4f4e-9d0a-3d7a1c2b3e4f"
    assert facts["uptime_s"] == 2500.1
    assert facts["cpu"] == {"count": 4}  # no percentage before there are two readings
    assert facts["load"] == {"1m": 1.05, "5m": 0.70, "15m": 0.58}
    assert facts["memory"] == {"total_mb": 927.1, "available_mb": 863.9, "free_percent": 93.2}
    assert facts["swap"] == {"total_mb": 100.0, "used_mb": 0.0}
    assert facts["temperature_c"] == 54.8
    assert facts["power"] == {
        "under_voltage": True,
        "frequency_capped": False,
        "throttled": True,
        "soft_temperature_limit": False,
        "since_boot": {
            "under_voltage": True,
            "frequency_capped": False,
            "throttled": True,
            "soft_temperature_limit": False,
        },
    }
    assert facts["sd_card"] == {
        "device": "mmcblk0",
        "name": "SC16G",
        "kind": "SD",
        "read_only": False,
        "errors": 0,
    }


def test_a_pi_4_that_is_well(tmp_path: Path) -> None:
    """Nothing is wrong now; that its temperature limit was reached since boot is kept."""
    facts = read("pi-4", tmp_path)
    assert facts["model"] == "Raspberry Pi 4 Model B Rev 1.4"
    assert facts["temperature_c"] == 48.2
    since_boot = facts["power"].pop("since_boot")
    assert not any(facts["power"].values())
    assert [name for name, was in since_boot.items() if was] == ["soft_temperature_limit"]
    assert facts["sd_card"]["read_only"] is False
    assert facts["disks"]["state_dir"]["read_only"] is False


def test_a_pi_5_without_the_firmware_file(tmp_path: Path) -> None:
    """The hwmon driver knows of under-voltage alone; a root on NVMe is no SD card."""
    facts = read("pi-5", tmp_path)
    assert facts["power"] == {"under_voltage": True}
    assert facts["temperature_c"] == 46.3  # the processor, not the hotter RP1
    assert "sd_card" not in facts
    assert "swap" not in facts


def test_a_zero_2_w_whose_card_has_failed(tmp_path: Path) -> None:
    """Read-only after errors, though the mount options begin with rw."""
    facts = read("pi-zero-2-w", tmp_path, status=NOT_SYNCHRONISED)
    assert facts["sd_card"]["read_only"] is True
    assert facts["sd_card"]["errors"] == 7
    assert facts["disks"]["root"]["read_only"] is True
    assert facts["memory"]["free_percent"] == 4.0
    assert facts["swap"] == {"total_mb": 2048.0, "used_mb": 1024.0}
    assert facts["power"]["soft_temperature_limit"] is True
    assert facts["power"]["under_voltage"] is False
    assert facts["clock_synchronised"] is False


def test_a_read_only_root_that_is_meant_to_be(tmp_path: Path) -> None:
    """With the overlay of raspi-config the state folder's partition is what counts."""
    facts = read("pi-overlay", tmp_path)
    assert facts["sd_card"] == {"device": "mmcblk0", "kind": "SD", "read_only": False, "errors": 0}
    assert facts["disks"]["state_dir"]["read_only"] is False


def test_fstab_may_ask_for_a_read_only_root(tmp_path: Path) -> None:
    """A card that is mounted read-only on purpose has not failed."""
    unpack("pi-4", tmp_path)
    mounts = (tmp_path / "proc/self/mountinfo").read_text()
    change(tmp_path, "proc/self/mountinfo", mounts.replace("mmcblk0p2 rw", "mmcblk0p2 ro"))
    reader = HostReader(STATE_DIR, root=tmp_path, clock_status=lambda: None)
    assert reader.read()["sd_card"]["read_only"] is True
    fstab = (tmp_path / "etc/fstab").read_text()
    change(tmp_path, "etc/fstab", fstab.replace("ext4    defaults", "ext4    defaults,ro"))
    assert reader.read()["sd_card"]["read_only"] is False
    assert reader.read()["disks"]["root"]["read_only"] is True


def test_what_protects_the_service_is_no_fault(tmp_path: Path) -> None:
    """ProtectSystem mounts / read-only for the service alone: the superblock says rw."""
    unpack("pi-4", tmp_path)
    mounts = (tmp_path / "proc/self/mountinfo").read_text()
    change(tmp_path, "proc/self/mountinfo", mounts.replace("/ / rw,", "/ / ro,"))
    facts = HostReader(STATE_DIR, root=tmp_path, clock_status=lambda: None).read()
    assert facts["sd_card"]["read_only"] is False
    assert facts["disks"]["root"]["read_only"] is False


def test_a_pc(tmp_path: Path) -> None:
    """The BIOS names it, and the processor's own sensor beats that of the board."""
    facts = read("pc", tmp_path)
    assert facts["model"] == "ThinkCentre M710q"
    assert facts["temperature_c"] == 41.0
    assert "power" not in facts
    assert "sd_card" not in facts


def test_a_container_has_few_facts(tmp_path: Path) -> None:
    """What has no source is left out, never zero."""
    facts = read("container", tmp_path, status=None)
    assert facts.keys() == {"boot_id", "uptime_s", "cpu", "load", "memory", "disks"}


def test_an_empty_tree_has_no_facts(tmp_path: Path) -> None:
    """Nothing at all is no error; the disks are those of the tree itself."""
    facts = HostReader(STATE_DIR, root=tmp_path, clock_status=lambda: None).read()
    assert facts.keys() == {"disks"}
    assert facts["disks"].keys() == {"root"}  # the state folder doesn't exist


def test_garbage_is_left_out(tmp_path: Path) -> None:
    """Sensors that answer nonsense, and files of another shape, are as good as absent."""
    unpack("pi-4", tmp_path)
    for path in (
        *("proc/loadavg", "proc/uptime", "proc/meminfo", "proc/stat", "proc/self/mountinfo"),
        "sys/devices/platform/soc/soc:firmware/get_throttled",
        *("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "sys/class/hwmon/hwmon0/temp1_input"),
    ):
        change(tmp_path, path, "what? \udcff".encode("utf-8", "surrogateescape").decode("latin-1"))
    change(tmp_path, "sys/class/thermal/thermal_zone0/temp", "-274000\n")
    facts = HostReader(STATE_DIR, root=tmp_path, clock_status=lambda: None).read()
    gone = {"load", "uptime_s", "memory", "cpu", "power", "temperature_c", "sd_card", "swap"}
    assert not gone & facts.keys()
    assert facts["model"] == "Raspberry Pi 4 Model B Rev 1.4"


def test_the_processor_between_two_readings(tmp_path: Path) -> None:
    """The percentage is of the time between the readings, of all cores together."""
    unpack("container", tmp_path)
    reader = HostReader(STATE_DIR, root=tmp_path, clock_status=lambda: None)
    assert reader.read()["cpu"] == {"count": 1}
    # 100 ticks more: 25 of them busy, 5 waiting for the disk
    stat = "cpu  1020 0 1005 98070 5 0 0 0 0 0\ncpu0 1020 0 1005 98070 5 0 0 0 0 0\nbtime 1\n"
    change(tmp_path, "proc/stat", stat)
    assert reader.read()["cpu"] == {"count": 1, "percent": 25.0}
    assert reader.read()["cpu"] == {"count": 1}  # no time has passed


@pytest.mark.parametrize(
    ("status", "touched", "expected"),
    [
        (SYNCHRONISED, False, True),
        (NOT_SYNCHRONISED, True, False),  # it was once; the kernel knows that this is long ago
        (None, True, True),
        (None, False, None),
    ],
)
def test_the_clock(
    tmp_path: Path, status: int | None, touched: bool, expected: bool | None
) -> None:
    """The kernel decides; where it isn't to be asked, timesyncd's file does; else nobody knows."""
    if touched:
        file = tmp_path / "run/systemd/timesync/synchronized"
        file.parent.mkdir(parents=True)
        file.touch()
    assert clock.is_synchronised(tmp_path, lambda: status) is expected


def test_this_machine() -> None:
    """On the real files: what every Linux has is there, and agrees with other sources."""
    reader = HostReader(os.getcwd())
    reader.read()
    sum(range(2_000_000))  # some time that a processor has worked
    facts = reader.read()
    assert re.fullmatch(r"[0-9a-f-]{36}", facts["boot_id"])
    assert facts["memory"]["total_mb"] == pytest.approx(psutil.virtual_memory().total / 2**20, 0.01)
    assert 0 < facts["cpu"]["percent"] <= 100
    assert facts["load"].keys() == {"1m", "5m", "15m"}
    usage = psutil.disk_usage("/")
    assert facts["disks"]["root"]["total_mb"] == pytest.approx(usage.total / 2**20, 0.01)
    assert facts["disks"]["root"]["free_mb"] == pytest.approx(usage.free / 2**20, 0.1)
    kernel = clock.kernel_status()
    assert kernel is None or isinstance(kernel, int)
