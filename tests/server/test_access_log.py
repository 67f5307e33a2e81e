"""The access log: one line for each request, in the format that tools for access logs read."""

import json
import re
import socket

from harness import Project, ask, eventually
from wire import Wire

APP = """
from flask import Flask, request
app = Flask(__name__)

@app.route("/", methods=["GET", "POST"])
def index():
    return "x" * 100

@app.get("/stream")
def stream():
    return iter(["a" * 10, "b" * 10])

@app.get("/boom")
def boom():
    raise RuntimeError("boom")
"""
# httpd.apache.org/docs/current/mod/mod_log_config.html, "combined", and the seconds
COMBINED = re.compile(
    r'(?P<host>\S+) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "(?P<request>[^"]*)" '
    r'(?P<status>\d{3}) (?P<bytes>\d+) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)" (?P<s>\d+\.\d{3})'
)


def logged(log: str, app: str = "coach") -> list[re.Match[str]]:
    """Return the requests in the supervisor's log; each is information on a line of its own."""
    lines = [json.loads(line) for line in log.splitlines()]
    found = [(COMBINED.fullmatch(one["event"]), one) for one in lines if one["app"] == app]
    assert all(one["level"] == "info" and one["output"] for match, one in found if match)
    return [match for match, _ in found if match]


def test_each_request_is_one_line(project: Project) -> None:
    """Whatever it asks for, and whatever a client sends, secrets in the address included."""
    project.app("quiet")
    secrets = {"API_TOKEN": "correct-horse"}
    proxy = {"trusted_proxy": "*", "trusted_proxy_headers": ["x-forwarded-for"]}
    port = project.app("coach", APP, access_log=True, env=secrets, waitress=proxy)
    running = project.start()
    running.wait_for("coach", state="ready")
    quiet = running.project.port("quiet")
    running.wait_for("quiet", state="ready")
    assert ask(quiet, "/?quiet").status == 200
    headers = {"User-Agent": 'curl/8 "\\', "Referer": "http://localhost/ü".encode("latin-1")}
    assert ask(port, "/?token=correct-horse", headers=headers).status == 200
    assert ask(port, method="POST", body=b"body", headers={"X-Forwarded-For": "192.0.2.7"})
    assert ask(port, method="HEAD").status == 200
    assert ask(port, "/stream").status == 200
    assert ask(port, "/ERROR:").status == 404
    assert ask(port, "/boom").status == 500
    with Wire(port) as wire:
        assert b"400" in wire.send(b"GET / HTTP/1.1\r\nno colon\r\n\r\n").rest()
    assert ask(port, "/" + "y" * 5000).status == 404
    lines = eventually(lambda: len(found := logged(running.log)) == 8 and found)
    # each is written after its answer, so the next one may be quicker
    by_request = {one["request"]: one for one in lines}
    answers = {request: (one["status"], one["bytes"]) for request, one in by_request.items()}
    assert answers["POST / HTTP/1.1"] == ("200", "100")
    assert answers["HEAD / HTTP/1.1"] == ("200", "0")
    assert answers["GET /stream HTTP/1.1"] == ("200", "20")
    assert answers["GET /ERROR: HTTP/1.1"][0] == "404"
    assert answers["GET /boom HTTP/1.1"][0] == "500"
    assert answers["GET / HTTP/1.1"][0] == "400"
    [long] = [request for request in answers if request.startswith("GET /yyy")]
    assert answers[long][0] == "404" and len(long) < 2000
    first = by_request["GET /?token=(hidden) HTTP/1.1"]
    assert (first["status"], first["bytes"], first["host"]) == ("200", "100", "127.0.0.1")
    assert (first["agent"], first["referer"]) == (r"curl/8 \x22\x5C", r"http://localhost/\xFC")
    assert by_request["POST / HTTP/1.1"]["host"] == "192.0.2.7"
    assert "?quiet" not in running.log


def test_a_unix_socket_has_clients_too(project: Project) -> None:
    """Where no client has an address, the line has a name in its place."""
    project.app("coach", APP, access_log=True, host="unix:coach.sock")
    running = project.start()
    running.wait_for("coach", state="ready")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(project.folder / "coach.sock"))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.0 200")
    [line] = eventually(lambda: logged(running.log))
    assert (line["request"], line["host"]) == ("GET / HTTP/1.0", "localhost")
