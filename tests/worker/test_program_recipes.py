"""The recipes of docs/programs.md, with the real servers and real WebSocket clients."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import REPOSITORY, Poller, Project, Running, ask, eventually, free_ports
from load import FULL

PACKAGES = [
    *("fastapi", "flask-sock", "flask-socketio", "gunicorn", "uvicorn"),
    *("simple-websocket", "websocket-client"),
]
INSTALL_TIMEOUT_S = 300
pytestmark = pytest.mark.timeout(INSTALL_TIMEOUT_S + 120)
RELOADS = 300 if FULL else 6

# Says what it is told to on its input, each on a connection that lasts; prints what comes back.
SOCK_CLIENT = """
import sys
from simple_websocket import Client, ConnectionClosed
client = None
for line in sys.stdin:
    while True:
        try:
            client = client or Client.connect(sys.argv[1])
            client.send(line.strip())
            print(client.receive(timeout=20), flush=True)
            break
        except ConnectionClosed:
            client = None
"""
SOCKETIO_CLIENT = """
import sys, time, socketio
client = socketio.Client(reconnection_delay=0.1, reconnection_delay_max=0.5)
said = set()
client.on("said", said.add)
client.connect(sys.argv[1], transports=["websocket"])
for line in sys.stdin:
    while line.strip() not in said:  # what goes to a program that has just ended is lost
        if client.connected:
            client.emit("say", line.strip())
        time.sleep(0.3)
    print(line.strip(), flush=True)
client.disconnect()
"""


def recipes() -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield the name, the keys and the source of each recipe in the documentation."""
    text = (REPOSITORY / "docs" / "programs.md").read_text(encoding="utf-8")
    for part in text.split("\n## ")[1:]:
        keys, source = re.findall(r"```(?:toml|python)\n(.*?)```", part, re.DOTALL)
        [(name, app)] = tomllib.loads(keys)["apps"].items()
        yield name, app, source


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a virtual environment with the servers; return its interpreter."""
    folder = tmp_path_factory.mktemp("servers") / "venv"
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(python), "install"]
    for command in (
        [sys.executable, "-m", "venv", "--without-pip", str(folder)],
        [*pip, "--no-compile", "--only-binary=:all:", *PACKAGES],
    ):
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
        )
        assert ended.returncode == 0, ended.stderr
    return python


@pytest.fixture(scope="module")
def running(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run all recipes as they are documented, on free ports, with the servers' environment."""
    project = Project(tmp_path_factory.mktemp("recipes"))
    ports = iter(free_ports(10))
    for name, app, source in recipes():
        project.app(name, source)
        more = {"port": next(ports)} if "port" in app else {}
        python = {"python": str(environment), "path": name, "stop_timeout_s": 2}
        project.apps[name] = {**app, **more, **python}
    started = project.start()
    for name in project.apps:
        started.wait_for(name, state="ready", timeout_s=60)
    yield started
    project.clean_up()


def test_each_serves(running: Running) -> None:
    """Every recipe answers, or runs, as its text says."""
    project = running.project
    assert set(project.apps) == {"api", "chat", "echo", "shop", "sensor"}
    assert ask(project.port("api")).json == {"hello": "world"}
    assert ask(project.port("shop")).text == "open\n"
    eventually(lambda: "22.5 °C" in project.command("logs", "sensor").stdout)
    ended = project.command("check")
    assert ended.returncode == 0, ended.stdout
    assert "api: ok, uvicorn is there; it was not started" in ended.stdout


def test_reloads_under_load_lose_nothing(running: Running) -> None:
    """FastAPI under uvicorn is reloaded again and again: every request is answered by the app."""
    project = running.project
    with Poller(project.port("api"), rate=100) as poller:
        for _ in range(RELOADS):
            ended = project.command("reload", "api", timeout_s=120)
            assert ended.returncode == 0, ended.stderr
    assert not poller.failed and not poller.refused
    assert {answer.status for answer in poller.answers} == {200}
    assert len(poller.answers) > 20 * RELOADS


def echoed(process: "subprocess.Popen[str]", text: str) -> None:
    """Let the client say ``text``, and wait for what comes back."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{text}\n")
    process.stdin.flush()
    assert process.stdout.readline() == f"{text}\n"


@pytest.mark.parametrize(
    ("name", "client", "url"),
    [
        ("echo", SOCK_CLIENT, "ws://127.0.0.1:{port}/echo"),
        ("chat", SOCKETIO_CLIENT, "http://127.0.0.1:{port}"),
    ],
)
def test_websockets_through_a_reload(
    running: Running, environment: Path, name: str, client: str, url: str
) -> None:
    """A connection lasts until the old program ends, the next one is made to the new program."""
    project = running.project
    process = subprocess.Popen(
        [str(environment), "-c", client, url.format(port=project.port(name))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=project.environment(),
    )
    try:
        echoed(process, "before")
        old = running.app(name)["pid"]
        assert project.command("reload", name).returncode == 0
        assert running.app(name)["pid"] != old
        echoed(process, "while the old program drains")
        eventually(lambda: not Path(f"/proc/{old}").exists(), timeout_s=20)
        echoed(process, "after the client has connected again")
    finally:
        process.kill()
        process.communicate()
