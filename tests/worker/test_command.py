"""Programs on ports (`command`), and in the background: real ones, of the standard library."""

import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from harness import GOOD_APP, Poller, Project, Running, ask, eventually
from program_case import SERVER


def program(project: Project, source: str = SERVER, **keys: Any) -> int:
    """Add the app ``api``, whose program is ``api.py``, and return its port."""
    port = project.app("api", source, **{"command": ["python", "api.py", "{fd}"], **keys})
    del project.apps["api"]["target"]
    return port


def background(project: Project, source: str, **keys: Any) -> None:
    """Add the app ``api`` as a background process."""
    program(project, source, **{"command": ["python", "api.py"], **keys})
    del project.apps["api"]["port"]


def reload(project: Project, expected: int = 0) -> str:
    """Reload the app, and return what the command prints."""
    ended = project.command("reload", "api")
    assert ended.returncode == expected, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_it_is_an_app_like_any_other(project: Project) -> None:
    """It serves with its environment, survives a crash, and reloads without losing a request."""
    port = program(project, health_path="/well", max_memory_mb=500)
    running = project.start()
    running.worker("api")
    answer = ask(port, "/x").json
    assert answer["cwd"] == str(project.folder / "api")
    assert (answer["PORT"], answer["HOST"]) == (str(port), "127.0.0.1")
    assert (answer["LISTEN_FDS"], answer["LISTEN_PID"]) == ("1", str(answer["pid"]))
    assert os.path.samefile(answer["PATH"], Path(sys.executable).parent)
    document = running.app("api")
    assert document["serving"] == "app" and document["port"] == port
    assert eventually(lambda: (running.app("api")["memory_mb"] or 0) > 10)
    eventually(lambda: f"serving as {answer['pid']}" in project.command("logs", "api").stdout)

    os.kill(answer["pid"], signal.SIGKILL)
    eventually(lambda: ask(port).json["pid"] != answer["pid"], timeout_s=30)
    texts = [event["text"] for event in running.health()["events"] if event["app"] == "api"]
    assert any("python ended: killed by SIGKILL" in text for text in texts), texts

    source = project.file("api")
    with Poller(port, rate=100) as poller:
        for version in ("two", "three", "four"):
            source.write_text(SERVER.replace('"one"', f'"{version}"'), encoding="utf-8")
            reload(project)
            assert ask(port).json["version"] == version  # what reload waits for
    assert not poller.failed and not poller.refused
    assert {one.status for one in poller.answers} == {200}

    assert project.command("stop", "api").returncode == 0
    assert ask(port).status == 503
    assert project.command("start", "api").returncode == 0
    assert ask(port).json["version"] == "four"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_app_becomes_a_program_and_back(project: Project, host: str) -> None:
    """The new configuration holds for the same port; the next reload tells the programs apart."""
    port = program(project, host=host)
    as_program = project.apps["api"]
    as_target = {"target": "api:app", "port": port, "path": "api", "host": host}
    project.file("api").write_text(GOOD_APP.format(text="target"), encoding="utf-8")
    project.apps["api"] = as_target
    running = project.start()
    running.worker("api")
    assert ask(port).text == "target\n"
    project.file("api").write_text(SERVER, encoding="utf-8")
    project.apps["api"] = as_program
    assert project.command("reload").returncode == 0
    first = eventually(lambda: ask(port).json["pid"])
    reload(project)
    assert ask(port).json["pid"] != first
    project.file("api").write_text(GOOD_APP.format(text="target"), encoding="utf-8")
    project.apps["api"] = as_target
    assert project.command("reload").returncode == 0
    eventually(lambda: ask(port).text == "target\n")


