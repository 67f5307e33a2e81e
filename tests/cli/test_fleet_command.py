"""``fleet`` and ``health``: commands that ask status ports, against real supervisors and others."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from children import beside
from harness import REPOSITORY, Project, Running, eventually, free_ports
from health_documents import APP, health_document
from wire import answer_each

from supervisor.health.fleet_hosts import read as read_hosts
from supervisor.values.errors import ConfigError


def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that needs no supervisor of its own."""
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a supervisor with an app that serves and one that doesn't."""
    project = Project(tmp_path_factory.mktemp("health"))
    project.app("admin")
    project.app("coach", "raise RuntimeError('no token')\n")
    try:
        started = project.start()
        started.wait_for("admin", state="ready")
        started.wait_for("coach", serving="stand-in")
        yield started
    finally:
        project.clean_up()


# ---- health


def test_health_of_a_supervisor(running: Running) -> None:
    """CRITICAL with the app and its reason; of one app that is well OK; with performance data."""
    project = running.project
    whole = project.command("health")
    assert whole.returncode == 2
    assert whole.stdout.startswith("FLASK-SUPERVISOR CRITICAL - 1 of 2 apps ready; coach: ")
    assert "no token" in whole.stdout
    assert " | time=" in whole.stdout
    one = run("health", f"127.0.0.1:{project.status_port}/health/admin", folder=project.folder)
    assert one.returncode == 0
    assert one.stdout.startswith("FLASK-SUPERVISOR OK - ready, served by app | time=")
    nobody = run("health", f"127.0.0.1:{project.status_port}/health/nobody", folder=project.folder)
    assert nobody.returncode == 2
    assert "no app 'nobody'" in nobody.stdout


def test_health_without_an_answer(tmp_path: Path) -> None:
    """CRITICAL: whoever monitors wants to be woken."""
    gone = run("health", f"127.0.0.1:{free_ports(1)[0]}", folder=tmp_path)
    assert gone.returncode == 2
    assert "CRITICAL - 127.0.0.1: no answer: Connection refused" in gone.stdout
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        started = time.monotonic()
        found = run("health", f"127.0.0.1:{port}", "--timeout", "0.5", folder=tmp_path)
    assert found.returncode == 2
    assert "no answer within" in found.stdout
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "words",
    [
        ("health", "--nosuch"),
        ("health", "a", "b"),
        ("health", "--timeout", "x"),
        ("health", "ftp://x"),
        ("health", "--config", "nosuch.toml"),
    ],
)
def test_health_that_is_used_wrongly(tmp_path: Path, words: tuple[str, ...]) -> None:
    """UNKNOWN, as the guidelines for plugins demand: not CRITICAL."""
    assert run(*words, folder=tmp_path).returncode == 3


@pytest.mark.debian("monitoring-plugins-basic", program="/usr/lib/nagios/plugins/check_http")
def test_nagios_sees_the_same(running: Running) -> None:
    """Debian's check_http takes the codes of the paths as they are meant."""
    expected = {"/livez": 0, "/readyz": 2, "/health": 2, "/health/admin": 0, "/health/coach": 2}
    found = {
        path: subprocess.run(
            [
                *("/usr/lib/nagios/plugins/check_http", "-I", "127.0.0.1"),
                *("-p", str(running.project.status_port), "-u", path),
            ],
            stdout=subprocess.DEVNULL,
            check=False,
        ).returncode
        for path in expected
    }
    assert found == expected


# ---- fleet


def serve(listener: socket.socket, document: dict[str, Any], count: int) -> None:
    """Answer ``count`` requests with a health document."""
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
    answer_each(listener, *[head.encode() + body] * count)


