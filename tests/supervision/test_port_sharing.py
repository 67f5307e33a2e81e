"""A process that joins one of our ports later is noticed, and named, until it is gone."""

from typing import Any

from harness import Project, ask, eventually, process_in_test
from observing import events
from operating_case import HOLDER, call, wait_until_ready

TIMEOUT_S = 30.0  # it is looked for every 10 s


def test_a_listener_that_joins_later(project: Project) -> None:
    """The app's health warns and names it, with the command that ends it; gone again, it passes."""
    port = project.app("coach")
    project.app("neighbour")
    running = project.start()
    wait_until_ready(running, "coach", "neighbour")
    with process_in_test(project, HOLDER, f"+127.0.0.1:{port}") as joined:
        assert joined.stdout.readline() == "listening\n"
        found: Any = running.wait_for("coach", status="warn", timeout_s=TIMEOUT_S)
        assert found["state"] == "ready"
        assert f"port {port} has another listener" in found["reason"]
        assert f"pid {joined.pid} (python" in found["reason"]
        assert f"kill {joined.pid}" in found["hint"]
        assert ask(project.status_port, "/health/coach").status == 200
        assert running.app("neighbour")["status"] == "pass"
        shown = project.command("status").stdout
        assert f"pid {joined.pid} (python" in shown
        doctor = project.command("doctor")
        assert doctor.returncode == 1
        assert f"FAIL port of coach      port {port} is in use by pid {joined.pid}" in doctor.stdout
    found = running.wait_for("coach", status="pass", timeout_s=TIMEOUT_S)
    assert (found["reason"], found["hint"]) == (None, None)
    expected = [event["text"] for event in call(running, "events")["events"]]
    assert f"port {port} is ours alone again" in expected
    assert len(events(running, "coach", "foreign_listener")) == 2


def test_listeners_that_are_no_business_of_ours(project: Project) -> None:
    """The same port at another address, and our own workers, are nothing to warn of."""
    port = project.app("coach")
    running = project.start()
    wait_until_ready(running, "coach")
    with process_in_test(project, HOLDER, f"+127.0.0.2:{port}") as other:
        assert other.stdout.readline() == "listening\n"
        with process_in_test(project, HOLDER, f"+127.0.0.1:{project.status_port}") as joined:
            assert joined.stdout.readline() == "listening\n"
            # once this one is noticed, the other one was looked at as well
            expected = f"port {project.status_port} has another listener"
            eventually(lambda: expected in running.log, timeout_s=TIMEOUT_S)
        assert running.app("coach")["status"] == "pass"
        assert not events(running, "coach", "foreign_listener")
