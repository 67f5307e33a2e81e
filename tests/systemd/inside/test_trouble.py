"""Faults in the field: imports, ports, the clock, an empty /run, the sandbox."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from harness import ask, eventually
from machine import (
    COMMAND,
    CONFIG,
    STATE,
    SYSTEM,
    UNIT,
    Machine,
    app_health,
    health,
    main_pid,
    properties,
    refused,
    run,
    systemctl,
    write_app,
    write_config,
)

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
WRITER = """
from flask import Flask
app = Flask(__name__)
open("/srv/photos/log", "a").write("started\\n")

@app.get("/")
def index():
    return "well\\n"
"""


def hold(port: int) -> None:
    """Start another service that holds a port."""
    code = f"import http.server as h; h.test(port={port}, bind='0.0.0.0')"
    done = run("systemd-run", "--unit=camera", "--collect", "python3", "-c", code)
    assert done.returncode == 0, done.stderr
    eventually(lambda: not refused(port))


def test_the_unit_is_active_whatever_its_apps_do(machine: Machine) -> None:
    """An app that can't be imported and a port that is taken: STATUS says why, others serve."""
    write_app("good")
    write_app("broken", "import nothing_like_this\n")
    write_app("blocked")
    write_config({"good": {"port": 5000}, "broken": {"port": 5001}, "blocked": {"port": 5002}})
    systemctl("stop", UNIT)
    hold(5002)
    try:
        systemctl("start", UNIT)
        assert properties()["ActiveState"] == "active"
        eventually(lambda: ask(5000).text == "good\n")
        assert ask(5001).status == 503
        eventually(lambda: "camera.service" in properties()["StatusText"])
        eventually(lambda: properties()["StatusText"].startswith("1 of 3 apps ready; "))
        words = properties()["StatusText"]
        assert "broken: ModuleNotFoundError: No module named 'nothing_like_this'" in words
        assert "blocked: port 5002 is in use by" in words
    finally:
        systemctl("stop", "camera.service")
    eventually(lambda: ask(5002).text == "blocked\n", timeout_s=20)
    eventually(lambda: "2 of 3 apps ready" in properties()["StatusText"])


def test_a_boot(machine: Machine) -> None:
    """With nothing in /run and no state, the target of a boot brings everything up."""
    systemctl("stop", UNIT)
    shutil.rmtree(STATE)
    systemctl("start", "multi-user.target")
    eventually(lambda: health()["status"] == "pass", timeout_s=30)
    assert (STATE.stat().st_mode & 0o777, STATE.owner()) == (0o700, "flask-supervisor")


def test_an_address_that_comes_late(machine: Machine) -> None:
    """Wi-Fi that isn't up at boot: the unit is ready, and the app serves when the address is."""
    write_app("late")
    write_config({"late": {"port": 5001, "host": "192.0.2.7"}})
    machine.start_anew()
    assert "no network interface has this address yet" in properties()["StatusText"]
    assert run("ip", "address", "add", "192.0.2.7/32", "dev", "lo").returncode == 0
    try:
        eventually(lambda: ask(5001, host="192.0.2.7").text == "late\n", timeout_s=20)
    finally:
        run("ip", "address", "del", "192.0.2.7/32", "dev", "lo")


