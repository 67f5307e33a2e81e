"""Which facts about the machine warn: a table over the thresholds, and over recorded machines."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine_trees import unpack

from supervisor.config.settings import HostSettings
from supervisor.host.facts import HostReader
from supervisor.policy.host_warnings import host_warnings

THRESHOLDS = HostSettings(disk_free_percent=5.0, temperature_c=80.0, memory_free_percent=5.0)
CARD = {"device": "mmcblk0", "read_only": False, "errors": 0}


def disks(name: str, percent: float, **facts: Any) -> dict[str, Any]:
    """Return the facts of one disk."""
    disk = {"free_percent": percent, "free_mb": 12.4, "total_mb": 1000.0, **facts}
    return {"disks": {name: disk}}


@pytest.mark.parametrize(
    ("host", "check", "words"),
    [
        (disks("state_dir", 5.0), "host_disk", None),
        (disks("state_dir", 4.9), "host_disk", "4.9 % free (12 MiB), less than 5 %"),
        (disks("root", 0.0), "host_disk_root", "the disk of the system has 0 % free"),
        (disks("state_dir", 50.0, read_only=True), "host_disk", "state folder is read-only"),
        (disks("root", 50.0, read_only=True), "host_disk_root", None),
        (disks("root", 50.0, free_inodes_percent=0.9), "host_disk_root", "0.9 % of its inodes"),
        (disks("root", 50.0, free_inodes_percent=1.0), "host_disk_root", None),
        ({"memory": {"free_percent": 5.0, "available_mb": 20.0}}, "host_memory", None),
        ({"memory": {"free_percent": 4.0, "available_mb": 16.6}}, "host_memory", "(17 MiB)"),
        ({"temperature_c": 80.0}, "host_temperature", None),
        ({"temperature_c": 80.1}, "host_temperature", "80.1 °C, above 80 °C"),
        ({"power": {"under_voltage": False}}, "host_power", None),
        ({"power": {"under_voltage": True}}, "host_power", "under-voltage now"),
        (
            {"power": {"under_voltage": False, "throttled": True}},
            "host_power",
            "throttled now",
        ),
        (
            {"power": {"under_voltage": False, "throttled": False, "since_boot": {"throttled": 1}}},
            "host_power",
            None,
        ),
        ({"sd_card": CARD}, "host_sd_card", None),
        ({"sd_card": {**CARD, "read_only": True}}, "host_sd_card", "can't be written any more"),
        ({"sd_card": {**CARD, "errors": 1}}, "host_sd_card", "has counted 1 error"),
        ({"sd_card": {"device": "mmcblk0", "read_only": False}}, "host_sd_card", None),
    ],
)
def test_each_fact_at_its_threshold(host: dict[str, Any], check: str, words: str | None) -> None:
    """At the threshold it passes, beyond it the reason names both numbers and there is a hint."""
    found = host_warnings(host, THRESHOLDS)
    assert found.keys() == {check}
    cause = found[check]
    if words is None:
        assert cause is None
    else:
        assert cause is not None
        assert words in cause.reason
        assert cause.hint


@pytest.mark.parametrize("facts", [{}, {"clock_synchronised": False}, {"cpu": {"percent": 100.0}}])
def test_facts_without_a_threshold_never_warn(facts: dict[str, Any]) -> None:
    """What is absent has no check, and neither has what is merely told."""
    assert host_warnings(facts, THRESHOLDS) == {}


@given(percent=st.floats(0, 100), least=st.floats(0, 100))
def test_a_disk_warns_exactly_below_its_threshold(percent: float, least: float) -> None:
    """Whatever the numbers are."""
    thresholds = HostSettings(disk_free_percent=least)
    warns = host_warnings(disks("root", percent), thresholds)["host_disk_root"] is not None
    assert warns is (percent < least)


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("pi-3", {"host_power"}),
        ("pi-4", set()),
        ("pi-5", {"host_power"}),
        ("pi-zero-2-w", {"host_memory", "host_temperature", "host_sd_card", "host_disk"}),
        ("pi-overlay", set()),
        ("pc", set()),
        ("container", set()),
    ],
)
def test_the_warnings_of_recorded_machines(tmp_path: Path, name: str, warning: set[str]) -> None:
    """What a person would worry about on each of them, and nothing else."""
    unpack(name, tmp_path)
    reader = HostReader("/var/lib/flask-supervisor", root=tmp_path, clock_status=lambda: None)
    thresholds = HostSettings(disk_free_percent=0.0)  # the disk is the one of this machine
    found = host_warnings(reader.read(), thresholds)
    assert {check for check, cause in found.items() if cause} == warning
