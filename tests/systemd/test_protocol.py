"""The protocol of systemd's services, with real sockets and an imitation of systemd's end."""

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import REPOSITORY
from notified import Listener

from supervisor.systemd.protocol import STATUS_MAX, Inherited, NotifySocket, fd_name, take_inherited


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    """The receiving end, at each kind of address."""
    abstract = f"@flask-supervisor-test-{os.getpid()}"
    made = Listener(abstract if request.param == "abstract" else str(tmp_path / "notify"))
    yield made
    made.close()


@pytest.fixture
def notify(listener: Listener) -> Iterator[NotifySocket]:
    """The sending end."""
    made = NotifySocket(listener.address)
    yield made
    made.close()


def test_what_is_said_arrives(listener: Listener, notify: NotifySocket) -> None:
    """Each notification is one message with the words of sd_notify(3)."""
    assert notify.active
    said = [
        (notify.ready, ["READY=1"]),
        (notify.stopping, ["STOPPING=1"]),
        (notify.feed_watchdog, ["WATCHDOG=1"]),
        (lambda: notify.reloading(1.5), ["RELOADING=1", "MONOTONIC_USEC=1500000"]),
        (lambda: notify.status("2 of 3 apps ready"), ["STATUS=2 of 3 apps ready"]),
        (lambda: notify.remove("port-1"), ["FDSTOREREMOVE=1", "FDNAME=port-1"]),
    ]
    for say, lines in said:
        assert say()
        assert listener.hear() == (lines, [])


def test_a_descriptor_is_handed_over(listener: Listener, notify: NotifySocket) -> None:
    """The stored descriptor is the very socket, under its name."""
    with socket.create_server(("127.0.0.1", 0)) as stored:
        assert notify.store("port-1", stored.fileno())
        lines, [fd] = listener.hear()
        with socket.socket(fileno=fd) as copy:
            assert lines == ["FDSTORE=1", "FDNAME=port-1"]
            assert os.fstat(copy.fileno()).st_ino == os.fstat(stored.fileno()).st_ino


def test_a_status_is_one_line(listener: Listener, notify: NotifySocket) -> None:
    """A reason with line ends can't pass for another notification, and a long one is cut."""
    assert notify.status("coach: bad\nREADY=1\r" + "x" * 10_000)
    [line], _ = listener.hear()
    assert line.startswith("STATUS=coach: bad READY=1 xxx")
    assert len(line) <= len("STATUS=") + STATUS_MAX + 1


def test_nobody_listens(tmp_path: Path) -> None:
    """Without systemd, and when its socket is gone, nothing happens and nothing is raised."""
    quiet = NotifySocket(None)
    assert not quiet.active
    assert not quiet.ready()
    gone = NotifySocket(str(tmp_path / "gone"))
    assert gone.active
    assert not gone.ready()
    gone.close()
    gone.close()


def test_a_full_queue_is_not_waited_for(listener: Listener, notify: NotifySocket) -> None:
    """When systemd doesn't read, notifications are dropped, and the caller knows."""
    heard = [notify.feed_watchdog() for _ in range(5000)]
    assert heard[0]
    assert not heard[-1]
    listener.hear()
    assert notify.ready()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("port-5000", "port-5000"),
        ("unix:/run/a b/ü.sock", "unix_/run/a_b/_.sock"),
        ("", "_"),
        ("a" * 300 + "b", "a" * 254 + "b"),
    ],
)
def test_names_fit_the_store(text: str, name: str) -> None:
    """Names hold no colon, space or foreign letter, and end where the limit is."""
    assert fd_name(text) == name


# ---- what is handed in

