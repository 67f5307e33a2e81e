"""Start, stop, restart and reload from a terminal, on real apps with real clients."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from harness import GOOD_APP, Poller, Project, ask, eventually, process_in_test
from operating_case import (
    HOLDER,
    Following,
    Stopwatch,
    wait_until_ready,
)

SLOW_APP = """
import os, time
from flask import Flask
app = Flask(__name__)

@app.get("/")
def index():
    return "coach\\n"

@app.get("/slow")
def slow():
    open("begun", "w").close()
    while not os.path.exists("released"):
        time.sleep(0.01)
    return "finished\\n"
"""
BROKEN_APP = "from field_trainer.settings_manager import SettingsManager\n"
STOPPED = "stopped by an operator"


@contextmanager
def slow_request(project: Project) -> Iterator[Poller]:
    """Have a request in flight to the coach, which is answered when `release` is called."""
    with Poller(project.port("coach"), rate=0.01, path="/slow") as poller:
        eventually(project.file("coach", "begun").exists)
        yield poller
        eventually(lambda: poller.answers or poller.failed)


def release(project: Project) -> None:
    """Let the request in flight be answered."""
    project.file("coach", "released").touch()


def stopped_answer(port: int) -> None:
    """Fail unless the port answers 503 with the operator's stop as the reason."""
    answer = ask(port)
    assert (answer.status, answer.json["detail"]) == (503, STOPPED)


# ---- stop and start


def test_stop_answers_503_at_once_and_lasts(project: Project) -> None:
    """The command ends when the worker is gone; the port says why, until ``start``."""
    port = project.app("coach")
    running = project.start()
    wait_until_ready(running, "coach")
    pid = running.worker("coach")
    result = project.command("stop", "coach")
    assert (result.returncode, result.stdout, result.stderr) == (0, "coach: stopped\n", "")
    eventually(lambda: stopped_answer(port) is None, timeout_s=3)
    assert pid not in project.processes()
    project.file("coach").write_text(GOOD_APP.format(text="changed"))
    health = running.wait_for("coach", state="stopped", status="warn", serving="stand-in")
    assert health["retry_in_s"] is None
    assert ask(project.status_port, "/readyz").status == 200
    assert project.command("status").returncode == 1
    result = project.command("start", "coach")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("coach: ready, as pid ")
    assert ask(port).text == "changed\n"


def test_twice_is_as_good_as_once(project: Project) -> None:
    """Stopping what is stopped and starting what runs is done already."""
    project.app("coach")
    wait_until_ready(project.start(), "coach")
    assert project.command("start", "coach").stdout == "coach: it serves already\n"
    for _ in range(2):
        result = project.command("stop", "coach", "coach")
        assert (result.returncode, result.stdout) == (0, "coach: stopped\n")
    for _ in range(2):
        assert project.command("start", "coach").returncode == 0


def test_start_of_a_failed_app_skips_the_wait(project: Project) -> None:
    """An operator who repaired something else than a file of the app needn't wait a minute."""
    flag = project.folder / "redis-is-up"
    source = f"import os\nassert os.path.exists({str(flag)!r}), 'no redis'\n"
    port = project.app("coach", source + GOOD_APP.format(text="coach"))
    running = project.start()
    running.wait_for("coach", state="failed", timeout_s=30)
    result = project.command("start", "coach")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("coach: AssertionError: no redis (coach.py, line 2)")
    flag.touch()
    with Stopwatch() as watch:
        assert project.command("start", "coach").returncode == 0
    assert watch.seconds < 20  # the wait would be a minute
    assert ask(port).text == "coach\n"


def test_stop_cancels_a_retry(project: Project) -> None:
    """An app that waits for its next attempt isn't tried any more, even when its files change."""
    project.app("coach", BROKEN_APP)
    running = project.start()
    running.wait_for("coach", state="backoff")
    assert project.command("stop", "coach").returncode == 0
    generation = running.wait_for("coach", state="stopped", retry_in_s=None)["generation"]
    project.file("coach").write_text(GOOD_APP.format(text="repaired"))
    eventually(lambda: running.app("coach")["age_s"] > 3)  # longer than any wait so far
    health = running.app("coach")
    assert (health["state"], health["generation"]) == ("stopped", generation)


def test_start_of_an_app_whose_port_has_become_free(project: Project) -> None:
    """Who freed the port and starts the app need not wait for the next attempt."""
    port = project.app("coach")
    project.bind = {"first_delay_s": 60, "max_delay_s": 60}
    with process_in_test(project, HOLDER, f"127.0.0.1:{port}") as holder:
        assert holder.stdout.readline() == "listening\n"
        running = project.start()
        running.wait_for("coach", says="is in use by pid", state="blocked")
        result = project.command("start", "coach")
        assert result.returncode == 1
        assert f"port {port} is in use by pid {holder.pid}" in result.stderr
        assert f"kill {holder.pid}" in result.stderr
    result = project.command("start", "coach")
    assert result.returncode == 0, result.stderr
    assert ask(port).text == "coach\n"


# ---- restart


def test_restart_finishes_what_is_in_flight_and_refuses_nobody(project: Project) -> None:
    """A client in the middle gets its answer; those who come meanwhile are served later."""
    port = project.app("coach", SLOW_APP)
    running = project.start()
    pid = running.worker("coach")
    with slow_request(project) as slow, Poller(port, rate=50) as poller:
        with Following(project, "restart", "coach") as restarting:
            running.wait_for("coach", state="starting")
            assert not slow.answers
            release(project)
            assert restarting.end(None) == (0, "")
        assert "coach: ready, as pid " in restarting.said
    assert running.worker("coach") != pid
    assert [answer.text for answer in slow.answers] == ["finished\n"]
    assert poller.refused == 0
    assert poller.failed == []
    assert {answer.status for answer in poller.answers} <= {200, 503}
    assert running.app("coach")["restarts"] == 1


