"""A listener is well only if clients get in: what makes it useless is noticed and mended."""

import socket
import subprocess
from pathlib import Path

import pytest
from harness import Project, ask, eventually
from network_case import ABSENT, text_inside
from observing import events, snapshot
from ports.test_addresses import QUICK, ask_unix

SHUTS_DOWN = """
import os, socket
from flask import Flask
app = Flask(__name__)
calls = 0

@app.get("/")
def index():
    global calls
    calls += 1
    return f"call {calls}"

@app.get("/shut")
def shut():
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            one = socket.socket(fileno=os.dup(fd))
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # no socket
    return "done"
"""


def test_the_file_of_a_unix_socket(project: Project) -> None:
    """Removed, it is made again for the same worker, also when the code on disk is broken by now;
    in the place of one that another process has put there, as soon as that is gone."""
    project.bind = dict(QUICK)
    path = project.folder / "coach.sock"
    project.app("coach", SHUTS_DOWN, host=f"unix:{path}")
    project.app("broken", "1 / 0\n", host=f"unix:{path}-broken")
    running = project.start()
    worker = running.worker("coach")
    assert ask_unix(path) == (200, "call 1")
    project.file("coach").write_text("1 / 0\n")
    path.unlink()
    assert eventually(lambda: ask_unix(path)) == (200, "call 2")
    Path(f"{path}-broken").unlink()
    assert eventually(lambda: ask_unix(Path(f"{path}-broken")))[0] == 503  # by the stand-in
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        blocked = running.wait_for("coach", state="blocked", status="fail")
        assert blocked["reason"] == "the file of its socket was removed or replaced"
        assert path.is_socket()
    running.wait_for("coach", state="ready")
    assert ask_unix(path) == (200, "call 3")
    assert running.worker("coach") == worker
    found = "the file of its socket was removed or replaced; binding it again"
    assert events(running, "coach", "bind_failed").count(found) == 2


def test_an_app_that_shuts_its_listener_down(project: Project) -> None:
    """Every process that shares a listener can shut it down: it is bound again."""
    port = project.app("coach", SHUTS_DOWN)
    running = project.start()
    worker = running.worker("coach")
    assert ask(port).text == "call 1"
    assert ask(port, "/shut").text == "done"
    assert eventually(lambda: ask(port).text) == "call 2"
    assert running.worker("coach") == worker
    assert "its listener was shut down; binding it again" in events(running, "coach", "bind_failed")


@pytest.mark.root
@pytest.mark.debian("iproute2", program="ip")
def test_an_address_that_goes(project: Project) -> None:
    """Health fails with that reason; the same worker answers when the address is back."""
    port = project.app("coach", host=ABSENT)
    project.app("neighbour")
    address = f"ip address add {ABSENT}/32 dev lo"
    enter = ["unshare", "--net", "--", "sh", "-c", f'ip link set lo up && {address} && exec "$@"']
    running = project.start(prefix=[*enter, "sh"], wait=False)
    inside = ["nsenter", f"--net=/proc/{running.process.pid}/ns/net", "--"]

    def state() -> tuple[str, str, str]:
        apps = snapshot(running)["apps"]
        return apps["coach"]["state"], apps["coach"]["status"], apps["neighbour"]["state"]

    eventually(lambda: state() == ("ready", "pass", "ready"))
    subprocess.run([*inside, *f"ip address del {ABSENT}/32 dev lo".split()], check=True)
    gone = f"no network interface has the address of {ABSENT}:{port} any more"
    eventually(lambda: state() == ("blocked", "fail", "ready"))
    assert snapshot(running)["apps"]["coach"]["reason"] == gone
    subprocess.run([*inside, *address.split()], check=True)
    eventually(lambda: state() == ("ready", "pass", "ready"))
    assert text_inside(inside, f"http://{ABSENT}:{port}/") == "coach\n"
    assert f"clients can reach {ABSENT}:{port} again" in running.log


@pytest.mark.ipv6
def test_localhost_is_both_loopbacks(project: Project) -> None:
    """As under waitress by hand; so for an app that can't be imported, and after a reload."""
    port = project.app("coach", host="localhost")
    broken = project.app("broken", "1 / 0\n", host="localhost")
    running = project.start()
    running.wait_for("coach", state="ready")
    for host in ("127.0.0.1", "::1"):
        assert ask(port, host=host).text == "coach\n"
        assert eventually(lambda host=host: ask(broken, host=host)).status == 503
    assert project.command("reload", "coach").returncode == 0
    for host in ("127.0.0.1", "::1"):
        assert [ask(port, host=host).text for _ in range(3)] == ["coach\n"] * 3


@pytest.mark.ipv6
def test_another_process_at_the_other_loopback(project: Project) -> None:
    """IPv4 is served, and health warns: a client may get to that process instead."""
    port = project.app("coach", host="localhost")
    with socket.socket(socket.AF_INET6) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("::1", port))
        other.listen()
        running = project.start()
        running.wait_for("coach", state="ready")
        assert ask(port).text == "coach\n"
        says = f"port {port} has another listener, which takes a part of the requests"
        running.wait_for("coach", status="warn", says=says, timeout_s=30)


SHOWS_CLIENT = """
from flask import Flask, request
app = Flask(__name__)

@app.get("/")
def index():
    return request.remote_addr
"""


@pytest.mark.ipv6
def test_an_ipv4_client_of_a_socket_for_both_families(project: Project) -> None:
    """The app sees its address as IPv4 writes it, and so does `trusted_proxy`, however written."""
    ports = [
        project.app(
            name,
            SHOWS_CLIENT,
            host="::",
            waitress={"trusted_proxy": proxy, "trusted_proxy_headers": ["x-forwarded-for"]},
        )
        for name, proxy in (("plain", "127.0.0.1"), ("mapped", "::ffff:127.0.0.1"))
    ]
    running = project.start()
    running.wait_for("plain", state="ready")
    running.wait_for("mapped", state="ready")
    for port in ports:
        assert ask(port).text == "127.0.0.1"
        assert ask(port, headers={"X-Forwarded-For": "192.0.2.7"}).text == "192.0.2.7"
        assert ask(port, host="::1", headers={"X-Forwarded-For": "192.0.2.7"}).text == "::1"
