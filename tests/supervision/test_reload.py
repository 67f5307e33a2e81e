"""Reloads of a real supervisor: nobody is refused, a bad version changes nothing."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from harness import GOOD_APP, Project, Running, ask, eventually
from load import FULL, Asking, Wrk, pollers
from observing import assert_all_answered, events, is_alive
from operating_case import call, wait_until_ready

ROUNDS = 100 if FULL else 20
SLOW = """
import time
@app.get("/slow/<float:seconds>")
def slow(seconds):
    time.sleep(seconds)
    return "done\\n"
"""
CRASHES = """
import os, threading
threading.Timer({after_s}, os._exit, [3]).start()
"""
# An app that can't run twice: it holds a lock, as a GPIO pin or a serial port is held.
ALONE = """
import fcntl
held = open("lock", "w")
try:
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    open("twice", "w").close()
    raise RuntimeError("two at once")
"""


def version(project: Project, text: str, *, more: str = "") -> None:
    """Put a new version of the coach on the disk, whole at once."""
    new = project.file("coach", "coach.py.new")
    new.write_text(GOOD_APP.format(text=text) + more)
    new.rename(project.file("coach"))


def reload(running: Running, **params: Any) -> Any:
    """Ask for a reload, by default of the coach, and return its outcome."""
    answer = call(running, "reload", timeout_s=60, **(params or {"apps": ["coach"]}))
    return answer["apps"].get("coach")


def serves(project: Project, text: str) -> bool:
    """Wait until the coach answers ``text``."""

    def served() -> bool:
        answer = ask(project.port("coach"))
        assert (answer.status, answer.text.strip()) == (200, text)
        return True

    return eventually(served, what=f"the coach answers {text!r}")


def started(project: Project, **keys: Any) -> Running:
    """Start a supervisor with a coach in version ``v0`` that has slow requests."""
    project.app("coach", GOOD_APP.format(text="v0") + SLOW, **keys)
    running = project.start()
    wait_until_ready(running, "coach")
    return running


@pytest.mark.debian("wrk")
@pytest.mark.timeout(300)
def test_reloads_in_a_row_under_load(project: Project) -> None:
    """8 keep-alive and 8 fresh clients see answers only, each version takes over."""
    running = started(project)
    port = project.port("coach")
    with Wrk(port) as wrk, pollers(port) as fresh:
        for number in range(1, ROUNDS + 1):
            version(project, f"v{number}", more=SLOW)
            assert reload(running)["ok"]
            assert serves(project, f"v{number}")
    assert wrk.failures == ""
    assert wrk.requests > ROUNDS
    for poller in fresh:
        assert_all_answered(poller)
    found = running.wait_for("coach", state="ready", status="pass", restarts=0)
    assert found["generation"] == ROUNDS + 1
    running.wait_for("coach", timeout_s=30, workers=found["workers"][-1:])
    assert found["refusal"] is None


BAD_VERSIONS = {
    "doesn't import": ("import no_such_module_at_all\n", "No module named 'no_such_module_at_all'"),
    "hangs": ("import time\ntime.sleep(3600)\n", "the import took longer than 1 s"),
    "ends while it imports": ("import os\nos._exit(7)\n", "the worker ended while it imported"),
    "crashes 0.5 s after it is ready": (
        GOOD_APP.format(text="bad") + CRASHES.format(after_s=0.5),
        "after it was ready: exit code 3",
    ),
}


@pytest.mark.parametrize("name", BAD_VERSIONS)
def test_a_bad_version_changes_nothing(project: Project, name: str) -> None:
    """Clients are answered all the time; port 6000 says what was refused until the next success."""
    source, reason = BAD_VERSIONS[name]
    running = started(project, import_timeout_s=1)
    worker = running.worker("coach")
    with pollers(project.port("coach"), count=2) as fresh:
        project.file("coach").write_text(source)
        outcome = reload(running)
        found = eventually(
            lambda: running.app("coach")["refusal"] and running.app("coach"), timeout_s=30
        )
        eventually(lambda: len(running.app("coach")["workers"]) == 1, timeout_s=30)
    assert reason in found["refusal"]["reason"]
    assert outcome["ok"] is ("0.5 s" in name)  # it did serve, for a while
    if not outcome["ok"]:
        assert reason in outcome["reason"]
    assert (found["status"], found["state"], found["pid"]) == ("warn", "ready", worker)
    assert "reload refused, what ran goes on" in found["reason"]
    for poller in fresh:
        assert_all_answered(poller)
    assert serves(project, "v0")
    version(project, "v1")
    assert reload(running)["ok"]
    assert running.wait_for("coach", refusal=None, status="pass")["pid"] != worker


def test_a_crash_after_probation_is_a_restart(project: Project) -> None:
    """Five seconds after ready the old version is gone: the new one is started again, at once."""
    running = started(project)
    version(project, "v1", more=CRASHES.format(after_s=5))
    with pollers(project.port("coach"), count=2) as fresh:
        assert reload(running)["ok"]
        found = eventually(lambda: running.app("coach")["restarts"] and running.app("coach"))
        wait_until_ready(running, "coach")
    assert found["refusal"] is None
    assert any("exit code 3" in text for text in events(running, "coach", "exited"))
    for poller in fresh:
        assert not poller.refused
        assert len(poller.failed) <= 2  # in flight when it crashed
    assert serves(project, "v1")


def test_requests_in_flight_during_a_reload(project: Project) -> None:
    """Those of 2 s and 8 s complete; one of 60 s is cut off at the limit, and the log says so."""
    running = started(project, stop_timeout_s=9)
    port = project.port("coach")
    with (
        Asking(port, "/slow/60.0") as cut,
        Asking(port, "/slow/8.0") as long,
        Asking(port, "/slow/2.0") as short,
    ):
        running.wait_for("coach", timeout_s=10)
        eventually(lambda: running.app("coach")["requests"]["busy"] == 3)
        version(project, "v1")
        began = time.monotonic()
        assert reload(running)["ok"]
        assert serves(project, "v1")
        eventually(lambda: cut.is_over, timeout_s=30)
        took_s = time.monotonic() - began
    assert short.answer is not None
    assert long.answer is not None
    assert (short.answer.text, long.answer.text) == ("done\n", "done\n")
    assert cut.answer is None
    assert 9 <= took_s < 9 + 4  # a second of probation, the limit, some for a busy machine
    eventually(lambda: "1 requests in flight were cut off" in running.log)
    running.wait_for("coach", status="pass", timeout_s=30)


def test_an_edit_in_the_same_second_is_not_missed(project: Project) -> None:
    """Python's cache of compiled files knows whole seconds and sizes only."""
    project.app("coach")
    second = int(time.time()) + 60  # the future is "just now", however late the import

    def write(text: str, nanosecond: int) -> None:
        version(project, text)
        stamp = second * 10**9 + nanosecond
        os.utime(project.file("coach"), ns=(stamp, stamp))

    write("v0", 1)
    running = project.start()
    wait_until_ready(running, "coach")
    assert serves(project, "v0")
    write("v1", 2)
    assert reload(running)["ok"]
    assert serves(project, "v1")


