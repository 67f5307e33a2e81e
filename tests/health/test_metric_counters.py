"""Counters of /metrics over reloads, crashes, several workers and groups: they never go down."""

import os
import signal

import pytest
from harness import Project, ask, eventually
from prometheus_client.parser import text_string_to_metric_families as read_text

APP = """
from flask import Flask
app = Flask(__name__)

@app.get("/")
def index():
    return "x"
"""
ANSWERS = "flask_supervisor_app_requests_total"
TIMED = "flask_supervisor_app_request_duration_seconds_count"


def counters(project: Project) -> dict[tuple[str, ...], float]:
    """Return every sample that may not go down, by name and labels."""
    answer = ask(project.status_port, "/metrics")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in read_text(answer.text)
        for sample in family.samples
        if family.type in ("counter", "histogram")
    }


def send(project: Project, app: str, count: int) -> None:
    """Send requests, and wait until all there were are counted."""
    before = counters(project)[ANSWERS, app, "2xx"]
    for _ in range(count):
        assert ask(project.port(app)).status == 200
    eventually(
        lambda: counters(project)[ANSWERS, app, "2xx"] == before + count,
        what=f"{before + count} are counted",
    )


def assert_grown(before: dict[tuple[str, ...], float], now: dict[tuple[str, ...], float]) -> None:
    """Fail if a counter has gone down, or is gone."""
    assert {key: value for key, value in before.items() if now.get(key, -1) < value} == {}


@pytest.mark.parametrize("workers", [1, 2])
def test_counters_go_on(project: Project, workers: int) -> None:
    """Over a reload and a crash, of one worker and of two: the sums are right."""
    project.app("coach", APP, workers=workers)
    running = project.start()
    running.wait_for("coach", state="ready")
    send(project, "coach", 10)
    before = counters(project)
    assert project.command("reload", "coach").returncode == 0
    send(project, "coach", 10)
    reloaded = counters(project)
    assert_grown(before, reloaded)
    for worker in running.app("coach")["workers"]:
        os.kill(worker["pid"], signal.SIGKILL)
    eventually(lambda: running.app("coach")["restarts"] > 0, what="it was restarted")
    running.wait_for("coach", state="ready")
    send(project, "coach", 10)
    crashed = counters(project)
    assert_grown(reloaded, crashed)
    assert crashed[ANSWERS, "coach", "2xx"] == crashed[TIMED, "coach"] == 30


def test_apps_that_share_a_process(project: Project) -> None:
    """Each has counters of its own."""
    for name in ("admin", "coach"):
        project.app(name, APP, process="field", path="both", target=f"{name}:app")
        project.file("both", f"{name}.py").parent.mkdir(exist_ok=True)
        project.file("both", f"{name}.py").write_text(APP)
    running = project.start()
    running.wait_for("admin", state="ready")
    running.wait_for("coach", state="ready")
    send(project, "admin", 3)
    send(project, "coach", 5)
    before = counters(project)
    assert project.command("reload", "coach").returncode == 0
    running.wait_for("coach", state="ready")
    send(project, "coach", 2)
    now = counters(project)
    assert_grown(before, now)
    assert (now[ANSWERS, "admin", "2xx"], now[ANSWERS, "coach", "2xx"]) == (3, 7)


def test_a_new_supervisor_begins_anew(project: Project) -> None:
    """Counters are since its start: Prometheus takes a smaller value for a reset."""
    project.app("coach", APP)
    running = project.start()
    running.wait_for("coach", state="ready")
    send(project, "coach", 5)
    running.stop()
    project.start().wait_for("coach", state="ready")
    assert counters(project)[ANSWERS, "coach", "2xx"] == 0
    send(project, "coach", 2)
    assert counters(project)[ANSWERS, "coach", "2xx"] == 2
