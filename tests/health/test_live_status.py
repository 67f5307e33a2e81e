"""Checks, probes, facts and metrics of a running supervisor, as monitors and operators see them."""

import contextlib
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from harness import Project, Running, ask, eventually
from operating_case import wait_until_ready
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

WELL_APP = """
from pathlib import Path
from flask import Flask
app = Flask(__name__)

@app.get("/")
def index():
    return "hello"

@app.get("/status")
def status():
    return ("no database", 503) if Path("sick").exists() else "well"
"""
QUICK: dict[str, Any] = {"interval_s": 0.2, "timeout_s": 0.2, "threshold": 1}


def metrics(project: Project, accept: str = "*/*") -> dict[str, float]:
    """Return the samples of /metrics, as written there."""
    answer = ask(project.status_port, "/metrics", accept=accept)
    assert answer.status == 200
    return {
        f"{sample.name}{list(sample.labels.values())}": sample.value
        for family in read_text(answer.text)
        for sample in family.samples
    }


def ready(project: Project) -> int:
    """Return the code of /readyz."""
    return ask(project.status_port, "/readyz").status


def kinds(running: Running) -> list[str]:
    """Return the kinds of the events of checks, as texts."""
    return [one["text"] for one in running.health()["events"] if one["kind"] == "check"]


def test_a_check_that_fails_and_recovers(project: Project) -> None:
    """Not ready with the reason, everywhere; the app is left alone; then ready again."""
    token = project.folder / "token"
    requires = [{"kind": "file", "path": "token", **QUICK}]
    requires += [{"kind": "file", "path": "extra", "critical": False, **QUICK}]
    project.app("coach", WELL_APP, requires=requires)
    project.app("admin")
    running = project.start()
    wait_until_ready(running, "coach", "admin")
    eventually(lambda: ready(project) == 503, what="not ready")
    name = "coach: file token"
    eventually(lambda: running.health()["checks"][name]["status"] == "fail", what="it fails")
    missing = ask(project.status_port, "/readyz").json["not_ready"]
    assert missing == {name: "token doesn't exist"}
    coach = running.app("coach")
    assert (coach["status"], coach["state"], coach["restarts"]) == ("fail", "ready", 0)
    assert coach["reason"] == "token doesn't exist"
    assert running.app("admin")["status"] == "pass"
    assert ask(project.port("coach")).text == "hello"
    assert f"check {name}: token doesn't exist" in kinds(running)
    shown = project.command("status")
    assert shown.returncode == 1
    assert f"check {name}: token doesn't exist\n  create it, or correct `path`" in shown.stdout
    assert json.loads(project.command("status", "--json").stdout)["checks"][name]["app"] == "coach"
    assert metrics(project)[f"flask_supervisor_check_passing['coach', '{name}', 'true']"] == 0

    token.touch()
    eventually(lambda: ready(project) == 200, what="ready again")
    eventually(lambda: f"check {name}: passes again" in kinds(running), what="the event")
    warning = running.health()
    assert warning["status"] == "warn"  # for the one that isn't critical
    assert warning["checks"]["coach: file extra"]["reason"] == "extra doesn't exist"
    assert running.app("coach")["restarts"] == 0


