"""The probe of an app through its port: which answers are good."""

import contextlib
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from children import beside
from harness import free_ports

from supervisor.health.probe import probe


@contextlib.contextmanager
def answering(listener: socket.socket, said: bytes) -> Iterator[None]:
    """Answer every connection with ``said``, and close it."""

    def serve() -> None:
        with contextlib.suppress(OSError):  # the end of the test
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(said)

    with beside(serve):
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", None),
        (b"HTTP/1.1 204 No Content\r\n\r\n", None),
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", None),  # a stream
        (b"HTTP/1.1 404 NOT FOUND\r\nContent-Length: 0\r\n\r\n", "/x answers 404 NOT FOUND"),
        (b"HTTP/1.1 500 Oops\r\n\r\n", "/x answers 500 Oops"),
        (b"", "/x doesn't answer: Remote end closed connection without response"),
        (b"garbage\r\n\r\n", "/x doesn't answer: garbage"),
    ],
)
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=["port", "socket"])
def test_what_is_answered(
    tmp_path: Path, family: socket.AddressFamily, said: bytes, reason: str | None
) -> None:
    """Below 400 is good, a redirection and an endless stream included; others have a reason."""
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        is_unix = family == socket.AF_UNIX
        path = tmp_path / "app.sock"
        listener.bind(str(path) if is_unix else ("127.0.0.1", 0))
        listener.listen()
        ask = partial(probe, f"unix:{path}", None)
        if not is_unix:
            ask = partial(probe, "0.0.0.0", listener.getsockname()[1])
        with answering(listener, said):
            assert ask(["/x"]) == {"reason": reason}
            assert ask([]) == {"reason": None}


def test_no_answer(tmp_path: Path) -> None:
    """A port that refuses connections and a socket file without a listener have a reason."""
    [port] = free_ports(1)
    assert probe("::", port, ["/"])["reason"] == "/ doesn't answer: [Errno 111] Connection refused"
    reason = probe(f"unix:{tmp_path}/gone", None, ["/"])["reason"]
    assert reason == "/ doesn't answer: [Errno 2] No such file or directory"


def test_an_answer_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An app that doesn't answer in time has a reason too."""
    monkeypatch.setattr("supervisor.health.probe.ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = probe("localhost", listener.getsockname()[1], ["/slow"])
    assert found == {"reason": "/slow doesn't answer within 0.2 s"}
