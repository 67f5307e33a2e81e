"""Restart, crash and upgrade under load: no connection is refused, no answer is lost."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import REPOSITORY, ask, eventually
from machine import (
    APPS,
    TROUBLE,
    UNIT,
    Machine,
    health,
    journal,
    kill_main,
    main_pid,
    pause,
    properties,
    run,
    systemctl,
    unit_pids,
    write_app,
    write_config,
)

BEFORE_S, AFTER_S = 0.3, 3.0  # the old workers serve for 2 s more, then they drain


def check(met: dict[str, Any], what: str) -> None:
    """Print the outcomes of the clients, and check that no request failed."""
    sys.stderr.write(
        f"\n{what}: {met['answers']} answers, {met['refused']} refused, {len(met['lost'])} lost, "
        f"median {met['median_ms']} ms, worst {met['worst_ms']}, {met['statuses']}\n"
    )
    assert met["answers"] >= 30
    assert (met["refused"], met["lost"]) == (0, [])
    assert {status.split()[1] for status in met["statuses"]} == {"200"}


def warm_up() -> None:
    """Make the first requests, which take longest, before the load begins."""
    for port, path in ((5000, "/static/favicon.svg"), (5001, "/"), (6000, "/livez")):
        for _ in range(20):
            assert ask(port, path).status == 200


def test_kill_9_of_the_main_process(machine: Machine) -> None:
    """The next main process inherits the sockets; clients don't notice the crash."""
    before = main_pid()
    warm_up()
    with machine.load() as met:
        pause(BEFORE_S)
        after = kill_main()
        pause(AFTER_S)
    check(met, "kill -9 of the main process")
    assert after != before
    assert properties()["NFileDescriptorStore"] == "3"


def test_restart(machine: Machine) -> None:
    """A restart has the same hand-over as a crash."""
    before = main_pid()
    warm_up()
    with machine.load() as met:
        pause(BEFORE_S)
        systemctl("restart", UNIT)
        pause(AFTER_S)
    check(met, "systemctl restart")
    assert main_pid() != before


def test_upgrade(machine: Machine, tmp_path: Path) -> None:
    """The same command installs another version, under load."""
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", "tests")
    shutil.copytree(REPOSITORY, source, ignore=ignore)
    change(source / "supervisor" / "__init__.py", r'"[\d.]+"', '"99.0"')
    change(source / "pyproject.toml", r"(?m)^version = .*$", 'version = "99.0"')
    coach = source / "apps" / "coach" / "__init__.py"
    coach.write_text(coach.read_text() + "\n# upgraded\n")
    with machine.load() as met:
        machine.install(source)
        pause(AFTER_S)
    check(met, "upgrade")
    assert health()["version"] == "99.0"
    assert (APPS / "apps" / "coach" / "__init__.py").read_text().endswith("# upgraded\n")


def change(file: Path, pattern: str, text: str) -> None:
    """Replace the first match in a file."""
    changed, count = re.subn(pattern, text, file.read_text(), count=1)
    assert count == 1
    file.write_text(changed)


def test_a_reload_is_announced(machine: Machine) -> None:
    """`systemctl reload` reads the configuration again; no connection is refused."""
    write_app("more")
    text = Path("/etc/flask-supervisor/supervisor.toml")
    with machine.load(rate=50, clients=2) as met:
        text.write_text(
            text.read_text() + f'\n[apps.more]\ntarget = "more:app"\npath = "{APPS}/more"\n'
            "port = 5002\n"
        )
        systemctl("reload", UNIT)  # returns when it is done
        assert ask(5002).text == "more\n"
        pause(0.5)
    check(met, "systemctl reload")
    assert properties()["StatusText"] == "3 of 3 apps ready"
    assert properties()["NFileDescriptorStore"] == "4"
    text.write_text(text.read_text().replace("port = 5002", "prot = 5002"))
    refused = run("systemctl", "reload", UNIT)
    assert refused.returncode != 0
    assert "journalctl" in refused.stderr
    assert "error: " in journal() and "apps.more.prot: unknown key" in journal()
    assert properties()["ActiveState"] == "active"
    assert ask(5002).text == "more\n"


def test_stuck_orphans_are_killed(machine: Machine) -> None:
    """A worker that can't notice the end of its main process is killed after its grace time."""
    paths = {"gil": "/gil", "stopped": "/stop"}
    for name in paths:
        write_app(name, TROUBLE)
    write_config({"gil": {"port": 5000}, "stopped": {"port": 5001}})
    machine.start_anew()
    eventually(lambda: health()["status"] == "pass")
    stuck = []
    for name, path in paths.items():
        app = health()["apps"][name]
        stuck.append(app["pid"])
        with pytest.raises(OSError):
            ask(app["port"], path, timeout_s=0.3)
    kill_main()
    assert set(stuck) <= set(unit_pids())
    found = machine.command("check")  # they hold the ports too, and are no strangers
    assert set(stuck) & set(unit_pids()), "they were there while it looked"
    assert (found.returncode, "in use" in found.stdout) == (0, False), found.stdout
    for port in (5000, 5001):
        eventually(lambda port=port: ask(port, timeout_s=2).text == "well\n")
    eventually(lambda: not set(stuck) & set(unit_pids()), timeout_s=20, what="orphans are gone")
    assert "killed the workers that did not exit" in journal()
