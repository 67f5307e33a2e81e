"""The ``http`` check against real servers: its demands, and what a person reads of a refusal."""

import json
import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from children import beside

from supervisor.config.settings import Requirement
from supervisor.health.http_check import check_http
from supervisor.values.reports import Cause

Serve = Callable[..., str]
TOKEN = "k3-Secret-Token"


class Server(ThreadingHTTPServer):
    """Answers every request alike, and remembers what was asked."""

    daemon_threads = True
    answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")
    asked: list[dict[str, str]]


class Handler(BaseHTTPRequestHandler):
    """Answers what the server is told to."""

    server: Server

    def do_GET(self) -> None:
        """Answer."""
        self.server.asked.append(dict(self.headers))
        status, headers, body = self.server.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    """Run a web server for the test."""
    made = Server(("127.0.0.1", 0), Handler)
    made.asked = []
    with beside(lambda: made.serve_forever(poll_interval=0.02)):
        yield made
        made.shutdown()
    made.server_close()


def url_of(server: Server, path: str = "/agents") -> str:
    """Return the address of a page of the server."""
    return f"http://127.0.0.1:{server.server_address[1]}{path}"


def check(server: Server, **keys: Any) -> Cause | None:
    """Check the server, with further keys of the requirement."""
    return check_http(Requirement(kind="http", url=url_of(server), **keys))


def why(server: Server, **keys: Any) -> str | None:
    """Return the reason of `check`, without the address at its beginning."""
    cause = check(server, **keys)
    if cause is None:
        return None
    assert cause.hint
    assert cause.reason.startswith(url_of(server))
    return cause.reason.removeprefix(url_of(server)).removeprefix(": ").strip()


@pytest.mark.parametrize(
    ("status", "headers", "body", "reason"),
    [
        (
            401,
            {},
            {"error": "authentication failed: token mismatch"},
            "authentication failed: token mismatch (401 Unauthorized)",
        ),
        (
            401,
            {},
            {"error": {"code": 7, "message": "token mismatch"}},
            "authentication failed: token mismatch (401 Unauthorized)",
        ),
        (
            401,
            {"WWW-Authenticate": 'Bearer error="invalid_token", error_description="it expired"'},
            None,
            "authentication failed: it expired (401 Unauthorized)",
        ),
        (
            401,
            {"WWW-Authenticate": 'Bearer error="invalid_token"'},
            None,
            "authentication failed: invalid_token (401 Unauthorized)",
        ),
        (401, {}, None, "authentication failed (401 Unauthorized)"),
        (403, {}, {"detail": "not an agent"}, "access denied: not an agent (403 Forbidden)"),
        (
            503,
            {},
            {"title": "No agent available", "detail": "invalid token"},
            "answers 503 Service Unavailable: invalid token",
        ),
        (
            500,
            {"Content-Type": "text/plain"},
            "a b\n c",
            "answers 500 Internal Server Error: a b c",
        ),
        (500, {"Content-Type": "text/html"}, "<h1>x</h1>", "answers 500 Internal Server Error"),
        (500, {}, [1], "answers 500 Internal Server Error"),
        (500, {}, {"detail": 5, "error": " "}, "answers 500 Internal Server Error"),
    ],
)
def test_what_a_server_says_is_what_a_person_reads(
    server: Server, status: int, headers: dict[str, str], body: Any, reason: str
) -> None:
    """From problem details, an error object, the challenge or plain text."""
    content = body if isinstance(body, str) else "" if body is None else json.dumps(body)
    server.answer = (status, headers, content.encode())
    assert why(server, token=TOKEN) == reason


def test_what_to_do_about_a_refused_token(server: Server) -> None:
    """Another hint where none was sent."""
    server.answer = (401, {}, b"")
    with_token, without = check(server, token=TOKEN), check(server)
    assert with_token is not None
    assert without is not None
    assert with_token.hint != without.hint
    assert "set `token`" in str(without.hint)


def test_the_token_is_sent_and_never_shown(server: Server) -> None:
    """As a bearer token; a server that quotes it is quoted without it."""
    server.answer = (401, {}, json.dumps({"error": f"bad token {TOKEN}"}).encode())
    cause = check(server, token=TOKEN)
    assert server.asked[0]["Authorization"] == f"Bearer {TOKEN}"
    assert cause is not None
    assert TOKEN not in f"{cause}"
    assert "bad token (hidden)" in cause.reason
    assert TOKEN not in repr(Requirement(kind="http", url="http://x", token=TOKEN))