def test_a_new_program_that_fails_changes_nothing(project: Project) -> None:
    """One that ends, or dies right after it was ready, is refused: the old one serves on."""
    port = program(project)
    running = project.start()
    running.worker("api")
    first = ask(port).json["pid"]
    source = project.file("api")
    source.write_text("import nothing_like_this\n", encoding="utf-8")
    assert "python ended before it was ready: exit code 1" in reload(project, expected=1)
    dies = SERVER.replace(
        "server.serve_forever",
        "threading.Timer(0.4, lambda: os._exit(7)).start()\nserver.serve_forever",
    )
    source.write_text(dies, encoding="utf-8")
    with Poller(port, rate=20) as poller:
        project.command("reload", "api")
        running.wait_for("api", says="reload refused", timeout_s=30)
    assert ask(port).json["pid"] == first
    assert not poller.refused
    source.write_text(SERVER, encoding="utf-8")
    reload(project)
    assert ask(port).json["pid"] != first


def test_requests_in_flight_are_finished_within_the_limit(project: Project) -> None:
    """The old program answers what it has accepted; one that ignores SIGTERM is killed."""
    port = program(project, stop_timeout_s=3)
    running = project.start()
    running.worker("api")
    old = ask(port).json["pid"]
    answers: list[Any] = []
    slow = threading.Thread(target=lambda: answers.append(ask(port, "/slow").json))
    slow.start()
    stubborn = SERVER.replace("signal.signal(signal.SIGTERM, stop)", "signal.signal(15, 1)")
    project.file("api").write_text(stubborn, encoding="utf-8")
    reload(project)
    slow.join(20)
    assert answers[0]["pid"] == old
    ignoring = ask(port).json["pid"]
    reload(project)
    eventually(lambda: not Path(f"/proc/{ignoring}").exists(), timeout_s=30)


@pytest.mark.parametrize(
    ("keys", "reason", "hint"),
    [
        (
            {"command": ["no-such-server", "{fd}"]},
            "the program no-such-server of its `command` is not installed",
            "pip install no-such-server",
        ),
        (
            {"command": ["./api.py"]},
            "the program api.py of its `command` can't be executed",
            "chmod",
        ),
        (
            {"command": ["python", "-c", "import sys; sys.exit(3)"]},
            "python ended before it was ready: exit code 3",
            "flask-supervisor logs api",
        ),
        (
            {"command": ["python", "-c", "import time; time.sleep(99)"], "import_timeout_s": 1},
            "python is not ready after 1 s: it does not answer",
            "{fd}",
        ),
        (
            {"command": ["python", "api.py", "{fd}"], "health_path": "/x", "import_timeout_s": 6},
            "python is not ready after 6 s: /x answers 500",  # it has to be up by then
            "import_timeout_s",
        ),
    ],
)
def test_why_it_does_not_serve(
    project: Project, keys: dict[str, Any], reason: str, hint: str
) -> None:
    """The port answers 503 with the reason, and with what to do."""
    port = program(project, SERVER.replace("response(200)", "response(500)"), **keys)
    running = project.start()
    found = running.wait_for("api", says=reason, timeout_s=60)
    assert hint in found["hint"]
    said = eventually(lambda: reason in (a := ask(port)).json["detail"] and a, timeout_s=60)
    assert said.status == 503


def test_check_looks_without_starting(project: Project) -> None:
    """It says that the program is there, names one that is not, and modules that are missing."""
    program(project, "import nothing_like_this\nopen('started', 'w')\n")
    ended = project.command("check", "api")
    assert ended.returncode == 1
    assert "no module named 'nothing_like_this' (api.py, line 1)" in ended.stdout
    project.file("api").write_text("open('started', 'w')\n", encoding="utf-8")
    assert "api: ok, python is there; it was not started" in project.command("check").stdout
    assert not project.file("api", "started").exists()
    project.apps["api"]["command"] = ["no-such-server"]
    found = json.loads(project.command("check", "--json").stdout)
    assert "no-such-server" in found["apps"]["api"]["reason"]


def test_it_may_bind_its_port_itself(project: Project) -> None:
    """With `bind = "app"` it is ready when one of its processes listens."""
    source = SERVER.replace(
        "server.socket = socket.socket(fileno=int(sys.argv[1]))",
        "server.socket = socket.create_server(('127.0.0.1', int(sys.argv[1])))",
    )
    port = program(project, source, bind="app")
    project.apps["api"]["command"] = ["sh", "-c", "python api.py {port}; true"]
    running = project.start()
    running.worker("api")
    assert ask(port).json["LISTEN_FDS"] is None
    reload(project)
    eventually(lambda: ask(port).status == 200)
    os.kill(ask(port).json["pid"], signal.SIGKILL)
    eventually(lambda: ask(port).status == 200, timeout_s=30)


