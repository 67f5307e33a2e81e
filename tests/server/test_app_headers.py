"""Headers of an app that only a server may send, and requests for another protocol."""

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

import pytest
from harness import Project, ask, eventually, free_ports
from server_process import Serving
from wire import Wire

HEADERS = {
    "Connection": "keep-alive",
    "Keep-Alive": "timeout=5",
    "Transfer-Encoding": "chunked",
    "TE": "trailers",
    "Trailer": "Expires",
    "Upgrade": "h2c",
    "Proxy-Authenticate": "Basic",
    "Proxy-Authorization": "Basic eA==",
    "Proxy-Connection": "close",
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_of_the_connection_is_dropped(failing: Serving, log: Path, name: str) -> None:
    """The answer is 200 without that header, which the log names once."""
    query = urlencode({name: HEADERS[name], "X-Own": "kept"})
    with Wire(failing.port) as wire:
        for _ in range(3):
            answer = wire.get(f"/headers?{query}").answer()
            assert (answer.status, answer.text) == (200, "/headers\n")
            assert answer.headers.get(name.lower()) in (None, "close")
            assert answer.headers["x-own"] == "kept"
    lines = log.read_text().splitlines()
    assert len(lines) == 1
    assert lines[0].lower().startswith(f"app 'app' sets the header {name}, which".lower())


STREAM = """
from flask import Flask, Response
app = Flask(__name__)

@app.get("/")
def index():
    return "ready"

@app.get("/events")
def events():
    def stream():
        for number in range(3):
            yield f"data: {number}\\n\\n"
    return Response(
        stream(), content_type="text/event-stream", headers={"Connection": "keep-alive"}
    )
"""


def test_an_event_stream_is_that_of_flask_run(project: Project) -> None:
    """An event stream with headers that only `flask run` sends has the same body in both."""
    port = project.app("coach", STREAM)
    running = project.start()
    running.worker("coach")
    by_hand = free_ports(1)[0]
    command = [sys.executable, "-m", "flask", "--app", "coach", "run", "--port", str(by_hand)]
    folder = project.folder / "coach"
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as flask_run:
        try:
            eventually(lambda: ask(by_hand).status == 200)
            answers = [ask(one, "/events") for one in (port, by_hand)]
        finally:
            flask_run.kill()
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].headers["content-type"] == answers[1].headers["content-type"]
    assert answers[0].text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
    eventually(lambda: "app 'coach' sets the header Connection" in running.log)


# ---- WebSockets


def test_a_websocket_is_refused_with_what_to_do(failing: Serving, log: Path) -> None:
    """The handshake is answered with one line that names `command`; the log says so once."""
    upgrade = ("Connection: Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Version: 13")
    for _ in range(3):
        with Wire(failing.port) as wire:
            answer = wire.get("/view/error", *upgrade, "Sec-WebSocket-Key: eA==").answer()
            assert answer.status == 400
            assert "by `command` (recipes: docs/programs.md)" in answer.text
            assert answer.text.count("\n") == 1
            assert wire.get("/after").answer().status == 200
    (line,) = log.read_text().splitlines()
    assert line.startswith("a client asked app 'app' for a WebSocket")
    assert failing.metrics().by_class["4xx"] == 3


def test_other_upgrades_are_ignored(failing: Serving) -> None:
    """A client that offers HTTP/2 gets the answer of the app, as RFC 9110 allows."""
    with Wire(failing.port) as wire:
        upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA")
        assert wire.get("/index", *upgrade).answer().text == "/index\n"
