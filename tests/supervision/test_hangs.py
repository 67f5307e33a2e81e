"""Workers that stop, hang, grow or fill up: handled in time, and the port never refuses."""

import contextlib
import http.client
import os
import signal
import time

import pytest
from harness import GOOD_APP, Project, Running, ask, eventually
from load import Asking, pollers, streams
from observing import assert_all_answered, events, is_alive, refused_with
from operating_case import wait_until_ready

HANG_S = 9
ODD = """
import ctypes, os, time
from flask import Response

@app.get("/slow/<float:seconds>")
def slow(seconds):
    time.sleep(seconds)
    return "done\\n"

@app.get("/stream")
def stream():
    def events():
        while True:
            yield "data: x\\n\\n"
            time.sleep(0.5)
    return Response(events(), content_type="text/event-stream")

@app.get("/holds-the-gil")
def holds_the_gil():
    ctypes.PyDLL(None).sleep(600)

eaten = []
@app.get("/eat/<int:mb>")
def eat(mb):
    eaten.append(os.urandom(1024 * 1024) * mb)
    return "eaten\\n"

@app.get("/pid")
def pid():
    return str(os.getpid())
"""
NO_SIGN = "its worker shows no sign of life"


def started(project: Project, **keys: object) -> Running:
    """Start a supervisor with a coach that can do all of the above, and a neighbour."""
    project.app("coach", GOOD_APP.format(text="coach") + ODD, **keys)
    project.app("other")
    running = project.start()
    wait_until_ready(running, "coach", "other")
    return running


def neighbour_is_well(running: Running) -> None:
    """Check that the other app has not been touched."""
    assert ask(running.project.port("other")).status == 200
    assert running.app("other")["restarts"] == 0


# ---- no sign of life


@pytest.mark.parametrize("how", ["stopped", "holds the GIL"])
def test_a_worker_that_shows_no_sign_of_life(project: Project, how: str) -> None:
    """After three beats the port is answered 503 with the reason; at the limit it is replaced."""
    running = started(project, hang_timeout_s=HANG_S)
    worker, port = running.worker("coach"), project.port("coach")
    with pollers(port, count=2, rate=5) as fresh:
        eventually(lambda: all(poller.answers for poller in fresh))
        began = time.monotonic()
        if how == "stopped":
            os.kill(worker, signal.SIGSTOP)
        else:
            with pytest.raises(OSError):
                ask(port, "/holds-the-gil", timeout_s=1)
        problem = refused_with(port, NO_SIGN, timeout_s=20)
        stuck_s = time.monotonic() - began
        found = running.wait_for("coach", says=NO_SIGN, serving="stand-in")
        eventually(lambda: not is_alive(worker), timeout_s=30)
        gone_s = time.monotonic() - began
        running.wait_for("coach", state="ready", serving="app", timeout_s=20)
        eventually(lambda: ask(port).status == 200)
        neighbour_is_well(running)
    assert 4 <= stuck_s < 11  # 6.5 s after the last beat, and some for a busy machine
    assert HANG_S - 2.5 <= gone_s < HANG_S + 5
    assert (found["state"], found["serving"], found["status"]) == ("failed", "stand-in", "fail")
    assert found["workers"] == [{"pid": worker, "generation": 1, "state": "stuck"}]
    assert "hang_timeout_s" in problem["hint"]
    said = f"the worker showed no sign of life for {HANG_S} s and was replaced"
    assert said in events(running, "coach", "exited")
    assert any(NO_SIGN in text for text in events(running, "coach", "stuck"))
    for poller in fresh:
        assert not poller.refused
        assert {answer.status for answer in poller.answers} <= {200, 503}
        assert all(b"no sign of life" in a.body for a in poller.answers if a.status == 503)
        assert len(poller.failed) <= 2  # what the worker had accepted before it was killed


def test_a_worker_that_comes_back(project: Project) -> None:
    """It serves again as soon as it shows a sign of life, and was not replaced."""
    running = started(project)
    worker, port = running.worker("coach"), project.port("coach")
    os.kill(worker, signal.SIGSTOP)
    refused_with(port, NO_SIGN, timeout_s=20)
    os.kill(worker, signal.SIGCONT)
    found = running.wait_for("coach", state="ready", serving="app", timeout_s=20)
    assert (found["pid"], found["restarts"], found["reason"]) == (worker, 0, None)
    eventually(lambda: ask(port, "/pid").text == str(worker))


