"""The control socket: where it is, who may use it, and what its client says when it can't."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from children import beside
from control_server import TIMEOUT_S, answer, raw, server

from supervisor.client import SOCKET_VARIABLE, Client
from supervisor.control.server import listen
from supervisor.process.throwaway import call_in_child
from supervisor.values.errors import ControlError, NotRunning, SupervisorError

NOBODY = 65534


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """A client of a running server."""
    with server(tmp_path / "control.sock") as made:
        yield made
        assert made.call("unhandled") == []


# ---- where it is, and who may use it


@pytest.mark.parametrize("length", [90, 107, 108, 200])
def test_a_long_path_is_no_problem(tmp_path: Path, length: int) -> None:
    """A socket whose path is longer than the 107 bytes of a Unix address works as any other."""
    folder = tmp_path
    while len(os.fsencode(folder)) + len("/control.sock") < length:
        left = length - len(os.fsencode(folder)) - len("/control.sock") - 1
        folder = folder / ("d" * min(50, max(1, left)))
        folder.mkdir()
    with server(folder / "control.sock") as client:
        assert client.call("nothing") is None
        assert (folder / "control.sock").is_socket()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """The file that a killed supervisor left is no obstacle."""
    path = tmp_path / "control.sock"
    with server(path):
        pass
    assert path.exists()
    with pytest.raises(NotRunning):
        Client(path).call("nothing")
    with server(path) as client:
        assert client.call("nothing") is None


def test_the_socket_is_its_owners_alone(client: Client) -> None:
    """Other users may not even connect."""
    assert client.path.stat().st_mode & 0o777 == 0o600


def call_as_nobody(folder: Path, *, raw_bytes: bool) -> Any:
    """Ask the server of another user, in a child."""
    os.chdir(folder)  # the folders above may not let the other user through
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    client = Client("control.sock", timeout_s=TIMEOUT_S)
    if raw_bytes:
        with raw(client) as connection:
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(b'{"method": "nothing"}\n')
            return answer(connection)
    try:
        return client.call("nothing")
    except ControlError as error:
        return [error.code, error.message, error.hint]


@pytest.mark.root
def test_another_user_is_told_to_use_sudo(client: Client) -> None:
    """Whoever may not connect hears why, and what to do."""
    client.path.parent.chmod(0o755)
    ask = partial(call_as_nobody, client.path.parent, raw_bytes=False)
    assert call_in_child(ask, timeout_s=TIMEOUT_S) == [
        "denied",
        "cannot connect to control.sock: permission denied",
        "the supervisor runs as another user: repeat the command with sudo",
    ]


@pytest.mark.root
def test_another_user_gets_no_answer(client: Client) -> None:
    """Even when the file would let another user in, the kernel's word on who it is counts."""
    client.path.parent.chmod(0o755)
    client.path.chmod(0o666)
    ask = partial(call_as_nobody, client.path.parent, raw_bytes=True)
    assert call_in_child(ask, timeout_s=TIMEOUT_S) is None
    assert client.call("nothing") is None


@pytest.mark.root
def test_root_may_ask_anybody(tmp_path: Path) -> None:
    """The socket of an ordinary user answers root, as `sudo` needs it."""
    with server(tmp_path / "control.sock") as client:
        os.chown(client.path, NOBODY, NOBODY)
        assert client.call("nothing") is None


@pytest.mark.parametrize("name", ["missing/control.sock", "control.sock"])
def test_no_supervisor_is_running(tmp_path: Path, name: str) -> None:
    """Without a socket the message names the state folder and how to start."""
    path = tmp_path / name
    with pytest.raises(NotRunning) as raised:
        Client(path).call("snapshot")
    assert raised.value.message == f"no supervisor is running for {path.parent}"
    assert raised.value.hint == "start it with: flask-supervisor run"
    assert raised.value.code == "not_running"


