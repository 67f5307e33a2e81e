"""What an app starts ends with its worker, whatever the app did to let it live on."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from children import lives
from harness import Project, Running, ask, eventually
from operating_case import call

APP = """
import os, subprocess, sys
from pathlib import Path
from flask import Flask

app = Flask(__name__)
SLEEP = ["sleep", "600"]
NOWHERE = {name: subprocess.DEVNULL for name in ("stdin", "stdout", "stderr")}
NOTES = Path(os.environ["FLASK_SUPERVISOR_DATA_DIR"])


def own_session(**more):
    return subprocess.Popen(SLEEP, start_new_session=True, **NOWHERE, **more).pid


def daemon(name, script):
    "A process without its parent, in its own session."
    subprocess.run(["setsid", "--fork", "sh", "-c", f"echo $$ > {NOTES}/{name}; {script}"],
                   **NOWHERE)
    while not (file := NOTES / name).exists() or not file.read_text():
        pass
    return int(file.read_text())


@app.get("/start")
def start():
    return {
        "own session": own_session(),
        "no environment": own_session(env={}),
        "own group": subprocess.Popen(SLEEP, process_group=0, **NOWHERE).pid,
        "daemon": daemon("daemon", "exec sleep 600"),
        "stubborn": daemon("stubborn", "trap '' TERM; sleep 600 & sleep 600; sleep 600"),
        "gentle": daemon("gentle", f"trap 'echo saved > {NOTES}/saved; exit' TERM; "
                                   "while :; do sleep 0.1; done"),
    }


@app.get("/one")
def one():
    return {"own session": own_session()}
"""
ENDS: dict[str, Callable[[Running], object]] = {
    "crash": lambda running: os.kill(running.worker("camera"), signal.SIGKILL),
    "stop": lambda running: call(running, "stop", apps=["camera"]),
    "reload": lambda running: call(running, "reload", apps=["camera"]),
    "end": lambda running: running.stop(),
    "kill": lambda running: running.kill(),
}


def started(running: Running, path: str = "/start") -> dict[str, int]:
    """Let the app start its programs; return their pids."""
    pids = ask(running.project.port("camera"), path, timeout_s=30).json
    assert all(map(lives, pids.values())), pids
    return dict(pids)


@pytest.fixture
def running(project: Project) -> Running:
    """A supervisor with the app, and one whose daemon has nothing to do with it."""
    for name in ("camera", "other"):
        project.app(name, APP)
    running = project.start()
    running.worker("camera")
    running.worker("other")
    return running


@pytest.mark.parametrize("how", ENDS)
def test_programs_end_with_their_worker(running: Running, how: str) -> None:
    """Those in a session of their own and daemons too; those of another app's worker live on."""
    project = running.project
    others = ask(project.port("other"), "/start", timeout_s=30).json
    eventually(lambda: ask(project.status_port, "/livez").status == 200)
    pids = started(running)
    later = os.times().elapsed + 1.5  # the main process has seen the daemons
    eventually(lambda: os.times().elapsed > later)
    ENDS[how](running)
    if how == "kill":  # nobody knows them: see docs/operating.md
        os.kill(pids.pop("no environment"), signal.SIGKILL)
        os.kill(others.pop("no environment"), signal.SIGKILL)
    eventually(lambda: not any(map(lives, pids.values())), timeout_s=20, what=f"{how}: {pids}")
    saved = project.folder / ".flask-supervisor" / "data" / "camera" / "saved"
    assert saved.read_text() == "saved\n"  # it was asked, before it was killed
    if how in ("end", "kill"):
        eventually(lambda: not any(map(lives, others.values())), timeout_s=20)
        assert not guardians(project)
    else:
        assert all(map(lives, others.values()))


def guardians(project: Project) -> list[Path]:
    """Return the processes that wait for the end of a main process of this test."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        runs = [f"{running.process.pid}-".encode() for running in project.started]
        if words[0] == b"fs-guardian" and any(word.startswith(tuple(runs)) for word in words):
            found.append(entry)
    return found


def test_a_check_leaves_nothing(project: Project) -> None:
    """A program that an app starts at its import ends with the check."""
    file = project.folder / "pid"
    project.app("camera", APP + f"\nPath({str(file)!r}).write_text(str(own_session()))\n")
    done = project.command("check", "camera")
    assert done.returncode == 0, done.stderr
    eventually(lambda: not lives(int(file.read_text())))


def test_an_import_that_fails_leaves_nothing(project: Project) -> None:
    """What an app has started before its import failed ends with that worker."""
    source = APP + "\n(NOTES / 'pid').write_text(str(own_session()))\nimport not_there\n"
    project.app("camera", source)
    running = project.start()
    running.wait_for("camera", says="not_there")
    file = project.folder / ".flask-supervisor" / "data" / "camera" / "pid"
    eventually(lambda: not lives(int(file.read_text())))


def test_the_environment_names_who_started_a_program(running: Running) -> None:
    """On an interpreter of its own, a worker marks its programs as a forked one does."""
    running.project.apps["camera"]["python"] = sys.executable
    running.project.write()
    assert running.project.command("reload").returncode == 0
    pid = started(running, "/one")["own session"]
    mark = f"FLASK_SUPERVISOR_STARTED_BY={running.process.pid}-".encode()
    eventually(lambda: mark in Path(f"/proc/{pid}/environ").read_bytes())  # execve is not over
    os.kill(running.worker("camera"), signal.SIGKILL)
    eventually(lambda: not lives(pid))
