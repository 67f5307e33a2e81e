"""Several workers for one app: all accept, each has its core, one that dies is replaced alone."""

import contextlib
import os
import signal
from typing import Any

import pytest
from harness import GOOD_APP, Poller, Project, Running, ask, eventually
from load import pollers
from observing import assert_all_answered, events, is_alive
from operating_case import call

PID = """
import os
@app.get("/pid")
def pid():
    return str(os.getpid())
"""
CORES = sorted(os.sched_getaffinity(0))


def started(project: Project, **keys: Any) -> Running:
    """Start a supervisor with a coach of two workers."""
    project.app("coach", GOOD_APP.format(text="coach") + PID, **{"workers": 2, **keys})
    return project.start()


def pids(running: Running, *, count: int = 2) -> list[int]:
    """Wait until the coach has so many workers, all ready, and return their pids."""

    def all_ready() -> list[int] | None:
        workers = running.app("coach")["workers"]
        if len(workers) != count or {w["state"] for w in workers} != {"ready"}:
            return None
        return [worker["pid"] for worker in workers]

    return eventually(all_ready, timeout_s=30) or []


def cores(found: list[int]) -> list[set[int]]:
    """Return the cores that each process may use."""
    return [os.sched_getaffinity(pid) for pid in found]


def test_all_workers_answer(project: Project) -> None:
    """They accept on the one port, whoever is free."""
    running = started(project)
    found = pids(running)
    port = project.port("coach")
    with pollers(port, count=2):
        answered = eventually(
            lambda: len(seen := {ask(port, "/pid").text for _ in range(50)}) == 2 and seen,
            timeout_s=30,
        )
    assert answered == {str(pid) for pid in found}


@pytest.mark.skipif(len(CORES) < 2, reason="needs two cores")
def test_each_worker_has_a_core(project: Project) -> None:
    """One that is killed leaves its core to the one that replaces it; an app alone has all."""
    project.app("alone")
    project.app("pinned", pin=True)
    running = started(project)
    found = pids(running)
    assert cores(found) in ([{CORES[1]}, {CORES[0]}], [{CORES[0]}, {CORES[1]}])
    for victim in (0, 1, 1):
        os.kill(found[victim], signal.SIGKILL)
        eventually(lambda f=found: pids(running) != f)
        found = pids(running)
        assert sorted(min(core) for core in cores(found)) == CORES[:2]
        assert all(len(core) == 1 for core in cores(found))
    assert cores([running.worker("alone")]) == [set(CORES)]
    assert cores([running.worker("pinned")]) == [{CORES[0]}]


def test_pin_can_be_left_out(project: Project) -> None:
    """`pin = false`: the kernel chooses."""
    running = started(project, pin=False)
    assert cores(pids(running)) == [set(CORES)] * 2


def test_one_of_two_is_killed(project: Project) -> None:
    """The app is ready all the time, nobody is refused, the other worker is not touched."""
    running = started(project)
    first, second = pids(running)
    with pollers(project.port("coach"), count=4, rate=50) as fresh:
        eventually(lambda: all(len(poller.answers) > 5 for poller in fresh))
        os.kill(first, signal.SIGKILL)
        eventually(lambda: not is_alive(first))
        eventually(lambda: first not in pids(running))
    found = pids(running)
    assert second in found
    for poller in fresh:
        assert not poller.refused
        assert len(poller.failed) <= 1  # its request was in the killed worker
        assert {answer.status for answer in poller.answers} == {200}
    assert running.app("coach")["restarts"] == 1
    assert "killed by SIGKILL" in events(running, "coach", "exited")[0]
    running.wait_for("coach", status="pass", reason=None)


def test_one_of_two_is_stopped(project: Project) -> None:
    """It is replaced alone, the port is answered by the other one meanwhile."""
    running = started(project, hang_timeout_s=8)
    first, second = pids(running)
    os.kill(first, signal.SIGSTOP)
    found = running.wait_for("coach", status="warn", timeout_s=20)
    assert (found["state"], found["serving"]) == ("ready", "app")
    assert found["reason"].startswith("its worker shows no sign of life")
    with pollers(project.port("coach"), count=2) as fresh:
        eventually(lambda: not is_alive(first), timeout_s=20)
        assert second in pids(running)
    for poller in fresh:
        assert_all_answered(poller)


def test_a_reload_of_all_workers(project: Project) -> None:
    """The new ones take over together; with one of them broken, none does."""
    running = started(project)
    old = pids(running)
    with pollers(project.port("coach"), count=4) as fresh:
        assert call(running, "reload", apps=["coach"], timeout_s=60)["apps"]["coach"]["ok"]
        new = pids(running)
        assert not set(new) & set(old)
        # the second of them can't import: a file that only one of them can take
        project.file("coach", "once").touch()
        project.file("coach").write_text("import os\nos.remove('once')\n" + GOOD_APP + PID)
        outcome = call(running, "reload", apps=["coach"], timeout_s=60)["apps"]["coach"]
        assert not outcome["ok"]
        assert "FileNotFoundError" in outcome["reason"]
        assert pids(running) == new
    for poller in fresh:
        assert_all_answered(poller)


def test_metrics_are_those_of_all_workers(project: Project) -> None:
    """Requests and memory are added up."""
    running = started(project)
    pids(running)
    port = project.port("coach")
    for _ in range(40):
        assert ask(port).status == 200
    found = eventually(lambda: (now := running.app("coach"))["requests"]["total"] >= 40 and now)
    assert found["requests"]["total"] == 40
    assert found["requests"]["threads"] == 8
    assert found["requests"]["max_threads"] == 64
    assert found["memory_mb"] > 2


def test_a_refused_generation_finishes_its_requests(project: Project) -> None:
    """A new worker may have accepted requests before another one of its generation fails."""
    slow = "\nimport time\n@app.get('/slow')\ndef slow():\n    time.sleep(0.3)\n    return 'slow'\n"
    first_only = (
        "import os, time\ntry:\n    os.remove('once')\nexcept FileNotFoundError:\n"
        "    time.sleep(1.5)\n    raise\n"
    )
    running = started(project)
    old = pids(running)
    project.file("coach", "once").touch()
    project.file("coach").write_text(first_only + GOOD_APP.format(text="new") + slow)
    pollers_of_slow = [Poller(project.port("coach"), rate=20, path="/slow") for _ in range(6)]
    with contextlib.ExitStack() as stack:
        for poller in pollers_of_slow:
            stack.enter_context(poller)
        outcome = call(running, "reload", apps=["coach"], timeout_s=60)["apps"]["coach"]
    assert not outcome["ok"]
    assert pids(running) == old
    for poller in pollers_of_slow:
        assert (poller.refused, poller.failed) == (0, [])
        statuses = {answer.status for answer in poller.answers}
        assert statuses <= {200, 404}, "the old code has no such page, the new one has"
    assert any(answer.status == 200 for poller in pollers_of_slow for answer in poller.answers)
