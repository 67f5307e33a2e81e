"""What operators do with apps that share a process, and what they see of them."""

import contextlib
import os
import signal
import socket
import time

import pytest
from grouping import ADMIN, COACH, Field, held
from harness import Poller, Project, ask, eventually, free_ports
from load import streams

from supervisor.client import Client

IMPORTED_SLOWLY = """
import os, sys, time
joins = "admin" in sys.modules  # in the worker, not on trial
if joins:
    open("begun", "w").close()
    while not os.path.exists("go"):
        time.sleep(0.05)
"""


def test_a_stop_of_one_leaves_the_others_alone(project: Project) -> None:
    """Its port answers 503, the others serve on in the same process; a start brings it back."""
    field = Field.make(project)
    running = project.start()
    pid = field.pid(running)
    with Poller(project.port("admin"), rate=50) as poller:
        assert project.command("stop", "coach").returncode == 0
        found = running.wait_for("coach", state="stopped", serving="stand-in", status="warn")
        assert "stopped by an operator" in found["reason"]
        eventually(lambda: ask(project.port("coach")).status == 503)
        assert field.say("pid") == str(pid)
        assert project.command("start", "coach").returncode == 0
        eventually(lambda: ask(project.port("coach")).status == 200)
    assert {answer.text for answer in poller.answers} == {str(pid)}
    assert not poller.refused and not poller.failed
    assert field.pid(running) == pid


def test_a_stop_lasts_until_a_start(project: Project) -> None:
    """Neither a restart nor a reload by another app's name starts what an operator has stopped."""
    field = Field.make(project, devices=False)
    running = project.start()
    pid = field.pid(running)
    assert project.command("stop", "coach").returncode == 0
    for command in ("restart", "reload"):
        ended = project.command(command, "admin")
        assert ended.returncode == 0, ended.stderr
        new = running.worker("admin")
        assert new != pid
        pid = new
        running.wait_for("coach", state="stopped", serving="stand-in")
        assert ask(project.port("coach")).status == 503
    assert project.command("restart", "coach").returncode == 0
    assert field.pid(running) != pid
    eventually(lambda: ask(project.port("coach")).status == 200)


def test_a_stop_holds_for_the_generation_that_comes_back(project: Project) -> None:
    """What was stopped, or started, since a reload is so too when its new worker dies at once."""
    Field.make(project, devices=False)
    running = project.start()
    client = Client(project.folder / ".flask-supervisor" / "control.sock", timeout_s=60)
    for verb, state, status in (("stop", "stopped", 503), ("start", "ready", 200)):
        running.worker("admin")
        client.call("reload", apps=["admin"])
        client.call(verb, apps=["coach"])
        os.kill(running.app("admin")["pid"], signal.SIGKILL)
        running.wait_for("coach", state=state)
        running.wait_for("admin", state="ready")
        with Poller(project.port("coach"), rate=50) as poller:
            eventually(lambda: len(poller.answers) >= 50, timeout_s=60, what="some answers")
        assert {answer.status for answer in poller.answers} == {status}
        assert not poller.failed


def test_a_client_that_stays_is_let_go(project: Project) -> None:
    """A connection that was open at the stop ends soon: its next request gets the stand-in."""
    Field.make(project, devices=False)
    project.start()
    port = project.port("coach")
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as kept:
        kept.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert kept.recv(65536).startswith(b"HTTP/1.1 200")
        assert project.command("stop", "coach").returncode == 0
        eventually(lambda: kept.recv(65536) == b"", timeout_s=60, what="the connection ends")


def test_the_stop_of_all_ends_the_process(project: Project) -> None:
    """One after the other or at once, with the last app the process ends; each starts alone."""
    field = Field.make(project, devices=False)
    running = project.start()
    pid = field.pid(running)
    assert project.command("stop", "coach").returncode == 0
    assert project.command("stop", "admin").returncode == 0
    eventually(lambda: pid not in project.processes(), what="the process ends")
    for name in ("admin", "coach"):
        running.wait_for(name, state="stopped", serving="stand-in")
    assert project.command("start", "coach").returncode == 0
    running.wait_for("coach", state="ready", serving="app")
    running.wait_for("admin", state="stopped", serving="stand-in")
    assert ask(project.port("admin")).status == 503
    assert project.command("start", "admin").returncode == 0
    assert field.pid(running) != pid


def test_the_stop_of_all_includes_a_port_of_its_own(project: Project) -> None:
    """An app that binds its port can be stopped with all of its process only."""
    field = Field.make(project)
    running = project.start()
    pid = field.pid(running)
    ended = project.command("stop", "devices")
    assert ended.returncode == 1
    assert "stop all of its process" in ended.stderr
    assert field.say("pid") == str(pid)
    ended = project.command("stop", "all")
    assert ended.returncode == 0, ended.stderr
    eventually(lambda: pid not in project.processes(), what="the process ends")
    with pytest.raises(ConnectionRefusedError):
        field.say("pid")
    ended = project.command("start", "all")
    assert ended.returncode == 0, ended.stderr
    assert field.say("pid") == str(field.pid(running))