@pytest.mark.debian("faketime")
def test_a_clock_that_starts_in_1970(machine: Machine, tmp_path: Path) -> None:
    """No restart when the clock is set by 56 years; ages are right before and after."""
    clock = Path("/srv/clock")
    clock.write_text("@1970-01-01 00:00:10\n")
    clock.chmod(0o644)
    machine.override(
        f"Environment=LD_PRELOAD={FAKETIME} FAKETIME_TIMESTAMP_FILE={clock} FAKETIME_NO_CACHE=1 "
        "FAKETIME_DONT_FAKE_MONOTONIC=1"
    )
    systemctl("stop", UNIT)
    began = time.monotonic()
    systemctl("start", UNIT)
    before = eventually(lambda: health() if health()["status"] == "pass" else None)
    assert before["started"].startswith("1970-01-01T00:00:")
    pids = (before["pid"], before["apps"]["coach"]["pid"])
    clock.write_text("+0\n")
    now = time.strftime("%Y-")
    eventually(lambda: _wall_year(machine).startswith(now), timeout_s=20)
    after = health()
    assert after["status"] == "pass"
    assert (after["pid"], after["apps"]["coach"]["pid"]) == pids
    assert after["apps"]["coach"]["restarts"] == 0
    assert 0 <= after["age_s"] <= time.monotonic() - began + 1
    assert 0 <= after["apps"]["coach"]["age_s"] <= after["age_s"]


def _wall_year(machine: Machine) -> str:
    """Return the time of an event that happens now, by the service's clock."""
    done = machine.command("restart", "admin", "--json")
    assert done.returncode == 0, done.stderr
    return str(health()["events"][-1]["time"])


def test_the_sandbox(machine: Machine) -> None:
    """An app that writes to a read-only folder fails, with the key to set; with it, it works."""
    folder = Path("/srv/photos")
    folder.mkdir(exist_ok=True)
    shutil.chown(folder, "flask-supervisor")
    write_app("writer", WRITER)
    write_config({"writer": {"port": 5001}})
    machine.start_anew()
    answer = eventually(lambda: ask(5001).json if "Errno" in ask(5001).text else None)
    assert answer["status"] == 503
    assert "Read-only file system" in answer["detail"]
    assert "`writable`" in answer["hint"]
    assert "service install" in answer["hint"]
    found = json.loads(machine.command("doctor", "--json").stdout)
    [finding] = [one for one in found if "sandbox" in one["text"]]
    assert "app writer may not write /srv/photos/log" in finding["text"]
    assert 'add "/srv/photos" to `writable` in [apps.writer]' in finding["hint"]

    write_config({"writer": {"port": 5001, "writable": ["/srv/photos"]}})
    done = machine.command("service", "install")
    assert done.returncode == 0, done.stderr
    eventually(lambda: app_health("writer")["state"] == "ready")
    assert (folder / "log").read_text()
    assert not Path("/etc/written").exists()


def test_doctor_sees_what_is_wrong_with_the_service(machine: Machine) -> None:
    """Disabled, changed, stopped, and another supervisor beside it: each is a diagnosis."""

    def texts() -> str:
        found = json.loads(machine.command("doctor", "--json").stdout)
        return "\n".join(one["text"] for one in found if one["topic"] == "service")

    assert f"running as pid {main_pid()}: 2 of 2 apps ready" in texts()
    assert "the unit is up to date" in texts()
    assert "its log can be read" in texts()

    unit = SYSTEM / UNIT
    shipped = unit.read_text()
    other = CONFIG.with_name("other.toml")
    write_app("other")
    write_config({"other": {"port": 5001}}, other, state_dir="/tmp/other", status_port=6001)
    by_hand = subprocess.Popen(
        [COMMAND, "run", "--config", other], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        systemctl("disable", UNIT)
        unit.write_text(shipped + "\n# changed\n")
        eventually(lambda: ask(6001, "/livez").status == 200)
        said = texts()
        assert "not enabled (disabled)" in said
        assert f"differs from what `service install` would write: {unit}" in said
        assert f"another supervisor runs beside the service, as pid {by_hand.pid} (" in said
        systemctl("stop", UNIT)
        assert "not running: inactive (dead)" in texts()
    finally:
        by_hand.terminate()
        log = by_hand.communicate(timeout=30)[1].decode()
        unit.write_text(shipped)
        systemctl("enable", UNIT)
    assert "the service flask-supervisor runs beside this one, as pid" in log
    assert "port 5001 is in use by another flask-supervisor, pid" in log
    assert "kill" not in log