def test_a_unix_socket(project: Project) -> None:
    """The program serves it, and ends before the next one starts."""
    path = project.folder / "api.sock"
    program(project, host=f"unix:{path}")
    running = project.start()

    def pid() -> int:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(4096), b""))
        return int(json.loads(answer.partition(b"\r\n\r\n")[2])["pid"])

    running.worker("api")
    first = pid()
    reload(project)
    assert pid() != first


LOOP = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("motors off"), sys.exit()))
print("loop", os.getpid())
while not os.path.exists("crash"):
    time.sleep(0.05)
sys.exit("sensor lost")
"""


def loop_pid(project: Project) -> int:
    """Return the pid that the loop printed last."""
    lines = project.command("logs", "api").stdout.splitlines()
    return int([line for line in lines if "| loop" in line][-1].split()[-1])


def test_a_background_process(project: Project) -> None:
    """It is ready without a port; it crashes, backs off, comes back, stops, and its log is ours."""
    background(project, LOOP)
    running = project.start()
    found = running.wait_for("api", state="ready")
    assert (found["port"], found["serving"], found["address"]) == (None, "app", "no port")
    first = loop_pid(project)
    crash = project.file("api", "crash")
    crash.touch()
    found = running.wait_for("api", says="python ended", state="backoff", timeout_s=30)
    assert found["status"] == "fail" and found["restarts"] > 0
    assert "sensor lost" in project.command("logs", "api").stdout
    crash.unlink()
    running.wait_for("api", state="ready", reason=None, timeout_s=60)
    second = loop_pid(project)
    reload(project)
    third = loop_pid(project)
    assert first != second != third
    lines = project.command("logs", "api").stdout
    assert lines.index("motors off") < lines.index(f"loop {third}")
    assert project.command("stop", "api").returncode == 0
    eventually(lambda: not Path(f"/proc/{third}").exists())
    assert running.app("api")["state"] == "stopped"
    assert project.command("status").returncode == 1
    assert project.command("start", "api").returncode == 0


def test_a_stopped_program_is_replaced(project: Project) -> None:
    """The stand-in answers meanwhile, as for a worker without a heartbeat."""
    port = program(project, hang_timeout_s=9)
    running = project.start()
    running.worker("api")
    pid = ask(port).json["pid"]
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: ask(port).status == 503, timeout_s=30)
    assert "no sign of life" in running.app("api")["reason"]
    answer = eventually(lambda: (a := ask(port)).status == 200 and a, timeout_s=60)
    assert answer.json["pid"] != pid


def test_its_files_are_a_release(project: Project) -> None:
    """What serves is kept as known good; a deploy that fails is undone, one that works serves."""
    port = program(project, known_good_after_s=1, deploy_watch_s=1)
    running = project.start()
    running.worker("api")
    eventually(lambda: "kept as release" in running.log, timeout_s=30)
    new = project.folder / "new"
    new.mkdir()
    (new / "api.py").write_text("raise SystemExit(4)\n", encoding="utf-8")
    ended = project.command("deploy", "api", str(new))
    assert ended.returncode == 1 and "exit code 4" in ended.stdout + ended.stderr
    assert ask(port).json["version"] == "one"
    (new / "api.py").write_text(SERVER.replace('"one"', '"two"'), encoding="utf-8")
    ended = project.command("deploy", "api", str(new))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ask(port).json["version"] == "two"
    assert project.command("rollback", "api").returncode == 0
    assert ask(port).json["version"] == "one"


def test_it_ends_with_the_main_process(project: Project) -> None:
    """Whatever ends the main process, no program is left, and stopping lets it finish."""
    port = program(project)
    running: Running = project.start()
    running.worker("api")
    pid = ask(port).json["pid"]
    running.kill()
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    running = project.start()
    running.worker("api")
    pid = ask(port).json["pid"]
    assert running.stop() == 0
    assert not Path(f"/proc/{pid}").exists()
