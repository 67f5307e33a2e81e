"""A stop leaves no process, even a stuck one; the watchdog aborts a stuck main process."""

import os
import signal
import time
from pathlib import Path

import pytest
from harness import ask, eventually
from machine import (
    PORTS,
    TROUBLE,
    UNIT,
    Machine,
    health,
    journal,
    kill_main,
    main_pid,
    parent,
    pause,
    properties,
    refused,
    signal_main,
    systemctl,
    unit_pids,
    write_app,
    write_config,
)

# Starts a daemon: a process with its own session, without its parent and output.
DAEMON = """
import subprocess, sys
from flask import Flask
app = Flask(__name__)
subprocess.Popen(
    ["setsid", "--fork", "sleep", "600"],
    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
).wait()
"""
STOP_S = 8.0  # shutdown_timeout_s is 1; the rest is a busy machine


def stop_and_look() -> None:
    """Stop the service; no process may be left, and its ports are free."""
    began = time.monotonic()
    systemctl("stop", UNIT)
    assert time.monotonic() - began < STOP_S
    assert unit_pids() == []
    assert properties()["ActiveState"] == "inactive"
    for port in PORTS:
        assert refused(port)


def test_stop_with_stuck_workers(machine: Machine) -> None:
    """A worker that holds the GIL, one under SIGSTOP, and a daemon of an app: all are killed."""
    for name in ("gil", "stopped"):
        write_app(name, TROUBLE)
    write_app("daemon", DAEMON)
    write_config({"gil": {"port": 5000}, "stopped": {"port": 5001}, "daemon": {"port": 5002}})
    machine.start_anew()
    eventually(lambda: health()["status"] == "pass")
    for port, path in ((5000, "/gil"), (5001, "/stop")):
        with pytest.raises(OSError):
            ask(port, path, timeout_s=0.3)
    commands = [Path(f"/proc/{pid}/comm").read_text() for pid in unit_pids()]
    assert "sleep\n" in commands
    stop_and_look()


def test_stop_right_after_a_crash(machine: Machine) -> None:
    """A stop also kills the workers of a main process that has just died."""
    kill_main()
    stop_and_look()


def test_a_main_process_that_is_stuck(machine: Machine) -> None:
    """Under SIGSTOP: /livez says so within 4 s, the watchdog acts, and no port ever refuses."""
    machine.override("WatchdogSec=6s")
    machine.start_anew()
    eventually(lambda: health()["status"] == "pass")
    before = main_pid()
    with machine.load("http://127.0.0.1:5001/", "http://127.0.0.1:6000/livez", rate=60) as met:
        stopped = time.monotonic()
        signal_main(signal.SIGSTOP)
        eventually(lambda: ask(6000, "/livez").status == 503, timeout_s=10)
        assert time.monotonic() - stopped < 6  # 4 s, on a busy machine
        eventually(lambda: main_pid() not in (0, before), timeout_s=30)
        eventually(lambda: ask(6000, "/livez").status == 200, timeout_s=30)
        pause(1)
    assert (met["refused"], met["lost"]) == (0, [])
    assert properties()["NRestarts"] == "1"
    assert "Fatal Python error: Aborted" in journal()  # and where it was


def test_a_slow_main_process_is_not_aborted(machine: Machine) -> None:
    """As long as the main loop makes progress, however slowly, the watchdog is fed."""
    machine.override("WatchdogSec=2s")
    machine.start_anew()
    before = main_pid()
    for _ in range(2):
        os.kill(before, signal.SIGSTOP)
        pause(0.5)
        os.kill(before, signal.SIGCONT)
        pause(1.2)
    assert main_pid() == before


# Starts a program in a session of its own, and a daemon.
STARTS = """
import subprocess
from flask import Flask
app = Flask(__name__)
NOWHERE = {name: subprocess.DEVNULL for name in ("stdin", "stdout", "stderr")}

@app.get("/")
def start():
    subprocess.Popen(["sleep", "600"], start_new_session=True, **NOWHERE)
    subprocess.run(["setsid", "--fork", "sleep", "600"], **NOWHERE)
    return "started\\n"
"""


def all_descend_from(ancestor: int) -> bool:
    """Return whether each process of the unit is ``ancestor`` or comes from it."""
    parents = {pid: parent(pid) for pid in unit_pids()}
    for pid in parents:
        while pid not in (ancestor, 0):
            pid = parents.get(pid, 0)
        if pid != ancestor:
            return False
    return ancestor in parents


def _commands() -> list[str]:
    """Return what the processes of the unit run."""
    return [Path(f"/proc/{pid}/comm").read_text() for pid in unit_pids()]


def test_programs_of_apps_after_a_crash(machine: Machine) -> None:
    """After `kill -9` of the main process they end with the old workers, also those begun late."""
    write_app("camera", STARTS)
    write_config({"camera": {"port": 5000}})
    machine.start_anew()
    eventually(lambda: health()["status"] == "pass")
    assert ask(5000).status == 200
    old = unit_pids()
    kill_main()
    for _ in range(5):
        assert ask(5000).status == 200  # by a worker of the old main process, or of the next one
    eventually(lambda: not set(old).intersection(unit_pids()), timeout_s=30)
    eventually(lambda: all_descend_from(main_pid()), timeout_s=30)
    assert ask(5000).status == 200
    eventually(lambda: _commands().count("sleep\n") >= 2)  # a moment ago one was setsid
    stop_and_look()