def test_a_reload_of_a_stuck_app(project: Project) -> None:
    """An operator need not wait for the limit."""
    running = started(project)
    worker = running.worker("coach")
    os.kill(worker, signal.SIGSTOP)
    running.wait_for("coach", state="failed", timeout_s=20)
    began = time.monotonic()
    assert project.command("reload", "coach").returncode == 0
    assert time.monotonic() - began < 5
    assert not is_alive(worker)
    assert ask(project.port("coach")).status == 200


@pytest.mark.parametrize("everybody", [False, True])
def test_a_pause_of_the_main_process_is_nobodys_fault(project: Project, everybody: bool) -> None:
    """After a pause longer than hang_timeout_s, of it or of the machine, nobody counts as hung."""
    running = started(project, hang_timeout_s=7)
    worker = running.worker("coach")
    stopped = project.processes() if everybody else [running.process.pid]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    eventually(lambda: time.monotonic() > began + 8)
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    running.wait_until_up()
    resumed = time.monotonic()
    eventually(lambda: time.monotonic() > resumed + 3 and running.app("coach"))
    assert running.worker("coach") == worker
    assert events(running, "coach", "exited") == []


# ---- busy is not dead


def test_open_streams_leave_the_port_to_others(project: Project) -> None:
    """8 clients hold streams, others are answered, and 6000 says how many threads are busy."""
    running = started(project)
    port = project.port("coach")
    with streams(port, count=8), pollers(port, count=1) as fresh:
        requests = eventually(
            lambda: (found := running.app("coach")["requests"])["busy"] >= 8 and found
        )
        eventually(lambda: len(fresh[0].answers) > 20)
        assert running.app("coach")["status"] == "pass"
    assert requests["threads"] >= 9
    assert requests["max_threads"] == 32
    assert requests["connections"] >= 8
    assert_all_answered(fresh[0], worst_s=2)


def test_a_shutdown_with_open_streams(project: Project) -> None:
    """The end comes within shutdown_timeout_s and a second."""
    project.supervisor["shutdown_timeout_s"] = 1
    running = started(project)
    with streams(project.port("coach"), count=8):
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 1 + 1 + 0.5


def test_a_reload_with_open_streams(project: Project) -> None:
    """They go on until stop_timeout_s, new clients get the new version meanwhile."""
    running = started(project, stop_timeout_s=3)
    port, worker = project.port("coach"), running.worker("coach")
    with streams(port, count=8) as opened:
        assert project.command("reload", "coach").returncode == 0
        assert ask(port, "/pid").text != str(worker)
        assert opened[0].recv(4096)
        eventually(lambda: not is_alive(worker), timeout_s=10)
    running.wait_for("coach", status="pass")


def test_a_full_house_answers_at_once(project: Project) -> None:
    """When no thread can be had for 5 s, clients get 503 with the reason, not an endless wait."""
    running = started(project, threads=2, max_threads=2)
    port = project.port("coach")
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(Asking(port, "/slow/14.0"))
        eventually(lambda: running.app("coach")["requests"]["busy"] == 2)
        waiting = stack.enter_context(Asking(port, "/slow/0.0"))
        began = time.monotonic()
        eventually(lambda: time.monotonic() > began + 5.2)
        refused = ask(port)
        found = running.wait_for("coach", status="warn", state="ready")
        assert found["reason"].startswith("all 2 threads are busy and ")
        eventually(lambda: waiting.is_over, timeout_s=30)
        neighbour_is_well(running)
    assert refused.status == 503
    assert refused.seconds < 2
    assert refused.json["detail"].startswith("all 2 threads are busy, the oldest request for ")
    assert refused.headers["retry-after"] == "5"
    assert waiting.answer is not None
    assert waiting.answer.text == "done\n"  # who came first is served
    found = running.wait_for("coach", status="pass", timeout_s=20)
    assert found["requests"]["rejected"] >= 1
    assert found["restarts"] == 0
    assert ask(port).status == 200


# ---- too much


