"""The line of a monitoring plugin: its status, its words and its performance data."""

import re
from typing import Any

import pytest
from health_documents import APP, BROKEN, CHECK, health_document

from supervisor.policy.plugin_output import PluginStatus, plugin_line, plugin_output

# label=value[UOM];[warn];[crit];[min];[max]
DATUM = re.compile(r"[a-z_]+=-?\d+(\.\d+)?(s|%|B|c)?(;[\d.]*){0,4}")


@pytest.mark.parametrize(
    ("document", "status", "text"),
    [
        (health_document(), PluginStatus.OK, "2 of 2 apps ready"),
        (
            health_document(status="fail", apps={"admin": APP, "coach": BROKEN}),
            PluginStatus.CRITICAL,
            "1 of 2 apps ready; coach: ModuleNotFoundError: No module named 'x' (coach.py, line 3)",
        ),
        (
            health_document(
                status="warn", checks={"disk": {**CHECK, "status": "warn", "reason": "it is full"}}
            ),
            PluginStatus.WARNING,
            "2 of 2 apps ready; disk: it is full",
        ),
        (APP, PluginStatus.OK, "ready, served by app"),
        (
            BROKEN,
            PluginStatus.CRITICAL,
            f"backoff, served by stand-in: {BROKEN['reason']}",
        ),
    ],
)
def test_the_line(document: dict[str, Any], status: PluginStatus, text: str) -> None:
    """Status and reasons of a whole machine and of one app."""
    found, line = plugin_output(document, seconds=0.0123)
    assert found is status
    head, _, data = line.partition(" | ")
    assert head == f"FLASK-SUPERVISOR {status.name} - {text}"
    assert all(DATUM.fullmatch(datum) for datum in data.split())
    assert data.startswith("time=0.012s;;;0 ")


def test_the_performance_data() -> None:
    """Counters with c, sizes in bytes, what is free in percent."""
    _, line = plugin_output(health_document(), seconds=None)
    assert line.partition(" | ")[2].split() == [
        "ready=2;;;0;2",
        "requests=230c",
        "restarts=2c",
        "memory=84934656B;;;0",
        "temperature=48.2",
        "disk_state_dir_free=50%;;;0;100",
        "disk_root_free=50%;;;0;100",
    ]


def test_many_troubles_fit_on_one_line() -> None:
    """What keeps the machine from being ready comes first; the rest is counted."""
    warning = {**APP, "status": "warn", "reason": "x" * 500}
    apps = {"slow": warning, **{f"app{n}": BROKEN for n in range(3)}}
    _, line = plugin_output(health_document(status="fail", apps=apps), seconds=None)
    assert "\n" not in line
    assert "app0: " in line
    assert line.partition(" | ")[0].endswith("; and 1 more")
    assert "slow" not in line


def test_a_bar_in_a_reason() -> None:
    """It would begin the performance data."""
    assert plugin_line(PluginStatus.OK, "a|b\nc", "x=1") == "FLASK-SUPERVISOR OK - a/b c | x=1"


@pytest.mark.parametrize("document", [{}, {"status": "ok"}, {"status": "pass", "apps": {"a": {}}}])
def test_another_document(document: dict[str, Any]) -> None:
    """An error, and no line that says nothing."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        plugin_output(document, seconds=None)
