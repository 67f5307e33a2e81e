"""Ports that are in use, or only seem to be: the holder is named, and all other apps serve."""

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import GOOD_APP, Project, Running, ask, eventually, free_ports, process_in_test
from observing import events, refused_with, snapshot

from supervisor.ports import listeners, sock_diag

HOLDER = """
import socket, sys
host, port, option = sys.argv[1:]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM) as holder:
    if option:
        holder.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
    holder.bind((host, int(port)))
    holder.listen()
    print("held", flush=True)
    sys.stdin.read()
"""
ASKS = """
from supervisor.client import Client

@app.get("/reason/<name>")
def reason(name):
    return Client.from_environment().call("snapshot")["apps"][name]["reason"] or "none"
"""
QUICK = {"first_delay_s": 0.3, "max_delay_s": 0.5}


@contextlib.contextmanager
def held(
    project: Project, port: int, *, host: str = "127.0.0.1", option: str = ""
) -> Iterator["subprocess.Popen[str]"]:
    """Let another process listen on ``port`` for the block."""
    with process_in_test(project, HOLDER, host, str(port), option) as holder:
        assert holder.stdout.readline() == "held\n"
        yield holder


def ask_until_closed(port: int) -> None:
    """Make a request and let the server close first: TIME_WAIT stays on its side."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        while client.recv(4096):
            pass


def states_of(running: Running) -> dict[str, str]:
    """Return the state of each app."""
    return {name: app["state"] for name, app in snapshot(running)["apps"].items()}


@pytest.mark.parametrize("option", ["", "SO_REUSEADDR", "SO_REUSEPORT"])
def test_a_port_that_another_process_holds(project: Project, option: str) -> None:
    """Its app is blocked and names the holder, others serve; it is bound when the port is free."""
    project.bind = dict(QUICK)
    project.app("admin", GOOD_APP.format(text="admin") + ASKS, control=True)
    port = project.app("coach")
    with held(project, port, option=option) as holder:
        running = project.start()
        named = f"port {port} is in use by pid {holder.pid} ("
        blocked = running.wait_for("coach", says=named, state="blocked")
        assert ask(project.port("admin")).text == "admin\n"
        assert (blocked["status"], blocked["serving"], blocked["pid"]) == ("fail", "nothing", None)
        assert f"kill {holder.pid}" in blocked["hint"]
        assert ask(project.status_port, "/health").status == 503
        assert named in ask(project.port("admin"), "/reason/coach").text
        shown = project.command("status")
        assert shown.returncode == 1
        assert named in shown.stdout
        assert named in running.log
    running.wait_for("coach", state="ready", reason=None, timeout_s=5)
    assert ask(port).text == "coach\n"
    assert events(running, "coach", "bound")
    assert project.command("status").returncode == 0


def test_the_page_of_a_broken_control_app_names_the_holder(project: Project) -> None:
    """The stand-in of a broken admin app names the holder of another app's port."""
    project.app("admin", "1 / 0\n", control=True)
    port = project.app("coach")
    with held(project, port) as holder:
        project.start()
        named = f"port {port} is in use by pid {holder.pid} ("
        problem = refused_with(project.port("admin"), "ZeroDivisionError")
        assert named in problem["apps"]["coach"]["reason"]
        assert named in ask(project.port("admin"), accept="text/html").text


def test_the_default_waits() -> None:
    """Attempts follow after 2, 4, 8, 16 s, then every 30 s for ever."""
    defaults = {"attempts": 5, "first_delay_s": 2, "factor": 2, "max_delay_s": 30}
    waits = [listeners.retry_delay_s(failed, **defaults) for failed in range(1, 9)]
    assert waits == [2, 4, 8, 16, 30, 30, 30, 30]
    assert listeners.retry_delay_s(100_000, **defaults) == 30


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"attempts": 1}, [30, 30, 30]),
        ({"factor": 1}, [2, 2, 2, 2, 30]),
        ({"attempts": 9, "max_delay_s": 10}, [2, 4, 8, 10, 10]),
        ({"first_delay_s": 0.3, "max_delay_s": 0.5}, [0.3, 0.5, 0.5, 0.5]),
    ],
)
def test_other_waits(settings: dict[str, Any], expected: list[float]) -> None:
    """Each key of ``[bind]`` changes the waits."""
    values = {"attempts": 5, "first_delay_s": 2, "factor": 2, "max_delay_s": 30, **settings}
    found = [listeners.retry_delay_s(failed, **values) for failed in range(1, len(expected) + 1)]
    assert found == expected


def test_the_waits_are_kept(project: Project) -> None:
    """A port in use is retried at the configured waits; a constant pace is logged once."""
    project.bind = {"first_delay_s": 0.1, "factor": 2, "attempts": 3, "max_delay_s": 0.5}
    port = project.app("coach")
    with held(project, port):
        running = project.start(wait=False)

        def attempts() -> list[str]:
            texts = events(running, "coach", "bind_failed")
            return [text for text in texts if "attempt" in text]

        eventually(lambda: len(attempts()) >= 3)
        began = time.monotonic()
        eventually(lambda: time.monotonic() > began + 1.2)  # two more tries
        waits = ("in 0.1 s", "in 0.2 s", "every 0.5 s")
        for number, (text, wait) in enumerate(zip(attempts(), waits, strict=True), 1):
            assert f"(attempt {number}); it is tried again {wait}" in text
    running.wait_for("coach", state="ready", timeout_s=3)