def test_a_reload_that_is_done_is_done(project: Project) -> None:
    """As soon as the command ends, nobody is answered by the old version any more."""
    running = started(project)
    with Wrk(project.port("coach")):  # a busy old worker hears late that it is paused
        for number in range(1, 9):
            version(project, f"v{number}")
            assert reload(running)["ok"]
            answers = {ask(project.port("coach")).text.strip() for _ in range(5)}
            assert answers == {f"v{number}"}


def test_a_reload_of_an_app_that_cannot_run_twice(project: Project) -> None:
    """The old worker ends before the new one imports, requests wait meanwhile: none is refused."""
    project.app("coach", GOOD_APP.format(text="v0") + ALONE, reload="replace")
    running = project.start()
    wait_until_ready(running, "coach")
    with pollers(project.port("coach"), count=4) as fresh:
        for number in range(1, 6):
            old = running.worker("coach")
            version(project, f"v{number}", more=ALONE)
            assert reload(running)["ok"]
            assert not is_alive(old)
            assert serves(project, f"v{number}")
    assert not project.file("coach", "twice").exists()
    for poller in fresh:
        assert_all_answered(poller)


def test_reload_of_a_broken_app_that_cannot_run_twice(project: Project) -> None:
    """Its files are read beforehand: what would fail is refused, and what runs is not stopped."""
    project.app("coach", GOOD_APP.format(text="v0") + ALONE, reload="replace")
    running = project.start()
    wait_until_ready(running, "coach")
    project.file("coach").write_text("import no_such_module_at_all\n")
    outcome = reload(running)
    assert not outcome["ok"]
    assert "no_such_module_at_all" in outcome["reason"]
    assert serves(project, "v0")
    assert "no_such_module_at_all" in running.app("coach")["refusal"]["reason"]
    version(project, "v1", more=ALONE)
    assert reload(running)["ok"]
    assert serves(project, "v1")
    assert running.app("coach")["refusal"] is None


