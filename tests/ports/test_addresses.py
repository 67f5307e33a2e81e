"""Addresses other than IPv4's loopback: IPv6, Unix sockets, missing and forbidden ones."""

import http.client
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import GOOD_APP, Project, Running, ask, eventually, process_in_test
from network_case import ABSENT, text_inside
from observing import refused_with, snapshot

QUICK = {"first_delay_s": 0.3, "max_delay_s": 0.5}
UNIX_HOLDER = """
import socket, sys
with socket.socket(socket.AF_UNIX) as holder:
    holder.bind(sys.argv[1])
    holder.listen()
    print("held", flush=True)
    sys.stdin.read()
"""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask_unix(path: Path) -> tuple[int, str]:
    """Return status and body of an answer of the socket at ``path``."""
    connection = UnixConnection(path)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def state_of(running: Running, name: str, state: str) -> Callable[[], Any]:
    """Return a function for `eventually`: the app's document once it is in ``state``."""

    def probe() -> Any:
        app = snapshot(running)["apps"][name]
        assert app["state"] == state, app
        return app

    return probe


@pytest.mark.ipv6
def test_ipv6_alone(project: Project) -> None:
    """An app on ::1 answers there and not on IPv4; so does the stand-in."""
    port = project.app("coach", host="::1")
    broken = project.app("broken", "1 / 0\n", host="::1")
    running = project.start()
    running.wait_for("coach", state="ready")
    assert ask(port, host="::1").text == "coach\n"
    with pytest.raises(ConnectionRefusedError):
        ask(port)
    refused_with(broken, "ZeroDivisionError", host="::1")


@pytest.mark.ipv6
def test_both_families(project: Project) -> None:
    """An app on :: answers IPv6 and IPv4."""
    port = project.app("coach", host="::")
    running = project.start()
    running.wait_for("coach", state="ready")
    assert ask(port, host="::1").text == "coach\n"
    assert ask(port, host="127.0.0.1").text == "coach\n"


@pytest.mark.ipv6
def test_a_holder_of_either_family_is_named(project: Project) -> None:
    """A listener on IPv4 blocks a port on :: too, and is named."""
    project.bind = dict(QUICK)
    port = project.app("coach", host="::")
    code = "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
    with process_in_test(project, code + "print(1, flush=True); input()", str(port)) as holder:
        holder.stdout.readline()
        running = project.start()
        named = f"port {port} is in use by pid {holder.pid} ("
        running.wait_for("coach", says=named, state="blocked")
    running.wait_for("coach", state="ready")


def test_a_unix_socket(project: Project) -> None:
    """An app behind a Unix socket serves, has a stand-in, and leaves no file at the end."""
    project.app("coach", host="unix:coach.sock")
    project.app("broken", "1 / 0\n", host="unix:broken.sock")
    path, broken = project.folder / "coach.sock", project.folder / "broken.sock"
    running = project.start()
    assert running.wait_for("coach", state="ready")["port"] is None
    assert ask_unix(path) == (200, "coach\n")

    def refused() -> bool:
        status, body = ask_unix(broken)
        return status == 503 and "ZeroDivisionError: division by zero (broken.py, line 1)" in body

    eventually(refused)
    assert project.command("status").returncode == 1
    assert running.stop() == 0
    assert not path.exists()
    assert not broken.exists()


def test_the_folder_of_a_unix_socket_is_not_given_away(project: Project) -> None:
    """Monitors see a Unix socket without its folder, also when it can't be bound."""
    project.app("coach", host="unix:coach.sock")
    project.app("blocked", host="unix:taken.sock")
    project.app("nowhere", host="unix:missing/app.sock")
    (project.folder / "taken.sock").write_text("")
    running = project.start()
    running.wait_for("coach", state="ready")
    eventually(lambda: running.app("blocked")["reason"] and running.app("nowhere")["reason"])
    health = ask(project.status_port, "/health")
    assert "coach.sock" in health.json["apps"]["coach"]["address"]
    assert "taken.sock" in health.json["apps"]["blocked"]["reason"]
    assert str(project.folder) not in health.text