TAKE = """
import json, os, sys
from supervisor.systemd.protocol import take_inherited
os.environ["LISTEN_PID"] = sys.argv[1] or str(os.getpid())
os.environ["SYSTEMD_EXEC_PID"] = sys.argv[1] or str(os.getpid())
handed = take_inherited(os.environ, os.getpid())
left = [n for n in os.environ if n.startswith(("LISTEN", "NOTIFY", "WATCHDOG", "SYSTEMD_EXEC"))]
print(json.dumps({
    "names": [name for name, _ in handed.sockets],
    "fds": [one.fileno() for _, one in handed.sockets],
    "addresses": [one.getsockname() for _, one in handed.sockets],
    "inheritable": [one.get_inheritable() for _, one in handed.sockets],
    "open": [fd for fd in range(3, 8) if os.path.exists(f"/proc/self/fd/{fd}")],
    "is_main": handed.is_main,
    "left": left,
}))
"""


def handed_to_a_process(fds: list[int], *, pid: str = "", **variables: str) -> dict[str, object]:
    """Start a process with ``fds`` as its descriptors from 3 on; return what it inherited."""
    moves = "".join(f"exec {3 + i}<&{fd}\n" for i, fd in enumerate(fds))
    script = f'{moves}exec "$@"'
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **variables}
    done = subprocess.run(
        ["bash", "-c", script, "-", sys.executable, "-c", TAKE, pid],
        pass_fds=fds,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@contextlib.contextmanager
def high_descriptors(*sockets: int) -> Iterator[list[int]]:
    """Yield copies of descriptors with high numbers."""
    copies = [fcntl.fcntl(fd, fcntl.F_DUPFD, 50) for fd in sockets]
    try:
        yield copies
    finally:
        for fd in copies:
            os.close(fd)


def test_sockets_are_taken_with_their_names() -> None:
    """Sockets come with name, close-on-exec and their address; other descriptors are closed."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
        open(os.devnull) as file,
        high_descriptors(one.fileno(), file.fileno(), two.fileno()) as fds,
    ):
        taken = handed_to_a_process(
            fds, LISTEN_FDS="3", LISTEN_FDNAMES="port-1:file:port-2", NOTIFY_SOCKET="@x"
        )
        assert taken["names"] == ["port-1", "port-2"]
        assert taken["addresses"] == [list(one.getsockname()), list(two.getsockname())]
        assert taken["fds"] == [3, 5]
        assert taken["inheritable"] == [False, False]
        assert taken["is_main"] is True
        assert taken["left"] == []


def test_sockets_of_another_process_are_left_alone() -> None:
    """Variables for another process are ignored, and not passed on."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        high_descriptors(one.fileno()) as fds,
    ):
        taken = handed_to_a_process(fds, pid="1", LISTEN_FDS="1", LISTEN_FDNAMES="port-1")
        assert taken["names"] == []
        assert 3 in taken["open"]  # type: ignore[operator]
        assert taken["is_main"] is False
        assert taken["left"] == []


@pytest.mark.parametrize(
    ("variables", "handed"),
    [
        ({}, Inherited()),
        ({"NOTIFY_SOCKET": ""}, Inherited()),
        ({"NOTIFY_SOCKET": "/run/n"}, Inherited(notify_address="/run/n")),
        ({"WATCHDOG_USEC": "2500000"}, Inherited(watchdog_s=2.5)),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "7"}, Inherited(watchdog_s=2.5)),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "8"}, Inherited()),
        ({"WATCHDOG_USEC": "0"}, Inherited()),
        ({"WATCHDOG_USEC": "-1"}, Inherited()),
        ({"WATCHDOG_USEC": "soon"}, Inherited()),
        ({"LISTEN_FDS": "many", "LISTEN_PID": "7"}, Inherited()),
        ({"LISTEN_FDS": "1"}, Inherited()),
        ({"SYSTEMD_EXEC_PID": "7"}, Inherited(is_main=True)),
        ({"SYSTEMD_EXEC_PID": "8"}, Inherited()),
    ],
)
def test_variables(variables: dict[str, str], handed: Inherited) -> None:
    """The variables are read, garbage is ignored, and all of them are removed."""
    environ = {**variables, "HOME": "/"}
    assert take_inherited(environ, 7) == handed
    assert environ == {"HOME": "/"}