def test_the_token_does_not_follow_a_redirect(server: Server) -> None:
    """It is for the server that was configured."""
    other = Server(("127.0.0.1", 0), Handler)
    other.asked = []
    server.answer = (302, {"Location": url_of(other, "/elsewhere")}, b"")
    with beside(lambda: other.serve_forever(poll_interval=0.02)):
        assert check(server, token=TOKEN) is None
        other.shutdown()
    other.server_close()
    assert "Authorization" in server.asked[0]
    assert len(other.asked) == 1
    assert "Authorization" not in other.asked[0]


@pytest.mark.parametrize(
    ("status", "expected", "reason"),
    [
        (200, 200, None),
        (204, 200, "answers 204 No Content, expected 200"),
        (200, 204, "answers 200 OK, expected 204"),
        (404, 404, None),
        (399, None, None),
        (400, None, "answers 400 Bad Request"),
    ],
)
def test_a_status_is_demanded(
    server: Server, status: int, expected: int | None, reason: str | None
) -> None:
    """Exactly that one; without it, anything below 400."""
    server.answer = (status, {}, b"")
    assert why(server, expect_status=expected) == reason


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("X-Version: 2", None),
        ("x-version:2", None),
        ("X-Version", None),
        ("X-Version: 3", 'expected the header X-Version: 3, found "2"'),
        ("X-Other", "expected the header X-Other, found no such header"),
    ],
)
def test_a_header_is_demanded(server: Server, header: str, reason: str | None) -> None:
    """Its name in any case, its value exactly."""
    server.answer = (200, {"X-Version": "2"}, b"")
    assert why(server, expect_header=header) == reason


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        ({"status": "ok"}, None),
        ({"agent": {"connected": True}}, None),
        ({"agent": {"count": 2}, "status": "ok"}, None),
        ({"status": "fine"}, 'expected status = "fine", found "ok"'),
        ({"agent": {"connected": False}}, "expected agent.connected = false, found true"),
        ({"agent": {"count": True}}, "expected agent.count = true, found 2"),
        ({"agent": {"name": "x"}}, 'expected agent.name = "x", found no such field'),
        ({"status": {"deep": 1}}, "expected status.deep = 1, found no such field"),
    ],
)
def test_a_field_of_json_is_demanded(
    server: Server, expected: dict[str, Any], reason: str | None
) -> None:
    """Several, also inside of objects; a number is no boolean."""
    body = {"status": "ok", "agent": {"connected": True, "count": 2}}
    server.answer = (200, {}, json.dumps(body).encode())
    assert why(server, expect_json=expected) == reason


def test_no_json_where_json_is_demanded(server: Server) -> None:
    """What was found is shown, in short."""
    server.answer = (200, {}, b"<html><body>Welcome to the router</body></html>")
    expected = 'expected JSON, found "Welcome to the router"'
    assert why(server, expect_json={"status": "ok"}) == expected


def test_what_a_server_says_is_made_fit_to_be_shown(server: Server) -> None:
    """No folders, no passwords of addresses, no control characters, no long story."""
    text = "\x1b[31m can't read /opt/agent/keys/x.pem of http://u:p@h/ " + "long " * 100
    server.answer = (500, {}, json.dumps({"error": text}).encode())
    reason = why(server)
    assert reason is not None
    assert reason.isprintable()
    assert "can't read x.pem of http://h/" in reason
    assert len(reason) < 250


@pytest.mark.parametrize("pause_s", [0.05, None])
def test_a_body_that_trickles_in(pause_s: float | None) -> None:
    """The timeout is for all of the answer, not for each byte; a body without end is cut."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
                try:
                    while True:
                        connection.sendall(b"x" if pause_s else b"x" * 65536)
                        if pause_s:
                            connection.settimeout(pause_s)
                            try:
                                connection.recv(1)
                            except TimeoutError:
                                continue
                            return
                except OSError:
                    return

        with beside(trickle):
            cause = check_http(Requirement(kind="http", url=url, timeout_s=0.4))
    if pause_s:
        assert cause is not None
        assert cause.reason == f"{url} doesn't answer within 0.4 s"
    else:
        assert cause is None