def test_a_crash_at_import_of_an_app_that_cannot_run_twice(project: Project) -> None:
    """What reading doesn't show stops it: its port says why, and a repair is taken at once."""
    project.app("coach", GOOD_APP.format(text="v0") + ALONE, reload="replace")
    running = project.start()
    wait_until_ready(running, "coach")
    project.file("coach").write_text("raise ValueError('no such pin')\n")
    outcome = reload(running)
    assert not outcome["ok"]
    assert "no such pin" in outcome["reason"]
    version(project, "v1", more=ALONE)
    wait_until_ready(running, "coach")
    assert serves(project, "v1")
    assert not project.file("coach", "twice").exists()


def test_code_that_is_not_the_code_that_runs(project: Project) -> None:
    """`stale` appears and goes with a reload without a name, which touches only that app."""
    project.app("other")
    running = started(project)
    wait_until_ready(running, "other")
    others = running.worker("other")
    assert running.app("coach")["stale"] is False
    version(project, "v1")
    found = running.wait_for("coach", stale=True, timeout_s=40)
    assert (found["status"], found["state"]) == ("warn", "ready")
    assert found["hint"] == "let it run with: flask-supervisor reload coach"
    assert serves(project, "v0")
    result = project.command("reload")
    assert result.returncode == 0
    assert result.stdout.startswith("the configuration: nothing has changed\ncoach: ready")
    assert serves(project, "v1")
    running.wait_for("coach", stale=False, status="pass")
    assert running.worker("other") == others
    assert project.command("reload").stdout == "the configuration: nothing has changed\n"


def test_an_edit_that_is_taken_back_is_not_stale(project: Project) -> None:
    """`stale` says what is so now, not what was."""
    running = started(project)
    kept = project.file("coach", "kept.py")
    project.file("coach").rename(kept)
    running.wait_for("coach", stale=True, timeout_s=40)
    kept.rename(project.file("coach"))
    running.wait_for("coach", stale=False, status="pass", timeout_s=40)
    assert serves(project, "v0")


# ---- run --reload


def developing(project: Project) -> Running:
    """Start a supervisor that reloads what is saved."""
    project.app("coach", GOOD_APP.format(text="v0"))
    running = project.start(arguments=["--reload"])
    wait_until_ready(running, "coach")
    return running


def test_a_saved_file_reloads_its_app(project: Project) -> None:
    """Again and again, without a word to anybody, and without a gap."""
    running = developing(project)
    with pollers(project.port("coach"), count=2) as fresh:
        for number in range(1, 4):
            version(project, f"v{number}")
            assert serves(project, f"v{number}")
    for poller in fresh:
        assert_all_answered(poller)
    assert running.wait_for("coach", status="pass")["restarts"] == 0


def test_a_broken_save_is_said_once(project: Project) -> None:
    """The old version serves, the error is in the log once, and the repair is served."""
    running = developing(project)
    project.file("coach").write_text("import no_such_module_at_all\n")
    found = eventually(lambda: running.app("coach")["refusal"] and running.app("coach"))
    assert "no_such_module_at_all" in found["refusal"]["reason"]
    assert serves(project, "v0")
    refused = "reload refused, what runs goes on: ModuleNotFoundError"
    assert running.log.count(refused) == 1
    project.file("coach").write_text("import no_such_module_at_all  # saved again\n")
    eventually(lambda: len(events(running, "coach", "files_changed")) == 2)
    running.wait_for("coach", workers=running.app("coach")["workers"][:1])
    assert running.log.count(refused) == 1
    version(project, "v1")
    assert serves(project, "v1")
    assert running.wait_for("coach", refusal=None, status="pass")


def test_a_saved_template_reloads(project: Project) -> None:
    """Flask keeps templates in memory: a change of one is a change of the app."""
    page = """
from flask import Flask, render_template
app = Flask(__name__)
@app.get("/")
def index():
    return render_template("page.html")
"""
    project.app("coach", page)
    template: Path = project.file("coach", "templates/page.html")
    template.parent.mkdir()
    template.write_text("t0")
    running = project.start(arguments=["--reload"])
    wait_until_ready(running, "coach")
    assert serves(project, "t0")
    template.write_text("t1")
    assert serves(project, "t1")
