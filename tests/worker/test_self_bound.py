"""Self-bound apps, `bind = "app"`: alone in a process and beside others."""

import os
import signal
import socket
from typing import Any

import pytest
from grouping import DEVICES, REGISTRY, Field, held
from harness import Project, Running, eventually, free_ports

from supervisor.values.reports import ImportReport
from supervisor.worker.self_bound import SelfBoundApp, listens


def alone(project: Project, source: str, **keys: Any) -> Field:
    """Configure one TCP server that binds its port itself, in a process of its own."""
    field = Field(project, free_ports(1)[0])
    field.write("registry", REGISTRY)
    field.write("devices", source.replace("PORT_HERE", str(field.devices_port)))
    project.apps["devices"] = {
        "target": "devices:serve",
        "port": field.devices_port,
        "bind": "app",
        "path": "field",
        **keys,
    }
    return field


SERVER = DEVICES.format(port="PORT_HERE")


def another(running: Running, pid: int) -> int:
    """Wait until the server is ready in another process than ``pid``."""

    def other() -> int:
        found = running.app("devices")
        assert found["state"] == "ready" and found["pid"] != pid, found
        return int(found["pid"])

    return eventually(other, timeout_s=30)


def test_alone_it_is_supervised_like_any_app(project: Project) -> None:
    """It starts, survives a crash, a restart and a reload, stops, and starts again."""
    field = alone(project, SERVER)
    running = project.start()
    pid = running.worker("devices")
    assert field.say("pid") == str(pid)
    assert running.app("devices")["serving"] == "app"
    os.kill(pid, signal.SIGKILL)
    pid = another(running, pid)
    assert field.say("pid") == str(pid)
    for command in ("restart", "reload"):
        ended = project.command(command, "devices")
        assert ended.returncode == 0, ended.stderr
        pid = another(running, pid)
        assert field.say("pid") == str(pid)
    assert project.command("stop", "devices").returncode == 0
    with pytest.raises(ConnectionRefusedError):
        field.say("pid")
    assert running.app("devices")["state"] == "stopped"
    assert project.command("start", "devices").returncode == 0
    pid = running.worker("devices")
    assert field.say("pid") == str(pid)


def test_what_it_raises_at_once_is_reported(project: Project) -> None:
    """The report names its file and line; once repaired, it starts."""
    field = alone(project, "def serve():\n    raise RuntimeError('no antenna')\n")
    running = project.start()
    found = running.wait_for("devices", reason="RuntimeError: no antenna (devices.py, line 2)")
    assert found["status"] == "fail"
    assert found["serving"] == "nothing"
    field.write("devices", DEVICES.format(port=field.devices_port))
    running.wait_for("devices", state="ready", timeout_s=30)


def test_what_it_raises_later_ends_its_process(project: Project) -> None:
    """The process of a lone app is replaced, and the event has the exception."""
    later = SERVER.replace(
        "        server.serve_forever()\n",
        "        server.handle_request()\n        raise RuntimeError('antenna lost')\n",
    )
    field = alone(project, later)
    running = project.start()
    pid = running.worker("devices")
    assert field.say("pid") == str(pid)
    another(running, pid)
    eventually(lambda: "antenna lost" in running.log, what="the traceback is in the log")
    texts = [event["text"] for event in running.health()["events"] if event["app"] == "devices"]
    assert any("RuntimeError: antenna lost" in text for text in texts), texts


def test_one_that_stops_listening_is_replaced(project: Project) -> None:
    """A server that returns and closes its port has ended: its process is replaced."""
    field = alone(project, SERVER.replace("serve_forever", "handle_request"))
    running = project.start()
    pid = running.worker("devices")
    assert field.say("pid") == str(pid)
    another(running, pid)
    texts = [event["text"] for event in running.health()["events"] if event["app"] == "devices"]
    assert any("does not listen on port" in text for text in texts), texts


def test_one_that_never_listens_is_reported(project: Project) -> None:
    """It has the time of an import; the reason names the port."""
    alone(project, "import time\ndef serve():\n    time.sleep(600)\n", import_timeout_s=1)
    running = project.start()
    found = running.wait_for("devices", state="backoff")
    assert "does not listen on port" in found["reason"]
    assert "the call has not returned" in found["reason"]