def test_stop_finishes_what_is_in_flight(project: Project) -> None:
    """The request gets its answer, while the port says already that the app is stopped."""
    port = project.app("coach", SLOW_APP)
    running = project.start()
    wait_until_ready(running, "coach")
    with slow_request(project) as slow, Following(project, "stop", "coach") as stopping:
        running.wait_for("coach", state="stopped")
        eventually(lambda: stopped_answer(port) is None)
        assert not slow.answers
        release(project)
        assert stopping.end(None) == (0, "")
    assert [answer.text for answer in slow.answers] == ["finished\n"]


def test_a_request_without_end_does_not_hold_up_a_stop(project: Project) -> None:
    """After ``stop_timeout_s`` it is cut off."""
    project.app("coach", SLOW_APP, stop_timeout_s=0.5)
    wait_until_ready(project.start(), "coach")
    with slow_request(project) as slow, Stopwatch() as watch:
        assert project.command("stop", "coach").returncode == 0
    assert watch.seconds < 8
    assert not slow.answers


def test_restart_during_an_import(project: Project) -> None:
    """The import is given up, and the new one reads what is on disk now."""
    port = project.app("coach", "import time\ntime.sleep(60)\n")
    running = project.start()
    eventually(lambda: running.app("coach")["pid"])
    project.file("coach").write_text(GOOD_APP.format(text="repaired"))
    result = project.command("restart", "coach")
    assert result.returncode == 0, result.stderr
    assert ask(port).text == "repaired\n"


# ---- reload


def test_reload_of_broken_code_is_refused(project: Project) -> None:
    """What runs goes on, and the message names file and line."""
    port = project.app("coach")
    running = project.start()
    pid = running.worker("coach")
    project.file("coach").write_text(BROKEN_APP)
    with Poller(port, rate=50) as poller:
        result = project.command("reload", "coach")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("coach: refused, what runs goes on: ModuleNotFoundError: ")
    assert "(coach.py, line 1)" in result.stderr
    assert {answer.text for answer in poller.answers} == {"coach\n"}
    assert running.worker("coach") == pid
    as_json = project.command("reload", "coach", "--json")
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["apps"]["coach"]["state"] == "ready"
    project.file("coach").write_text(GOOD_APP.format(text="repaired"))
    assert project.command("reload", "coach").returncode == 0
    assert ask(port).text == "repaired\n"


def test_reload_keeps_the_log_one_object_a_line(project: Project) -> None:
    """What an app prints while its import is tried goes the same way as what a worker prints."""
    project.app("coach", "print('hello from the import', flush=True)\n" + GOOD_APP.format(text="c"))
    running = project.start()
    wait_until_ready(running, "coach")
    assert project.command("reload", "coach").returncode == 0
    texts = [json.loads(line)["event"] for line in running.log.splitlines()]
    assert texts.count("hello from the import") >= 2


def test_reload_does_not_start_what_an_operator_stopped(project: Project) -> None:
    """A stop lasts until a start: reloading all others is none."""
    for name in ("admin", "coach"):
        project.app(name)
    running = project.start()
    wait_until_ready(running, "admin", "coach")
    assert project.command("stop", "coach").returncode == 0
    project.command("reload", "all")
    wait_until_ready(running, "admin")
    assert running.app("coach")["state"] == "stopped"


# ---- which apps


def test_several_apps_and_all(project: Project) -> None:
    """Each gets a line, and one that fails doesn't keep the others from it."""
    for name in ("admin", "coach"):
        project.app(name)
    project.app("broken", BROKEN_APP)
    project.app("off", enabled=False)
    running = project.start()
    wait_until_ready(running, "admin", "coach")
    result = project.command("restart", "all")
    assert result.returncode == 1
    assert sorted(line.split(":")[0] for line in result.stdout.splitlines()) == ["admin", "coach"]
    assert result.stderr.startswith("broken: ModuleNotFoundError")
    result = project.command("stop", "coach", "admin", "--json")
    outcome = {"ok": True, "state": "stopped", "reason": "stopped", "hint": None}
    expected = {"ok": True, "apps": {"coach": outcome, "admin": outcome}}
    assert (result.returncode, json.loads(result.stdout)) == (0, expected)


# ---- two operators


def test_two_operators_restart_at_once(project: Project) -> None:
    """Both get the answer that it serves, and it does."""
    port = project.app("coach")
    wait_until_ready(project.start(), "coach")
    with ExitStack() as stack:
        both = [stack.enter_context(Following(project, "restart", "coach")) for _ in range(2)]
        assert [one.end(None)[0] for one in both] == [0, 0]
    assert ask(port).text == "coach\n"


def test_a_start_while_another_operators_stop_waits(project: Project) -> None:
    """The stop soon fails: somebody started the app again."""
    port = project.app("coach", SLOW_APP)
    running = project.start()
    wait_until_ready(running, "coach")
    with slow_request(project), ExitStack() as stack:
        stopping = stack.enter_context(Following(project, "stop", "coach"))
        running.wait_for("coach", state="stopped")
        starting = stack.enter_context(Following(project, "start", "coach"))
        running.wait_for("coach", state="starting")
        release(project)
        assert starting.end(None)[0] == 0
        with Stopwatch() as watch:
            _, errors = stopping.end(None, timeout_s=30)
    assert "has not ended" not in errors
    assert watch.seconds < 5
    assert ask(port).text == "coach\n"
