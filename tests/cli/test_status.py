"""``flask-supervisor status``: of all apps, of some, and again every second."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Project, Running, eventually
from operating_case import ESCAPES, Following, wait_until_ready

from supervisor.cli.process_usage import CpuMeter, with_usage


@pytest.fixture
def running(project: Project) -> Iterator[Running]:
    """Run two apps, which must survive the test."""
    for name in ("admin", "coach"):
        project.app(name)
    started = project.start()
    wait_until_ready(started, "admin", "coach")
    yield started
    assert started.process.poll() is None


def test_some_apps_only(project: Project, running: Running) -> None:
    """The named apps are shown, and decide the exit code."""
    assert project.command("stop", "coach").returncode == 0
    running.wait_for("coach", state="stopped")
    admin = project.command("status", "admin")
    assert (admin.returncode, admin.stderr) == (0, "")
    assert "admin" in admin.stdout
    assert "coach" not in admin.stdout
    assert project.command("status", "coach").returncode == 1
    both = project.command("status", "coach", "admin", "--json")
    assert both.returncode == 1
    assert list(json.loads(both.stdout)["apps"]) == ["admin", "coach"]


def test_an_unknown_app(project: Project, running: Running) -> None:
    """Exit code 1, and the names of the apps."""
    found = project.command("status", "couch")
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == "error: there is no app 'couch'; known: admin, coach\n"
    project.app("camera", enabled=False)
    project.write()
    assert project.command("reload").returncode == 0
    found = project.command("status", "admin", "camera")
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith("error: app 'camera' is disabled\n  set enabled = true")


# ---- status --watch


def test_status_goes_on_on_a_terminal(project: Project, running: Running) -> None:
    """It is printed again every second, in colours, until Ctrl-C."""
    with Following(project, "status", "--watch", terminal=True) as following:
        following.wait_for("\x1b[32mready")
        assert project.command("stop", "coach").returncode == 0
        following.wait_for("\x1b[33mstopped")
        following.wait_for("stopped by an operator")
        assert "\x1b[2J" in following.text  # the screen is cleared
        last = ESCAPES.sub("", following.text.rpartition("\x1b[2J")[2])
        assert last.count("flask-supervisor 0") <= 1
        assert following.end(signal.SIGINT) == (1, "")  # as `status`: one app is not ready
    assert running.process.poll() is None


def test_status_goes_on_in_a_pipe(project: Project, running: Running) -> None:
    """Without a terminal there are no colours; --watch and --json exclude each other."""
    with Following(project, "status", "--watch") as following:
        eventually(lambda: following.text.count("flask-supervisor 0") >= 2)
        assert "\x1b" not in following.text
        assert following.end(signal.SIGINT) == (0, "")
    assert project.command("status", "--watch", "--json").returncode == 2
    assert running.process.poll() is None


# ---- CPU and memory

BUSY = """
import threading, time
from flask import Flask
app = Flask(__name__)
block = bytearray(40 * 1024 * 1024)

def work():
    while True:
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            pass
        time.sleep(0.02)

threading.Thread(target=work, daemon=True).start()
"""


def test_cpu_and_memory(project: Project) -> None:
    """A busy worker with much memory is distinguished from an idle one, for people and programs."""
    project.app("busy", BUSY)
    project.app("idle")
    started = project.start()
    wait_until_ready(started, "busy", "idle")
    found = json.loads(project.command("status", "-v", "--json").stdout)
    assert found["pid"] == started.process.pid
    assert 0 <= found["cpu_percent"] < 90
    assert 5 < found["memory_mb"] < 200
    [busy], [idle] = (found["apps"][name]["workers"] for name in ("busy", "idle"))
    assert busy["cpu_percent"] > 4 > idle["cpu_percent"]  # this machine may be busy
    assert busy["memory_mb"] > idle["memory_mb"] + 35
    shown = project.command("status", "--verbose").stdout
    assert f"worker {busy['pid']}: generation 1, ready, CPU " in shown
    assert shown.count(" MiB") == 3
    assert re.search(
        r"^  machine: .*memory \d+ % free, disk \d+ % free, up \d", shown, re.MULTILINE
    )
    assert shown.count("since 2") == 2
    plain = json.loads(project.command("status", "--json").stdout)
    assert "cpu_percent" not in plain
    assert plain["host"]["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert 0 <= plain["host"]["age_s"] < 60
    assert set(plain["apps"]["busy"]["workers"][0]) == {"pid", "generation", "state"}


def test_a_process_that_has_ended_has_no_usage() -> None:
    """Unknown values are None: of pids that nobody has, and of processes without a first sample."""
    meter = CpuMeter()
    gone = 2**22 + 1  # proc_sys_kernel(5): above every pid_max
    snapshot = {"pid": os.getpid(), "apps": {"a": {"workers": [{"pid": gone}]}}}
    found = with_usage(snapshot, meter)
    assert found["cpu_percent"] is not None
    assert found["apps"]["a"]["workers"] == [{"pid": gone, "cpu_percent": None, "memory_mb": None}]
    assert meter.percent([os.getppid()]) == {}