def test_a_stale_unix_socket_is_replaced(project: Project) -> None:
    """The socket file of a killed supervisor doesn't block the next one."""
    project.app("coach", host="unix:coach.sock")
    path = project.folder / "coach.sock"
    first = project.start()
    first.wait_for("coach", state="ready")
    first.kill()
    eventually(lambda: not project.processes())
    assert path.is_socket()
    second = project.start()
    second.wait_for("coach", state="ready", timeout_s=5)
    assert ask_unix(path) == (200, "coach\n")


def test_a_unix_socket_of_another_process_is_a_conflict(project: Project) -> None:
    """The app is blocked until the other process has ended; the others serve."""
    project.bind = dict(QUICK)
    project.app("neighbour")
    project.app("coach", host="unix:coach.sock")
    path = project.folder / "coach.sock"
    with process_in_test(project, UNIX_HOLDER, str(path)) as holder:
        assert holder.stdout.readline() == "held\n"
        running = project.start()
        running.wait_for("coach", says="coach.sock: it is in use", state="blocked")
        assert ask(project.port("neighbour")).status == 200
        assert path.is_socket()
    running.wait_for("coach", state="ready", timeout_s=5)
    assert ask_unix(path) == (200, "coach\n")


def test_a_file_in_the_place_of_a_unix_socket_is_kept(project: Project) -> None:
    """A regular file is never deleted: the app is blocked until the operator removes it."""
    project.bind = dict(QUICK)
    project.app("coach", host="unix:coach.sock")
    path = project.folder / "coach.sock"
    path.write_text("notes of a season")
    running = project.start()
    says = "coach.sock: there is a file that is no socket"
    running.wait_for("coach", says=says, state="blocked")
    assert path.read_text() == "notes of a season"
    path.unlink()
    running.wait_for("coach", state="ready", timeout_s=5)


def test_an_address_that_is_not_there(project: Project) -> None:
    """The app is blocked with the reason, the others serve."""
    project.bind = dict(QUICK)
    project.app("neighbour")
    project.app("coach", host=ABSENT)
    running = project.start()
    blocked = running.wait_for("coach", state="blocked")
    where = f"{ABSENT}:{project.port('coach')}"
    eventually(lambda: running.app("coach")["reason"])
    blocked = running.app("coach")
    assert blocked["reason"] == f"cannot bind {where}: no network interface has this address yet"
    assert blocked["serving"] == "nothing"
    assert ask(project.port("neighbour")).status == 200
    assert project.command("status").returncode == 1


@pytest.mark.root
def test_an_address_that_comes_later(project: Project) -> None:
    """An app is bound as soon as its address exists, as when Wi-Fi comes up after the start."""
    project.bind = dict(QUICK)
    port = project.app("coach", host=ABSENT)
    enter = ["unshare", "--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    running = project.start(prefix=enter, wait=False)
    blocked = eventually(state_of(running, "coach", "blocked"))
    assert "no network interface has this address yet" in blocked["reason"]
    inside = ["nsenter", f"--net=/proc/{running.process.pid}/ns/net", "--"]
    subprocess.run([*inside, "ip", "address", "add", f"{ABSENT}/32", "dev", "lo"], check=True)
    eventually(state_of(running, "coach", "ready"), timeout_s=5)
    assert text_inside(inside, f"http://{ABSENT}:{port}/") == "coach\n"


def test_a_port_that_needs_root(project: Project) -> None:
    """Without the capability a port below 1024 is blocked with a hint; the others serve."""
    port = 1023
    if port >= int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()):
        pytest.skip("this kernel lets everybody bind low ports (ip_unprivileged_port_start)")
    project.bind = dict(QUICK)
    project.app("neighbour")
    project.app("coach", GOOD_APP.format(text="coach"), port=port)
    # root keeps its files but not the capability; with no capabilities(7) at all this is a no-op
    prefix = ["setpriv", "--inh-caps=-net_bind_service", "--bounding-set=-net_bind_service"]
    running = project.start(prefix=prefix if os.geteuid() == 0 else [])
    blocked = running.wait_for("coach", state="blocked")
    assert blocked["reason"] == f"cannot bind 127.0.0.1:{port}: permission denied"
    assert "CAP_NET_BIND_SERVICE" in blocked["hint"]
    assert ask(project.port("neighbour")).status == 200
    assert "permission denied" in project.command("status").stdout