def test_a_server_that_refuses_a_token(project: Project) -> None:
    """Its own words are what a person reads, and the token is nowhere."""
    from http.server import BaseHTTPRequestHandler, HTTPServer

    from children import beside

    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"error": "authentication failed: token mismatch"}).encode()
            self.send_response(401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = HTTPServer(("127.0.0.1", 0), Refuses)
    url = f"http://127.0.0.1:{server.server_address[1]}/agents"
    (project.folder / "secret").write_text("k3-secret-token")
    project.app(
        "coach",
        WELL_APP,
        requires=[{"kind": "http", "url": url, "token": {"file": "secret"}, **QUICK}],
    )
    with beside(lambda: server.serve_forever(poll_interval=0.05)):
        running = project.start()
        expected = f"{url}: authentication failed: token mismatch (401 Unauthorized)"
        eventually(lambda: running.app("coach")["reason"] == expected, what="its words")
        assert "compare `token`" in running.app("coach")["hint"]
        said = ask(project.status_port, "/health").text + project.command("status").stdout
        server.shutdown()
    server.server_close()
    assert "k3-secret-token" not in said + running.log


def test_a_check_that_hangs_delays_no_other(project: Project) -> None:
    """A silent server is waited for in a thread of its own; health answers at once meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        slow = {"kind": "http", "url": url, "interval_s": 60, "timeout_s": 30}
        requires = [slow, {"kind": "file", "path": "x", **QUICK}]
        project.app("coach", WELL_APP, requires=requires)
        (project.folder / "x").touch()
        running = project.start()
        running.wait_for("coach", state="ready")
        eventually(lambda: running.health()["checks"]["coach: file x"]["reason"] is None)
        started = time.monotonic()
        waiting = running.health()["checks"][f"coach: http {url}"]
        assert time.monotonic() - started < 1
    assert (waiting["status"], waiting["reason"]) == ("warn", "not checked yet")
    assert ready(project) == 503  # nothing has shown that the server answers


def test_the_health_path_while_it_runs(project: Project) -> None:
    """An app that says it isn't well is not ready, and not restarted."""
    project.app("coach", WELL_APP, health_path="/status", health_interval_s=0.2, health_threshold=2)
    running = project.start()
    running.wait_for("coach", state="ready")
    eventually(lambda: ready(project) == 200, what="well")
    sick = project.file("coach").parent / "sick"
    sick.touch()
    eventually(lambda: ready(project) == 503, what="not well")
    coach = running.app("coach")
    assert coach["reason"] == "/status answers 503 SERVICE UNAVAILABLE"
    assert (coach["state"], coach["restarts"]) == ("ready", 0)
    sick.unlink()
    eventually(lambda: ready(project) == 200, what="well again")
    project.file("coach").write_text("raise RuntimeError('x')")
    project.command("restart", "coach")
    running.wait_for("coach", serving="stand-in")
    eventually(lambda: "coach: health_path /status" not in running.health()["checks"])


def test_a_new_configuration(project: Project) -> None:
    """What is the same keeps what is known of it; what is new is checked; a stopped app isn't."""
    kept = {"kind": "directory", "path": ".", **QUICK}
    project.app("coach", WELL_APP, requires=[kept])
    project.app("admin")
    running = project.start()
    name = "coach: directory ."
    eventually(lambda: running.health()["checks"][name]["reason"] is None, what="it passes")
    eventually(lambda: running.health()["checks"][name]["age_s"] > 1, what="some time")
    project.apps["admin"]["requires"] = [{"kind": "file", "path": "nosuch", **QUICK}]
    assert project.command("reload").returncode == 0
    eventually(
        lambda: running.health()["checks"]["admin: file nosuch"]["status"] == "fail",
        what="the new one",
    )
    assert running.health()["checks"][name]["age_s"] > 1
    assert project.command("stop", "admin").returncode == 0
    eventually(lambda: ready(project) == 200, what="ready")
    assert "admin: file nosuch" not in running.health()["checks"]


def test_facts_and_metrics_of_a_running_supervisor(project: Project) -> None:
    """The machine in /health; counters of requests; both text formats; no secret of anybody."""
    project.app("coach", WELL_APP, env={"API_TOKEN": "k3-secret"})
    project.app("broken", "import nosuch\n")
    running = project.start()
    running.wait_for("coach", state="ready")
    running.wait_for("broken", serving="stand-in")
    host = eventually(lambda: running.health()["host"], what="facts")
    assert host["memory"]["total_mb"] > 0
    assert host["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert {"state_dir", "root"} <= host["disks"].keys()
    for _ in range(5):
        assert ask(project.port("coach")).status == 200
    assert ask(project.port("coach"), "/nosuch").status == 404
    name = "flask_supervisor_app_requests_total"
    eventually(lambda: metrics(project)[f"{name}['coach', '2xx']"] == 5, what="counted")
    found = metrics(project)
    assert found[f"{name}['coach', '4xx']"] == 1
    assert found["flask_supervisor_app_up['coach']"] == 1
    assert found["flask_supervisor_app_up['broken']"] == 0
    assert found["flask_supervisor_app_port_bound['broken']"] == 1
    assert found["flask_supervisor_main_process_alive[]"] == 1
    assert found["flask_supervisor_main_loop_lag_seconds[]"] < 5
    assert found["flask_supervisor_events_total['coach', 'ready']"] == 1
    assert found["flask_supervisor_events_total['', 'started']"] == 1
    assert found["flask_supervisor_app_request_duration_seconds_count['coach']"] == 6
    assert found["flask_supervisor_host_memory_size_bytes[]"] > 0
    answer = ask(project.status_port, "/metrics", accept="application/openmetrics-text")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert list(read_openmetrics(answer.text))
    assert "k3-secret" not in answer.text
    assert str(project.folder) not in answer.text


def test_facts_that_warn(project: Project) -> None:
    """A threshold that this machine exceeds: a warning with what to do, and no failure."""
    project.app("coach")
    project.write()
    text = project.config.read_text() + "[host]\nmemory_free_percent = 100\n"
    running = project.start()
    project.config.write_text(text)
    os.kill(running.process.pid, 1)  # SIGHUP reads it anew
    found = eventually(
        lambda: running.health()["checks"].get("host_memory", {}).get("reason"),
        timeout_s=30,
        what="the warning",
    )
    assert "less than 100 %" in found
    assert running.health()["status"] == "warn"
    assert ready(project) == 200
    assert ask(project.status_port, "/health").status == 200


# A worker keeps 400 connections; to let in more, it closes one that has been idle for a second.
@pytest.mark.parametrize(("flood", "limit_s"), [(350, 1.0), (500, 2.0)])
def test_the_status_port_under_attack(project: Project, flood: int, limit_s: float) -> None:
    """Slow connections, garbage and huge headers: /livez answers soon, apps are untouched."""
    huge = b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000
    junk = (b"GET /health HT", b"\x16\x03\x01\x00" * 100, b"", huge)
    project.app("coach", WELL_APP)
    running = project.start()
    running.wait_for("coach", state="ready")
    connections = [
        socket.create_connection(("127.0.0.1", project.status_port)) for _ in range(flood)
    ]
    try:
        for number, connection in enumerate(connections):
            with contextlib.suppress(OSError):  # it may close what it refuses
                connection.sendall(junk[number % len(junk)])
        worst_s = 0.0
        for _ in range(200):
            started = time.monotonic()
            assert ask(project.status_port, "/livez").status == 200
            worst_s = max(worst_s, time.monotonic() - started)
        assert worst_s < limit_s
        assert ask(project.port("coach")).text == "hello"
    finally:
        for connection in connections:
            connection.close()
    assert running.app("coach")["restarts"] == 0


def test_status_fails_with_its_headline(project: Project) -> None:
    """All apps are ready, but the status port is held by another process: exit code 1."""
    project.app("coach")
    with socket.create_server(("0.0.0.0", project.status_port)):
        running = project.start(wait=False)
        eventually(lambda: ask(project.port("coach")).status == 200, what="the app serves")
        shown = eventually(
            lambda: (found := project.command("status")).stdout and found, what="it answers"
        )
        assert ": fail" in shown.stdout.splitlines()[0]
        assert shown.returncode == 1
        assert project.command("status", "coach").returncode == 0
    eventually(lambda: running.health()["status"] == "pass", timeout_s=40, what="it is bound")
    assert project.command("status").returncode == 0
