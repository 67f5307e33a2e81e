"""Listeners that systemd stores or creates: ports that come and go between two runs."""

import shutil
import socket
from pathlib import Path

from harness import REPOSITORY, ask, eventually
from machine import (
    STATE,
    SYSTEM,
    UNIT,
    Machine,
    health,
    journal,
    main_pid,
    properties,
    refused,
    run,
    systemctl,
    write_app,
    write_config,
)

SOCKET = "flask-supervisor.socket"


def test_ports_come_and_go_between_runs(machine: Machine) -> None:
    """A removed port refuses connections, an added one is stored from now on."""
    for name in ("one", "two"):
        write_app(name)
    write_config({"one": {"port": 5001}, "two": {"port": 5003, "host": "127.0.0.1"}})
    machine.restart()
    eventually(lambda: ask(5001, timeout_s=30).text == "one\n")
    eventually(lambda: ask(5003, timeout_s=30).text == "two\n")
    assert properties()["NFileDescriptorStore"] == "3"
    eventually(lambda: refused(5000))  # systemd closes stored descriptors in a thread
    write_config({"one": {"port": 5001}, "two": {"host": f"unix:{STATE}/two.sock"}})
    machine.restart()
    eventually(lambda: refused(5003))
    assert properties()["NFileDescriptorStore"] == "3"
    machine.restart()  # the Unix socket is inherited too
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(STATE / "two.sock"))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        client.settimeout(10)
        assert client.recv(100).startswith(b"HTTP/1.0 200")
    assert "two_/two.sock" not in journal()


def test_a_stop_drops_what_was_kept(machine: Machine) -> None:
    """After a stop the ports are free for others, and a start binds them again."""
    systemctl("stop", UNIT)
    assert properties()["NFileDescriptorStore"] == "0"
    eventually(lambda: refused(5001))
    systemctl("start", UNIT)
    eventually(lambda: ask(5001).status == 200)


def test_socket_activation(machine: Machine) -> None:
    """systemd binds the ports and starts the service with the first client; others are added."""
    systemctl("stop", UNIT)
    shutil.copy(REPOSITORY / "systemd" / SOCKET, SYSTEM)
    verified = run("systemd-analyze", "verify", SYSTEM / SOCKET)
    assert (verified.returncode, verified.stderr) == (0, "")
    write_app("more")
    write_config(
        {
            "more": {"port": 5001},
            "added": {
                "port": 5002,
                "target": "more:app",
                "path": "/opt/flask-supervisor/apps/more",
            },
        }
    )
    systemctl("daemon-reload")
    systemctl("start", SOCKET)
    try:
        assert main_pid() == 0
        eventually(lambda: ask(5001, timeout_s=30).text == "more\n")
        assert main_pid() != 0
        eventually(lambda: health()["status"] == "pass")
        eventually(lambda: ask(5002, timeout_s=30).text == "more\n")
        assert "no app listens at ('0.0.0.0', 5000)" in journal()
        assert properties()["NFileDescriptorStore"] == "1"  # the socket unit has the others
        machine.restart()
        eventually(lambda: ask(5001, timeout_s=30).text == "more\n")
        eventually(lambda: health()["status"] == "pass")
    finally:
        systemctl("stop", SOCKET, UNIT)
        Path(SYSTEM / SOCKET).unlink()
        systemctl("daemon-reload")