def test_a_stop_while_it_is_imported_stays(project: Project) -> None:
    """An app that is stopped during its repair is imported, but never serves a request.

    The main process is halted: the worker alone has to see to that when the import ends.
    """
    field = Field.make(project, devices=False)
    field.write("coach", "raise RuntimeError('first')\n")
    running = project.start()
    running.worker("admin")
    running.wait_for("coach", serving="stand-in")
    field.write("coach", IMPORTED_SLOWLY + COACH + "\nif joins: open('ended', 'w').close()\n")
    folder = project.folder / "field"
    eventually((folder / "begun").exists, timeout_s=60)
    assert project.command("stop", "coach").returncode == 0
    os.kill(running.process.pid, signal.SIGSTOP)
    try:
        (folder / "go").touch()
        eventually((folder / "ended").exists, timeout_s=60)
        with Poller(project.port("coach"), rate=20) as poller:
            eventually(lambda: len(poller.answers) >= 30, timeout_s=60, what="some answers")
    finally:
        os.kill(running.process.pid, signal.SIGCONT)
    assert {answer.status for answer in poller.answers} == {503}
    running.wait_for("coach", state="stopped")
    assert project.command("start", "coach").returncode == 0
    assert field.pid(running)
    eventually(lambda: ask(project.port("coach")).status == 200)


def test_health_and_status_show_each_app(project: Project) -> None:
    """Each has its own port, state and requests; the pid and the memory are of the process."""
    field = Field.make(project)
    field.write("coach", "raise RuntimeError('of coach')\n")
    running = project.start()
    pid = running.worker("admin")
    running.wait_for("coach", serving="stand-in")
    for _ in range(5):
        field.get("admin")
    eventually(lambda: running.app("admin")["requests"]["total"] == 5, timeout_s=20)
    whole = running.health()
    assert whole["status"] == "fail"
    admin, coach, devices = (whole["apps"][name] for name in ("admin", "coach", "devices"))
    assert (admin["status"], coach["status"], devices["status"]) == ("pass", "fail", "pass")
    assert admin["pid"] == devices["pid"] == pid
    assert admin["port"] == project.port("admin") and devices["port"] == field.devices_port
    assert coach["requests"]["total"] == devices["requests"]["total"] == 0
    assert admin["memory_mb"] > 1
    shown = project.command("status")
    assert shown.returncode == 1
    rows = {line.split()[0]: line for line in shown.stdout.splitlines() if line.strip()}
    assert "ready" in rows["admin"] and "ready" in rows["devices"]
    assert "stand-in" in rows["coach"]
    assert "RuntimeError: of coach (coach.py, line 1)" in shown.stdout


def test_logs_of_one_show_what_the_process_prints(project: Project) -> None:
    """What a process prints belongs to all its apps: each of them shows it."""
    field = Field.make(project, devices=False)
    field.write("coach", COACH + "\nprint('hello from coach', flush=True)\n")
    field.pid(project.start())
    for name in ("admin", "coach"):
        assert "hello from coach" in project.command("logs", name).stdout


def test_too_much_memory_replaces_the_process(project: Project) -> None:
    """The limits of its apps add up to that of the whole process."""
    field = Field.make(project, devices=False)
    field.write(
        "admin",
        ADMIN + "\n@app.get('/grow')\ndef grow():\n    app.x = b'x' * 10**8\n    return ''\n",
    )
    project.apps["coach"]["max_memory_mb"] = 60
    project.apps["admin"]["max_memory_mb"] = 61
    running = project.start()
    pid = field.pid(running)
    field.get("admin", "/grow")
    field.wait_for_another(running, pid)
    assert "max_memory_mb = 121: it is being replaced" in running.log


def test_many_requests_replace_the_process(project: Project) -> None:
    """The requests of all apps count together."""
    field = Field.make(project, devices=False)
    project.apps["coach"]["max_requests"] = 20
    running = project.start()
    pid = field.pid(running)
    for _ in range(15):
        field.get("admin")
        field.get("coach")
    field.wait_for_another(running, pid)


def test_a_stuck_process_is_replaced(project: Project) -> None:
    """The smallest `hang_timeout_s` holds; meanwhile both ports say 503."""
    field = Field.make(project, devices=False)
    stuck = "\n@app.get('/stuck')\ndef stuck():\n    import os, signal\n"
    field.write(
        "coach", COACH + stuck + "    os.kill(os.getpid(), signal.SIGSTOP)\n    return ''\n"
    )
    project.apps["admin"]["hang_timeout_s"] = 8
    running = project.start()
    pid = field.pid(running)
    with contextlib.suppress(OSError):  # it may get its answer out before it stands still
        ask(project.port("coach"), "/stuck", timeout_s=1)
    running.wait_for("admin", serving="stand-in", timeout_s=20)
    running.wait_for("coach", serving="stand-in")
    field.wait_for_another(running, pid)