def test_a_fleet_of_twenty(running: Running, tmp_path: Path) -> None:
    """Three dead, two silent, one real and failing, one on another release: all in one table."""
    usual = health_document(version=running.health()["version"])
    other = {**APP, "release": {"digest": "f" * 64}}
    drifted = {**usual, "apps": {**usual["apps"], "coach": other}}
    with ExitStack() as stack:
        hosts: dict[str, int] = {"real": running.project.status_port}
        for name in [*(f"well{n:02}" for n in range(13)), "drift"]:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            hosts[name] = listener.getsockname()[1]
            document = drifted if name == "drift" else usual
            stack.enter_context(
                beside(lambda one=listener, answer=document: serve(one, answer, count=2))
            )
        for name in ("silent0", "silent1"):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            hosts[name] = listener.getsockname()[1]
        hosts |= {f"dead{n}": port for n, port in enumerate(free_ports(3))}
        assert len(hosts) == 20
        text = "".join(f'{name} = "127.0.0.1:{port}"\n' for name, port in hosts.items())
        (tmp_path / "hosts.toml").write_text(f"[hosts]\n{text}")
        shown = run("fleet", "--timeout", "2", folder=tmp_path)
        as_json = run("fleet", "--timeout", "2", "--json", folder=tmp_path)
    assert shown.returncode == as_json.returncode == 1
    assert shown.stdout.splitlines()[-1] == "13 of 20 machines are well"
    assert "no token" in shown.stdout
    assert "other code: coach ffffffff, most run 01234567" in shown.stdout
    found = {one["name"]: one for one in json.loads(as_json.stdout)}
    assert list(found) == list(hosts)
    assert [name for name, one in found.items() if one["status"] == "unreachable"] == [
        *("silent0", "silent1", "dead0", "dead1", "dead2"),
    ]
    assert [name for name, one in found.items() if one["drift"] and name != "real"] == ["drift"]
    assert found["real"]["status"] == "fail"


def test_a_fleet_that_is_well(running: Running, tmp_path: Path) -> None:
    """Exit code 0; the deadline is not waited for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (tmp_path / "x.toml").write_text(f'[hosts]\na = "127.0.0.1:{listener.getsockname()[1]}"\n')
        with beside(lambda: serve(listener, health_document(), count=1)):
            started = time.monotonic()
            found = run("fleet", "--file", "x.toml", "--timeout", "30", folder=tmp_path)
    assert found.returncode == 0, found.stdout
    assert time.monotonic() - started < 20
    assert "a     pass         2/2      0.1.0     48 °C  1 h" in found.stdout


def test_a_fleet_is_watched(tmp_path: Path) -> None:
    """Shown anew until Ctrl-C; then the exit code is that of the last look."""
    (tmp_path / "hosts.toml").write_text(f'[hosts]\na = "127.0.0.1:{free_ports(1)[0]}"\n')
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "supervisor", "fleet", "--watch"],
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        said = "0 of 1 machines are well"
        eventually(lambda: (tmp_path / "out").read_text().count(said) >= 2, what="shown twice")
        process.send_signal(2)
        assert process.wait(10) == 1
    assert "Traceback" not in (tmp_path / "out").read_text()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "cannot read"),
        ("[hosts", "hosts.toml: "),
        ("", "hosts: must be a table of 1 to 500 machines"),
        ("hosts = 1", "hosts: must be a table"),
        ("[hosts]\n", "hosts: must be a table"),
        ("[hosts]\na = 1\n", "hosts.a = 1: must be an address, as a text"),
        ('[hosts]\na = "ftp://x"\n', "hosts.a: 'ftp://x' is no address of a status port"),
        ('[host]\na = "x"\n', "host: unknown key; known here: hosts"),
    ],
)
def test_a_file_of_hosts_that_is_wrong(tmp_path: Path, text: str | None, problem: str) -> None:
    """Each problem with its place, and an example of what is right."""
    file = tmp_path / "hosts.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_hosts(file)
    assert problem in str(raised.value)
    assert "[hosts]" in str(raised.value.hint)


def test_no_file_of_hosts(tmp_path: Path) -> None:
    """What to write is said."""
    if Path("/etc/flask-supervisor/hosts.toml").exists():
        pytest.skip("this machine has a fleet of its own")
    found = run("fleet", folder=tmp_path)
    assert found.returncode == 1
    assert "no file names the machines" in found.stderr
    assert 'kitchen = "192.168.4.20"' in found.stderr
