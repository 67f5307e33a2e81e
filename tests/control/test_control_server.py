"""The control socket's server: answers, refusals, and clients that misbehave."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from children import beside
from control_server import BIG, TIMEOUT_S, answer, raw, server
from harness import eventually

from supervisor.client import Client
from supervisor.control.server import CLIENTS_MAX, REQUEST_MAX
from supervisor.values.errors import ControlError


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """A client of a running server."""
    with server(tmp_path / "control.sock") as made:
        yield made
        assert made.call("unhandled") == []


# ---- answers


def test_a_method_is_answered(client: Client) -> None:
    """Parameters go in and the result comes out, whatever JSON it is and however long."""
    assert client.call("echo", app="coach", names=["a", "é"]) == {
        "app": "coach",
        "names": ["a", "é"],
    }
    assert client.call("nothing") is None
    assert client.call("big") == BIG


def test_a_refusal_has_a_code_and_a_hint(client: Client) -> None:
    """What a method refuses comes out as an error with its words."""
    with pytest.raises(ControlError) as raised:
        client.call("refuse")
    assert (raised.value.code, raised.value.message) == ("no_such_app", "there is no app 'x'")
    assert raised.value.hint == "known: coach"


def test_an_unknown_method_is_refused(client: Client) -> None:
    """The refusal names the methods there are."""
    with pytest.raises(ControlError, match="there is no method 'nonsense'; known: big, ") as raised:
        client.call("nonsense")
    assert raised.value.code == "unknown_method"


def test_several_requests_on_one_connection(client: Client) -> None:
    """Requests on a connection are answered in order, each with its own id."""
    with raw(client) as connection:
        for number in (7, "seven", None):
            request = {"id": number, "method": "echo", "params": {"n": 1}}
            connection.sendall(json.dumps(request).encode() + b"\n")
        answers = [answer(connection) for _ in range(3)]
    assert answers == [{"id": number, "result": {"n": 1}} for number in (7, "seven", None)]


def test_a_request_may_come_in_pieces(client: Client) -> None:
    """A request is complete with its line, however its bytes arrive."""
    with raw(client) as connection:
        for byte in b'{"id": 1, "method": "nothing"}\n':
            connection.sendall(bytes([byte]))
        assert answer(connection) == {"id": 1, "result": None}


# ---- requests that are none


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"hello\n", "not_json"),
        (b"\n", "not_json"),
        (b"\xff\xfe\n", "not_json"),
        (b"{} {}\n", "not_json"),
        (b"[" * 100_000 + b"\n", "not_json"),
        (b"5\n", "not_a_request"),
        (b"[]\n", "not_a_request"),
        (b"{}\n", "not_a_request"),
        (b'{"method": 5}\n', "not_a_request"),
        (b'{"method": "echo", "params": 5}\n', "not_a_request"),
        (b'{"method": "echo", "params": null}\n', "not_a_request"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_what_is_no_request_is_refused(client: Client, line: bytes, code: str) -> None:
    """Garbage gets an answer that says so, and the connection stays usable."""
    with raw(client) as connection:
        connection.sendall(line)
        assert answer(connection)["error"]["code"] == code
        connection.sendall(b'{"id": 2, "method": "nothing"}\n')
        assert answer(connection) == {"id": 2, "result": None}


def test_a_request_that_is_too_long_ends_the_connection(client: Client) -> None:
    """A line of more than a megabyte is cut off, and nobody else notices."""
    with raw(client) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(b"x" * (REQUEST_MAX * 2 + 100))
        assert answer(connection) is None
    assert client.call("nothing") is None


def test_a_method_that_fails_is_an_error_for_its_client_alone(tmp_path: Path) -> None:
    """A defect in a method is an error, reported at once, and the server goes on."""
    with server(tmp_path / "control.sock") as client:
        started = time.monotonic()
        with pytest.raises(ControlError):
            client.call("broken")
        assert time.monotonic() - started < TIMEOUT_S / 2
        assert client.call("nothing") is None


# ---- many clients, and slow ones


def test_idle_clients_keep_nobody_waiting(client: Client) -> None:
    """With many silent clients the next ones are turned away at once; then all is as before."""
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(raw(client)) for _ in range(CLIENTS_MAX - 1)]
        assert client.call("nothing") is None
        idle += [stack.enter_context(raw(client)) for _ in range(20)]
        started = time.monotonic()
        with pytest.raises(ControlError):
            client.call("nothing")
        assert time.monotonic() - started < TIMEOUT_S / 2
        idle[0].sendall(b'{"id": 1, "method": "nothing"}\n')
        assert answer(idle[0]) == {"id": 1, "result": None}
    assert call_again(client) is None


def call_again(client: Client) -> Any:
    """Call until the server has seen that its clients have gone."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return client.call("nothing")
        except ControlError:
            assert time.monotonic() < deadline


def test_clients_that_leave_are_forgotten(client: Client) -> None:
    """Any number of clients, one after the other and in the middle of a request, is served."""
    for number in range(CLIENTS_MAX * 3):
        with raw(client) as connection:
            connection.sendall(b'{"id": 1, ' if number % 2 else b'{"method": "big"}\n')
    assert call_again(client) is None


def test_a_method_that_ends_with_its_client(client: Client) -> None:
    """It is cancelled when the client is gone, not when that only has nothing more to say."""
    with raw(client) as connection:
        connection.sendall(b'{"id": 1, "method": "wait_for_client"}\n')
        connection.shutdown(socket.SHUT_WR)
        assert answer(connection) == {"id": 1, "result": "wait_for_client"}
    for method in ("wait", "wait_for_client"):
        with raw(client) as connection:
            connection.sendall(json.dumps({"id": 1, "method": method}).encode() + b"\n")
    assert eventually(lambda: client.call("ended")) == ["wait_for_client"]
    assert client.call("wait") == "wait"
    assert client.call("ended") == ["wait_for_client"]


def test_a_client_that_never_reads_holds_up_nobody(client: Client) -> None:
    """Answers that nobody takes wait for that client alone."""
    with raw(client) as connection:
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(1000):
                connection.sendall(b'{"method": "big"}\n')
        for _ in range(20):
            assert client.call("echo", a=1) == {"a": 1}


def test_a_client_is_safe_in_several_threads(client: Client) -> None:
    """Calls made at the same time get their own answers."""
    results: list[Any] = []

    def call(number: int) -> None:
        results.append((number, client.call("echo", n=number)))

    with contextlib.ExitStack() as stack:
        for number in range(10):
            stack.enter_context(beside(partial(call, number)))
    assert sorted(results, key=lambda pair: pair[0]) == [(n, {"n": n}) for n in range(10)]