def test_a_worker_that_eats_memory(project: Project) -> None:
    """It is replaced by overlap: nothing fails, and the log says why."""
    running = started(project, max_memory_mb=120)
    port, worker = project.port("coach"), running.worker("coach")
    with pollers(port, count=2) as fresh:
        assert ask(port, "/eat/150").status == 200
        eventually(lambda: not is_alive(worker), timeout_s=30)
    for poller in fresh:
        assert_all_answered(poller)
    found = running.wait_for("coach", status="pass")
    assert found["restarts"] == 0
    eventually(lambda: 1 < running.app("coach")["memory_mb"] < 120)
    [said] = events(running, "coach", "replaced")
    assert "MB, more than max_memory_mb = 120: it is being replaced" in said


def test_an_app_that_is_too_large_from_its_start(project: Project) -> None:
    """It is replaced after growing pauses, serves meanwhile, and health warns."""
    running = started(project, max_memory_mb=5)
    port = project.port("coach")
    with pollers(port, count=1) as fresh:
        found = running.wait_for("coach", status="warn", says="max_memory_mb = 5", timeout_s=40)
        began = time.monotonic()
        eventually(lambda: time.monotonic() - began > 9)
    assert_all_answered(fresh[0])
    assert "raise max_memory_mb" in found["hint"]
    assert len(events(running, "coach", "replaced")) <= 2


def test_a_worker_that_has_answered_enough(project: Project) -> None:
    """It is replaced by overlap, and the requests of all workers are counted."""
    running = started(project, max_requests=50)
    port, worker = project.port("coach"), running.worker("coach")
    with pollers(port, count=2, rate=40) as fresh:
        eventually(lambda: not is_alive(worker), timeout_s=30)
    for poller in fresh:
        assert_all_answered(poller)
    answered = sum(len(poller.answers) for poller in fresh)
    found = eventually(
        lambda: (now := running.app("coach"))["requests"]["total"] >= answered and now
    )
    assert found["requests"]["total"] == answered
    assert found["requests"]["by_class"]["2xx"] == answered
    assert 0 < found["requests"]["latency_ms"]["p50"] <= found["requests"]["latency_ms"]["p99"]
    assert "requests: it is replaced" in events(running, "coach", "replaced")[0]


def test_a_request_that_takes_too_long(project: Project) -> None:
    """Only when request_timeout_s is set: the next worker takes over, and the request is cut."""
    running = started(project, request_timeout_s=2, stop_timeout_s=1)
    port, worker = project.port("coach"), running.worker("coach")
    with pollers(port, count=2) as fresh, Asking(port, "/slow/60.0") as slow:
        eventually(lambda: slow.is_over, timeout_s=30)
    assert slow.error is not None
    assert not is_alive(worker)
    for poller in fresh:
        assert_all_answered(poller)
    assert "longer than request_timeout_s = 2" in events(running, "coach", "replaced")[0]
    running.wait_for("coach", status="pass", restarts=0)


def test_a_replacement_that_is_refused(project: Project) -> None:
    """The worker that answered enough goes on, since what is on disk is broken."""
    running = started(project, max_requests=5)
    port, worker = project.port("coach"), running.worker("coach")
    project.file("coach").write_text("1 / 0\n")
    for _ in range(10):
        assert ask(port).status == 200
    eventually(lambda: running.app("coach")["refusal"], timeout_s=20)
    assert ask(port, "/pid").text == str(worker)
    running.wait_for("coach", state="ready", status="warn")
    assert "ZeroDivisionError" in running.app("coach")["refusal"]["reason"]


# ---- how a worker ended


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("os._exit(3)", "the worker ended: exit code 3"),
        ("os._exit(0)", "the worker ended: ended by itself (exit code 0)"),
        ("os.kill(os.getpid(), 11)", "the worker ended: killed by SIGSEGV"),
        ("os.kill(os.getpid(), 9)", "the worker ended: killed by SIGKILL ("),
    ],
)
def test_how_a_worker_ended_is_said(project: Project, code: str, said: str) -> None:
    """In the events, in words; the next worker serves at once."""
    crash = f"\n@app.get('/crash')\ndef crash():\n    {code}\n    time.sleep(60)\n"
    project.app("coach", GOOD_APP.format(text="coach") + "import os, time\n" + crash)
    running = project.start()
    worker = running.worker("coach")
    ready_at = time.monotonic()
    eventually(lambda: time.monotonic() > ready_at + 1.1 and ask(project.port("coach")))
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(project.port("coach"), "/crash")
    assert ask(project.port("coach")).status == 200
    found = running.wait_for("coach", state="ready", restarts=1)
    assert found["pid"] != worker
    assert any(text.startswith(said) for text in events(running, "coach", "exited"))
