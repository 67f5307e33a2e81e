"""The end of the supervisor: requests are finished, nothing is left, nothing hangs."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from harness import GOOD_APP, Answer, Project, Running, ask, eventually
from observing import is_alive, is_open, refused_with

SLOW = """
import time
from pathlib import Path

@app.get("/slow/<float:seconds>")
def slow(seconds):
    Path("begun").touch()
    time.sleep(seconds)
    return "done\\n"

@app.get("/stuck")
def stuck():
    Path("begun").touch()
    sum(range(10**18))
"""
IGNORES = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


@contextmanager
def asked(project: Project, path: str) -> Iterator[list[Answer]]:
    """Ask the coach for ``path`` in a thread; its answer is in the list after the block."""
    answers: list[Answer] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            answers.append(ask(project.port("coach"), path, timeout_s=15))
        except Exception as error:
            failures.append(error)  # a worker that is killed answers nothing

    thread = threading.Thread(target=run)
    thread.start()
    try:
        eventually(project.file("coach", "begun").exists)
        yield answers
    finally:
        thread.join(20)
    assert answers or failures


def assert_nothing_is_left(running: Running) -> None:
    """Fail if a process, a listener or the control socket is there after the end."""
    project = running.project
    assert not project.processes()
    assert not (project.folder / ".flask-supervisor" / "control.sock").exists()
    for port in [project.status_port, *(project.port(name) for name in project.apps)]:
        assert not is_open(port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_flight_is_finished(project: Project, number: signal.Signals) -> None:
    """Exit code 0, the answer of a request that takes a second arrives, nothing is left."""
    project.app("coach", GOOD_APP.format(text="coach") + SLOW)
    project.app("broken", "1 / 0\n")
    running = project.start()
    running.wait_for("coach", state="ready")
    refused_with(project.port("broken"), "ZeroDivisionError")
    with asked(project, "/slow/1.0") as answers:
        began = time.monotonic()
        assert running.stop(number) == 0
        took_s = time.monotonic() - began
    assert [answer.text for answer in answers] == ["done\n"]
    assert answers[0].headers["connection"] == "close"
    assert took_s < 4  # the request, and some for a busy machine
    assert_nothing_is_left(running)


def test_an_idle_supervisor_ends_at_once(project: Project) -> None:
    """With nothing to finish the end takes no more than a moment, though a client stays."""
    port = project.app("coach")
    running = project.start()
    running.wait_for("coach", state="ready")
    with socket.create_connection(("127.0.0.1", port)) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert idle.recv(4096).startswith(b"HTTP/1.1 200 ")
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 1.5
    assert_nothing_is_left(running)


@pytest.mark.parametrize("path", ["/slow/60.0", "/stuck"])
def test_a_request_that_does_not_end_is_cut_off(project: Project, path: str) -> None:
    """A worker that ignores SIGTERM and hangs is killed at shutdown_timeout_s and a second."""
    project.supervisor["shutdown_timeout_s"] = 0.5
    project.app("coach", IGNORES + GOOD_APP.format(text="coach") + SLOW + IGNORES)
    running = project.start()
    running.wait_for("coach", state="ready")
    with asked(project, path) as answers:
        began = time.monotonic()
        assert running.stop() == 0
        took_s = time.monotonic() - began
    assert not answers
    assert 0.5 <= took_s < 2.5  # 1.5, and some for a busy machine
    assert_nothing_is_left(running)


def test_a_stop_during_an_import(project: Project) -> None:
    """Imports that never end don't hold up the end."""
    project.app("coach", "import time\ntime.sleep(3600)\n")
    project.app("stuck", "sum(range(10**18))\n")
    project.app(
        "swallows",
        "import time\nwhile True:\n    try:\n        time.sleep(9)\n    except:\n        pass\n",
    )
    running = project.start()
    began = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - began < 1.5
    assert_nothing_is_left(running)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal(project: Project, second: signal.Signals) -> None:
    """A second SIGINT ends everything at once; a second SIGTERM is patient, as systemd expects."""
    project.supervisor["shutdown_timeout_s"] = 1.5 if second == signal.SIGTERM else 60
    project.app("coach", GOOD_APP.format(text="coach") + SLOW)
    running = project.start()
    worker = running.worker("coach")
    with asked(project, "/slow/1.0" if second == signal.SIGTERM else "/slow/9.0") as answers:
        running.process.send_signal(signal.SIGINT)
        eventually(lambda: '"stopping"' in running.log)
        began = time.monotonic()
        assert running.stop(second) == 0
        took_s = time.monotonic() - began
    assert not is_alive(worker)
    if second == signal.SIGINT:
        assert took_s < 1.5
        assert not answers
    else:
        assert [answer.text for answer in answers] == ["done\n"]
    assert_nothing_is_left(running)


def test_signals_during_the_start(project: Project) -> None:
    """A supervisor that is stopped while it starts leaves nothing behind."""
    for name in ("coach", "admin"):
        project.app(name, "import time\ntime.sleep(0.2)\n" + GOOD_APP.format(text=name))
    running = project.start(wait=False)
    lock = project.folder / ".flask-supervisor" / "control.sock"
    eventually(lock.exists)
    assert running.stop() == 0
    assert_nothing_is_left(running)
