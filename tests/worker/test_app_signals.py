"""An app that handles SIGTERM itself: its handler is the last thing that runs in its worker."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Project, Running, ask, eventually
from wire import Wire

APP = """
import os, signal, sys, time
from pathlib import Path
from flask import Flask

app = Flask(__name__)
notes = Path(__file__).with_name("notes")


def note(text):
    with notes.open("a") as file:
        file.write(f"{text} {os.getpid()}\\n")


def motors_off(number, frame):
    note(f"off {signal.Signals(number).name} {frame is not None}")
    ENDING


signal.signal(signal.SIGTERM, motors_off)


@app.get("/")
def index():
    return str(os.getpid())


@app.get("/slow")
def slow():
    note("begins")
    time.sleep(1)
    note("answers")
    return "slow"
"""

ENDINGS = {
    "returns": "pass",
    "exits": "sys.exit(3)",
    "raises": "raise RuntimeError('stuck motor')",
    "ends by the signal": "signal.signal(number, signal.SIG_DFL); os.kill(os.getpid(), number)",
}


def start(project: Project, ending: str = "pass", **keys: object) -> Running:
    """Run the app with a handler that ends like this."""
    project.app("coach", APP.replace("ENDING", ending), **keys)
    running = project.start()
    running.worker("coach")
    return running


def notes(project: Project) -> list[str]:
    """Return what the app has noted."""
    file = Path(project.file("coach", "notes"))
    return file.read_text().splitlines() if file.exists() else []


def stop(running: Running, _pid: int) -> None:
    """Stop the supervisor."""
    assert running.stop() == 0


def stop_app(running: Running, _pid: int) -> None:
    """Stop the app by the command."""
    assert running.project.command("stop", "coach").returncode == 0


def reload(running: Running, _pid: int) -> None:
    """Replace the worker by overlap."""
    assert running.project.command("reload", "coach").returncode == 0


def terminate(_running: Running, pid: int) -> None:
    """Send SIGTERM to the worker."""
    os.kill(pid, signal.SIGTERM)


@pytest.mark.parametrize("end", [stop, stop_app, reload, terminate])
def test_the_handler_runs_after_the_drain(
    project: Project, end: Callable[[Running, int], None]
) -> None:
    """Its request in flight is answered first, and then the handler runs, however it is ended."""
    running = start(project)
    pid = running.worker("coach")
    with Wire(running.project.port("coach")) as wire:
        wire.get("/slow")
        eventually(lambda: notes(project) == [f"begins {pid}"])
        end(running, pid)
        assert wire.answer().text == "slow"
    expected = [f"begins {pid}", f"answers {pid}", f"off SIGTERM True {pid}"]
    eventually(lambda: notes(project) == expected, what=f"{notes(project)}")


@pytest.mark.parametrize("ending", ENDINGS)
def test_however_the_handler_ends_the_worker_ends(project: Project, ending: str) -> None:
    """The app starts again after a restart, and only an exception is in the log."""
    running = start(project, ENDINGS[ending])
    pid = running.worker("coach")
    assert project.command("restart", "coach").returncode == 0
    assert running.worker("coach") != pid
    assert notes(project) == [f"off SIGTERM True {pid}"]
    assert ("RuntimeError: stuck motor" in running.log) == (ending == "raises")


def test_a_handler_that_hangs_is_ended(project: Project) -> None:
    """The worker is killed at its limit; a stop is not delayed beyond it."""
    running = start(project, "time.sleep(600)", stop_timeout_s=1)
    pid = running.worker("coach")
    assert project.command("restart", "coach").returncode == 0
    assert running.worker("coach") != pid
    assert ask(project.port("coach")).text == str(running.worker("coach"))


def test_a_killed_worker_calls_nothing(project: Project) -> None:
    """SIGKILL, and so the end of the main process, leaves no time for the handler."""
    running = start(project)
    running.kill()
    eventually(lambda: not project.processes())
    assert notes(project) == []