def test_one_that_returns_and_serves_in_the_background_is_ready(project: Project) -> None:
    """A target may start a thread of its own and return."""
    background = SERVER + (
        "\nimport threading\nforever = serve\n"
        "def serve():\n    threading.Thread(target=forever, daemon=True).start()\n"
    )
    field = alone(project, background)
    running = project.start()
    pid = running.worker("devices")
    assert field.say("pid") == str(pid)


def test_the_holder_of_its_port_is_named(project: Project) -> None:
    """The reason is the app's own error; the hint names the holder. Once free, the app starts."""
    field = alone(project, SERVER)
    with held(field.devices_port):
        running = project.start()
        found = running.wait_for("devices", state="backoff")
        assert "Address already in use" in found["reason"]
        assert "devices.py" in found["reason"]
        assert f"pid {os.getpid()}" in found["hint"]
    running.wait_for("devices", state="ready", timeout_s=40)
    assert field.say("get x") == "nothing"


def test_beside_others_only_it_fails(project: Project) -> None:
    """An exception fails it alone; it is imported again and finds the shared registry unchanged."""
    field = Field.make(project)
    source = DEVICES.format(port=field.devices_port)
    broken = source.replace(
        "        server.serve_forever()\n",
        "        server.handle_request()\n        raise RuntimeError('antenna lost')\n",
    )
    field.write("devices", broken)
    running = project.start()
    pid = field.pid(running)
    assert field.get("admin", "/store/lane/7") == "stored"
    assert field.say("pid") == str(pid)
    found = running.wait_for("devices", reason="RuntimeError: antenna lost (devices.py, line 27)")
    assert found["state"] in ("backoff", "starting", "failed"), found
    assert field.get("admin") == field.get("coach") == str(pid)
    field.write("devices", source)
    running.wait_for("devices", state="ready", reason=None, pid=pid, timeout_s=30)
    for _ in range(2):  # the repaired source, that serves more than once
        assert field.say("get lane") == "7"
    assert field.pid(running) == pid


def test_beside_others_a_port_that_is_held_is_tried_again(project: Project) -> None:
    """The others serve meanwhile; once the port is free the server joins them in their process."""
    field = Field.make(project)
    with held(field.devices_port):
        running = project.start()
        pid = running.worker("admin")
        found = running.wait_for("devices", state="backoff")
        assert "Address already in use" in found["reason"]
        assert f"pid {os.getpid()}" in found["hint"]
    running.wait_for("devices", state="ready", pid=pid, timeout_s=40)
    assert field.say("pid") == str(pid)


def test_listens_finds_own_sockets_only() -> None:
    """Only a listening socket of this process counts, of either family."""
    with socket.socket() as one, socket.socket(socket.AF_INET6) as two:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        assert not listens(port)
        one.listen()
        assert listens(port)
        two.bind(("::1", 0))
        two.listen()
        assert listens(two.getsockname()[1])
    assert not listens(port)


def test_listens_ignores_other_processes(project: Project) -> None:
    """A port that another process listens on doesn't count."""
    project.app("other")
    running = project.start()
    running.worker("other")
    assert not listens(project.port("other"))


def test_a_call_that_has_not_returned_is_not_repeated() -> None:
    """The next attempt waits for a slow server instead of starting it twice."""
    port = free_ports(1)[0]
    calls: list[int] = []
    ended: list[ImportReport] = []
    with socket.socket() as go, socket.socket() as listener:
        go.bind(("127.0.0.1", 0))
        go.listen()

        def serve() -> None:
            calls.append(1)
            waiting, _ = go.accept()
            waiting.close()
            listener.bind(("127.0.0.1", port))
            listener.listen()

        def explain(error: BaseException) -> ImportReport:
            raise AssertionError from error

        own = SelfBoundApp(target="devices:serve", port=port, explain=explain, ended=ended.append)
        report = own.start(serve, timeout_s=0.2)
        assert report is not None
        assert "does not listen" in report.message and "has not returned" in report.message
        socket.create_connection(go.getsockname(), timeout=10).close()
        assert own.start(serve, timeout_s=20) is None
        assert calls == [1]
        assert not ended
    eventually(lambda: ended, what="it is seen that the port is closed")
    assert "does not listen on port" in ended[0].message