@pytest.mark.parametrize("environment", [{}, {SOCKET_VARIABLE: ""}])
def test_an_app_without_a_supervisor(environment: dict[str, str]) -> None:
    """An app that was started by hand, or may not ask, hears what it would need."""
    with pytest.raises(NotRunning, match=SOCKET_VARIABLE) as raised:
        Client.from_environment(environment)
    assert "control = true" in str(raised.value.hint)


def test_an_app_finds_its_supervisor(client: Client) -> None:
    """The path comes from the environment."""
    found = Client.from_environment({SOCKET_VARIABLE: str(client.path)})
    assert found.call("nothing") is None


@pytest.mark.parametrize("name", ["missing/control.sock", "file/control.sock"])
def test_a_socket_that_can_not_be_made(tmp_path: Path, name: str) -> None:
    """A folder that isn't one is a message with what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SupervisorError, match="cannot make the control socket") as raised:
        listen(tmp_path / name)
    assert raised.value.hint == "the state folder has to be writable for the supervisor's user"


# ---- servers that are busy, stuck, or none of ours


@contextlib.contextmanager
def listener_at(path: Path) -> Iterator[socket.socket]:
    """Return a listener with the shortest queue there is."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        yield listener


@contextlib.contextmanager
def full_queue(path: Path) -> Iterator[None]:
    """Fill a listener's queue with connections."""
    with contextlib.ExitStack() as stack:
        while True:
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.setblocking(False)
            if connection.connect_ex(str(path)) != 0:
                break
            connection.shutdown(socket.SHUT_WR)  # whoever accepts it sees that it says nothing
        yield


def test_a_server_that_is_stuck_is_named(tmp_path: Path) -> None:
    """A supervisor that accepts or answers no client is an error after the limit, with a hint."""
    path = tmp_path / "control.sock"
    with listener_at(path):
        for queue in (contextlib.nullcontext(), full_queue(path)):
            with queue, pytest.raises(ControlError) as raised:
                Client(path, timeout_s=0.3).call("snapshot")
            assert raised.value.code == "timeout"
            assert raised.value.message == "the supervisor did not answer within 0.3 s"
            assert raised.value.hint


def test_a_server_that_is_busy_is_waited_for(tmp_path: Path) -> None:
    """A full queue of connections is no failure, as long as somebody takes them in time."""
    path = tmp_path / "control.sock"
    results: list[Any] = []
    client = Client(path, timeout_s=TIMEOUT_S)
    with (
        listener_at(path) as listener,
        full_queue(path),
        beside(lambda: results.append(outcome(client))) as calling,
    ):
        calling.join(0.3)  # it must not have given up by then
        listener.settimeout(0.2)
        deadline = time.monotonic() + TIMEOUT_S
        while calling.is_alive() and time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError), listener.accept()[0] as connection:
                connection.settimeout(TIMEOUT_S)
                if connection.recv(65536):  # else: one of those that fill the queue
                    connection.sendall(b'{"id": 1, "result": "late"}\n')
                    calling.join(TIMEOUT_S)
    assert results == ["late"]


def outcome(client: Client) -> Any:
    """Return the result of a call, or its error."""
    try:
        return client.call("snapshot")
    except ControlError as error:
        return repr(error)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"hello\n",
        b"\xff\n",
        b"5\n",
        b"[]\n",
        b"null\n",
        b"{}\n",
        b'{"error": {}}\n',
        b'{"error": "text"}\n',
        b'{"result": ',
        b"[" * 100_000 + b"\n",
    ],
    ids=lambda line: repr(line[:16]),
)
def test_a_strange_answer_is_an_error(tmp_path: Path, line: bytes) -> None:
    """Whatever is at the other end: an answer of no known form is a `ControlError`."""
    path = tmp_path / "control.sock"
    with listener_at(path) as listener:
        listener.settimeout(TIMEOUT_S)

        def answer_once() -> None:
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(line)

        with beside(answer_once), pytest.raises(ControlError) as raised:
            Client(path, timeout_s=TIMEOUT_S).call("snapshot")
    assert raised.value.code == "protocol"