def test_the_status_port_is_held(project: Project) -> None:
    """The apps serve, `status` names the holder; the status port is bound when it is free."""
    project.bind = dict(QUICK)
    project.app("coach")
    with held(project, project.status_port) as holder:
        running = project.start(wait=False)
        eventually(lambda: ask(project.port("coach")).status == 200)
        named = f"port {project.status_port} is in use by pid {holder.pid} ("
        eventually(lambda: named in project.command("status").stdout)
        as_json = json.loads(project.command("status", "--json").stdout)
        assert as_json["status"] == "fail"
        assert as_json["checks"]["status_port"]["status"] == "fail"
        assert named in as_json["checks"]["status_port"]["reason"]
    running.wait_until_up()
    assert running.health()["status"] == "pass"


def test_a_repair_is_seen_without_a_status_port(project: Project) -> None:
    """A repaired app starts soon, although another process holds the status port."""
    project.app("coach", "1 / 0\n")
    with held(project, project.status_port):
        running = project.start(wait=False)
        refused_with(project.port("coach"), "ZeroDivisionError")
        # now it waits for more than 3 s: the times of the waits are in the supervisor's restart.py
        eventually(lambda: snapshot(running)["apps"]["coach"]["restarts"] == 5)
        project.file("coach").write_text(GOOD_APP.format(text="repaired"))
        eventually(lambda: ask(project.port("coach")).status == 200, timeout_s=3)


def test_connections_in_time_wait_do_not_block(project: Project) -> None:
    """A restart right after 200 connections that our side closed first binds at once."""
    port = project.app("coach")
    first = project.start()
    first.wait_for("coach", state="ready")
    for _ in range(220):
        ask_until_closed(port)
    assert first.stop() == 0
    assert sock_diag.time_wait_count(port) >= 200
    second = project.start()
    second.wait_for("coach", state="ready")
    assert sock_diag.time_wait_count(port) >= 200
    assert not events(second, "coach", "bind_failed")
    assert ask(port).text == "coach\n"


def test_a_second_run_names_the_first(project: Project) -> None:
    """It exits with 1 and doesn't affect the first one."""
    project.app("coach")
    first = project.start()
    worker = first.worker("coach")
    second = project.command("run")
    assert second.returncode == 1
    assert f"already running as pid {first.process.pid}" in second.stderr
    assert first.worker("coach") == worker
    assert project.command("status").returncode == 0


def test_after_a_kill_the_next_run_starts_at_once(project: Project) -> None:
    """The lock and the control socket of a killed supervisor don't block the next one."""
    project.bind = dict(QUICK)
    project.app("coach")
    first = project.start()
    first.wait_for("coach", state="ready")
    first.kill()
    second = project.start()
    second.wait_for("coach", state="ready", timeout_s=5)
    assert snapshot(second)["pid"] == second.process.pid


def test_two_that_start_together_never_share_a_port(project: Project, tmp_path: Path) -> None:
    """Of two supervisors that bind a port at the same moment exactly one gets it."""
    folder = tmp_path / "other"
    folder.mkdir()
    other = Project(folder, bind=dict(QUICK))
    project.bind = dict(QUICK)
    project.app("coach")
    other.app("coach", port=project.port("coach"))
    try:
        for _ in range(3):
            pair = [one.start(wait=False) for one in (project, other)]
            for running in pair:
                running.wait_until_up()

            def states(pair: list[Running] = pair) -> list[str]:
                return sorted(states_of(running)["coach"] for running in pair)

            eventually(lambda: states() == ["blocked", "ready"])
            loser = next(r for r in pair if states_of(r)["coach"] == "blocked")
            winner = next(running for running in pair if running is not loser)
            named = f"is in use by another flask-supervisor, pid {winner.process.pid} ("
            hint = loser.wait_for("coach", says=named)["hint"]
            assert "flask-supervisor status" in hint and "kill" not in hint
            assert winner.stop() == 0
            loser.wait_for("coach", state="ready", timeout_s=5)
            assert loser.stop() == 0
    finally:
        other.clean_up()


def test_a_port_that_an_app_of_ours_has_taken(project: Project) -> None:
    """The supervisor is no stranger to itself, and nobody is told to end it."""
    port = free_ports(1)[0]
    takes = f"import socket\nheld = socket.create_server(('127.0.0.1', {port}))\n"
    project.app("taker", takes + GOOD_APP.format(text="taker"))
    running = project.start()
    taker = running.worker("taker")
    project.app("coach", port=port)
    project.command("reload")
    found = running.wait_for("coach", state="blocked")
    assert found["reason"] == (
        f"port {port} is in use by this supervisor itself: pid {taker} (fs-taker)"
    )
    assert "kill" not in found["hint"]


def test_a_port_is_closed_only_at_the_end(project: Project) -> None:
    """The port of an app that can't be imported accepts connections from the start on."""
    port = project.app("coach", "import time\ntime.sleep(60)\n")
    running = project.start()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as waiting:
        waiting.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert waiting.recv(4096).startswith(b"HTTP/1.1 503 ")
    assert running.stop() == 0
    with pytest.raises(ConnectionRefusedError):
        ask(port)
