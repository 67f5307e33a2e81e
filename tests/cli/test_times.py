"""Times: local with their offset for people, UTC in RFC 3339 for programs."""

import json
import re
import time
from collections.abc import Iterator

import pytest
from harness import Project
from operating_case import wait_until_ready

from supervisor.cli.output import local_time

# POSIX TZ strings count the other way round: 5 h 30 min east of UTC.
EAST = "IST-5:30"
UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture
def in_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run this process in a zone of its own."""
    monkeypatch.setenv("TZ", EAST)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("moment", "timespec", "text"),
    [
        ("2026-11-23T09:15:03Z", "seconds", "2026-11-23 14:45:03+05:30"),
        ("2026-11-23T09:15:03+00:00", "minutes", "2026-11-23 14:45+05:30"),
        ("2026-11-23T23:15:03Z", "seconds", "2026-11-24 04:45:03+05:30"),
        (0.0, "seconds", "1970-01-01 05:30:00+05:30"),
        (1e300, "seconds", "1e+300"),
        ("soon", "seconds", "soon"),
    ],
)
def test_a_time_in_the_zone_of_the_machine(
    in_zone: None, moment: str | float, timespec: str, text: str
) -> None:
    """A time becomes local, with its offset; what is no time stays as it is."""
    assert local_time(moment, timespec=timespec) == text


def test_commands_show_local_times(project: Project) -> None:
    """``logs``, ``events`` and ``doctor`` print the offset; JSON has UTC."""
    project.app("coach")
    wait_until_ready(project.start(), "coach")
    for command in ("logs", "events"):
        shown = project.command(command, env={"TZ": EAST}).stdout.splitlines()
        for line in shown:
            assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+05:30 ", line), line
        for line in project.command(command, "--json", env={"TZ": EAST}).stdout.splitlines():
            assert UTC_TIME.fullmatch(json.loads(line)["time"])
    assert "+05:30" in project.command("doctor", env={"TZ": EAST}).stdout
    document = json.loads(project.command("status", "--json", env={"TZ": EAST}).stdout)
    assert UTC_TIME.fullmatch(document["started"])
    assert UTC_TIME.fullmatch(document["apps"]["coach"]["since"])
