"""Asking many status ports at the same time, whatever they answer."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from children import beside
from harness import eventually, free_ports
from health_documents import health_document
from wire import answer_each

from supervisor.health.status_client import (
    HealthAnswer,
    StatusAddress,
    ask,
    ask_all,
    status_address,
)
from supervisor.values.errors import SupervisorError


@contextmanager
def answering(said: bytes | None) -> Iterator[StatusAddress]:
    """Answer the next connection with ``said``; None: accept it and stay silent."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as kept:

        def serve() -> None:
            if said is None:
                kept.enter_context(listener.accept()[0])
            else:
                answer_each(listener, said)

        with beside(serve):
            yield StatusAddress("http", "127.0.0.1", listener.getsockname()[1], "/health")


def http(status: str, body: object) -> bytes:
    """Return an answer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pi", StatusAddress("http", "pi", 6000, "/health")),
        ("192.168.4.20:6001", StatusAddress("http", "192.168.4.20", 6001, "/health")),
        ("http://pi.local", StatusAddress("http", "pi.local", 6000, "/health")),
        ("http://pi/", StatusAddress("http", "pi", 6000, "/health")),
        ("https://pi:443/fs/health", StatusAddress("https", "pi", 443, "/fs/health")),
        ("pi:6000/health/coach", StatusAddress("http", "pi", 6000, "/health/coach")),
        ("[::1]:6000", StatusAddress("http", "::1", 6000, "/health")),
    ],
)
def test_addresses_as_people_write_them(text: str, expected: StatusAddress) -> None:
    """With and without scheme, port and path."""
    assert status_address(text) == expected


@pytest.mark.parametrize("text", ["", "ftp://pi", "pi:port", "pi:99999", "//", "http://u:p@pi"])
def test_what_is_no_address(text: str) -> None:
    """It is said, with an example."""
    with pytest.raises(SupervisorError, match="is no address of a status port"):
        status_address(text)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (http("200 OK", b"<html>"), "answers 200 OK, but no health document"),
        (http("200 OK", {"status": "up"}), "answers 200 OK, but no health document"),
        (http("404 Not Found", b""), "answers 404 Not Found"),
        (
            http("503 Service Unavailable", {"status": 503, "detail": "status is starting"}),
            "answers 503 Service Unavailable: status is starting",
        ),
    ],
)
def test_answers_that_are_no_health_document(said: bytes, problem: str) -> None:
    """A server is there, and that is told."""
    with answering(said) as address:
        answer = ask(address, timeout_s=10)
    assert (answer.document, answer.problem, answer.is_reachable) == (None, problem, True)


@pytest.mark.parametrize("status", ["200 OK", "503 Service Unavailable"])
def test_a_health_document(status: str) -> None:
    """Whatever the code: a machine that fails answers 503 with its document."""
    with answering(http(status, health_document())) as address:
        answer = ask(address, timeout_s=10)
    assert answer.document == health_document()
    assert answer.seconds is not None


@pytest.mark.parametrize(
    "said", [b"", b"garbage\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"]
)
def test_no_http(said: bytes) -> None:
    """A connection that is cut, and something else on the port."""
    with answering(said) as address:
        answer = ask(address, timeout_s=10)
    assert not answer.is_reachable
    assert str(answer.problem).startswith("no answer: ")


def test_many_at_the_same_time() -> None:
    """Two that are silent and one that is gone delay nobody, and all is over at the deadline."""
    with ExitStack() as stack:
        addresses = {
            **{
                f"good{n}": stack.enter_context(answering(http("200 OK", health_document())))
                for n in range(5)
            },
            "silent": stack.enter_context(answering(None)),
            "trickle": stack.enter_context(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9")),
            "gone": StatusAddress("http", "127.0.0.1", free_ports(1)[0], "/health"),
        }
        started = time.monotonic()
        answers = ask_all(addresses, timeout_s=0.6)
        took_s = time.monotonic() - started
        eventually(
            lambda: not [one for one in threading.enumerate() if one.name.startswith("ask ")],
            what="the late ones gave up too",
        )
    assert took_s < 2
    assert list(answers) == list(addresses)
    assert [name for name, one in answers.items() if one.document] == [f"good{n}" for n in range(5)]
    assert answers["gone"].problem == "no answer: Connection refused"
    assert "no answer within" in str(answers["silent"].problem)
    assert not answers["silent"].is_reachable


def test_nobody_to_ask() -> None:
    """No addresses, no answers."""
    assert ask_all({}, timeout_s=1) == {}
    assert HealthAnswer().document is None