def test_a_port_that_is_held_joins_later(project: Project) -> None:
    """The others serve; when the port is free, the process is reloaded, and all serve."""
    project.bind = {"first_delay_s": 0.5, "factor": 1}
    field = Field.make(project, devices=False)
    with held(project.port("coach")):
        running = project.start()
        pid = running.worker("admin")
        found = running.wait_for("coach", state="blocked", serving="nothing", pid=None)
        assert "is in use" in found["reason"]
        assert field.get("admin") == str(pid)
        with Poller(project.port("admin"), rate=50) as poller:
            held_until = len(poller.answers) + 20
            eventually(lambda: len(poller.answers) > held_until)
    new = field.wait_for_another(running, pid)
    assert field.get("coach") == str(new)
    assert not poller.refused


THIRD = """
from flask import Flask
import registry

app = Flask(__name__)

@app.get("/")
def index():
    return "third"
"""


@pytest.mark.parametrize("devices", [False, True])
def test_a_new_configuration_adds_and_removes_an_app(project: Project, devices: bool) -> None:
    """The process has the apps that the configuration names; nobody else's clients are refused."""
    field = Field.make(project, devices=devices)
    field.write("third", THIRD)
    running = project.start()
    pid = field.pid(running)
    project.apps["third"] = {
        "target": "third:app",
        "port": free_ports(1)[0],
        "path": "field",
        "process": "field",
    }
    with Poller(project.port("admin"), rate=100) as poller:
        ended = project.command("reload")
        assert ended.returncode == 0, ended.stderr
        new = field.wait_for_another(running, pid)
        assert field.get("third") == "third"
        third = project.apps.pop("third")
        ended = project.command("reload")
        assert ended.returncode == 0, ended.stderr
        last = field.wait_for_another(running, new)
    assert not poller.refused and not poller.failed
    with pytest.raises(ConnectionRefusedError):
        ask(third["port"])
    assert "third" not in running.health()["apps"]
    if devices:
        assert field.say("pid") == str(last)


def test_an_app_moves_into_a_process_of_its_own(project: Project) -> None:
    """It takes its port with it: nobody is refused."""
    field = Field.make(project, devices=False)
    running = project.start()
    pid = field.pid(running)
    del project.apps["coach"]["process"]
    with (
        Poller(project.port("admin"), rate=100) as first,
        Poller(project.port("coach"), rate=100) as second,
    ):
        ended = project.command("reload")
        assert ended.returncode == 0, ended.stderr
        alone = running.worker("coach")
        assert alone != pid
        assert running.worker("admin") != alone
    for poller in (first, second):
        assert not poller.refused and not poller.failed


def test_equal_module_names_live_in_processes_of_their_own(project: Project) -> None:
    """Two apps, each with `app.py`, `models.py` and `routes.py` of its own, don't meet."""
    for name in ("one", "two"):
        project.app(name, target="app:app")
        project.file(name, "app.py").write_text(
            "from flask import Flask\napp = Flask(__name__)\nimport routes\n", encoding="utf-8"
        )
        project.file(name, "routes.py").write_text(
            "import models\nfrom app import app\n@app.get('/')\ndef index():\n"
            "    return models.NAME\n",
            encoding="utf-8",
        )
        project.file(name, "models.py").write_text(f"NAME = {name!r}\n", encoding="utf-8")
    running = project.start()
    for name in ("one", "two"):
        running.worker(name)
        assert ask(project.port(name)).text == name
    for name in ("one", "two"):
        project.apps[name]["process"] = "both"
    ended = project.command("config", "check")
    assert ended.returncode == 1
    assert 'apps.two.path = "two": apps of one process must have the same, and one has "one"' in (
        ended.stderr + ended.stdout
    )


STREAM = """
import time
from flask import Flask
app = Flask(__name__)

@app.get("/")
def index():
    return "here"

@app.get("/stream")
def stream():
    def events():
        while True:
            yield "data: now\\n\\n"
            time.sleep(0.1)
    return app.response_class(events(), mimetype="text/event-stream")
"""


def test_an_endless_stream_does_not_hold_up_a_group_that_cannot_run_twice(
    project: Project,
) -> None:
    """Beside a self-bound app, a reload and a stop cut an event stream early, and name it."""
    field = Field.make(project)
    field.write("viewer", STREAM)
    port = free_ports(1)[0]
    group = project.apps["devices"]["process"]
    project.apps["viewer"] = {
        "target": "viewer:app",
        "port": port,
        "path": "field",
        "process": group,
        "stop_timeout_s": 60,
    }
    running = project.start()
    running.worker("viewer")
    for command in ("reload", "stop"):
        with streams(port, count=2) as viewers:
            began = time.monotonic()
            assert project.command(command, "all", timeout_s=100).returncode == 0
            assert time.monotonic() - began < 30
            for viewer in viewers:
                viewer.settimeout(10)
                with contextlib.suppress(ConnectionResetError):
                    while viewer.recv(65536):
                        pass
        if command == "reload":
            assert ask(port).text == "here"
    assert running.log.count("cut off GET /stream, a stream that has lasted ") == 4
