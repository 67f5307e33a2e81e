"""What is said of a program that does not get ready in time."""

import os
import socket
import time
from collections.abc import Iterator

import pytest
from children import beside
from wire import answer_each

from supervisor.values.constants import STAND_IN_HEADER
from supervisor.worker.first_answer import FirstAnswer

_FAILED = b"HTTP/1.1 500 Broken\r\n\r\n"
_STAND_IN = f"HTTP/1.1 503 Unavailable\r\n{STAND_IN_HEADER}: 1\r\n\r\n".encode()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listener of which the test accepts the connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def pidfd() -> Iterator[int]:
    """A process that lives as long as the test."""
    fd = os.pidfd_open(os.getpid())
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ((), "it does not answer"),
        ((_FAILED,), "/well answers 500"),  # and then it hangs
        ((_FAILED, _STAND_IN), "/well answers 500"),
        ((_STAND_IN, _STAND_IN), "it does not answer"),
        ((b"", _STAND_IN), "it closes connections without an answer"),
        ((b"", _FAILED), "/well answers 500"),
        ((_FAILED, b"HTTP/1.1 204 Well\r\n\r\n"), None),
    ],
)
def test_the_reason(
    listener: socket.socket, pidfd: int, answers: tuple[bytes, ...], reason: str | None
) -> None:
    """It is the last thing that the program has shown, even when the last request was in vain."""
    first = FirstAnswer(listener=listener, health_path="/well", steer=None)
    with beside(lambda: answer_each(listener, *answers)):
        assert first.wait(pidfd, time.monotonic() + 1.5) == reason
