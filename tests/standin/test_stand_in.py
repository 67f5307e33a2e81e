"""The stand-in: what each kind of client gets from the port of an app that can't be served."""

import base64
import contextlib
import hashlib
import http.client
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import Answer, Project, ask, eventually
from wire import Wire

from supervisor.standin.page import answer

REASON = "<script>alert('it broke')</script> & \"more\" – tschüß"
BROKEN = f"raise RuntimeError({REASON!r})\n"
DETAIL = f"RuntimeError: {REASON} (broken.py, line 1)"
BODY = b"0123456789abcdef" * 64 * 1024 * 10  # 10 MiB
GOOD = """
from flask import Flask
app = Flask(__name__)
app.add_url_rule("/", "index", lambda: "repaired")
"""
GET = "GET / HTTP/1.1\r\nHost: test\r\n\r\n"
CHROMIUM = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,"
    "*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
)
PROBLEM, PAGE = "application/problem+json", "text/html; charset=utf-8"


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A supervisor with two apps that can't be imported, one with control, and one that serves."""
    folder = tmp_path_factory.mktemp("broken")
    project = Project(folder)
    project.app("broken", BROKEN)
    project.app("steering", "import nonexistent_module\n", control=True)
    project.app("fine")
    running = project.start()
    try:
        running.wait_for("broken", serving="stand-in")
        running.wait_for("steering", serving="stand-in")
        running.worker("fine")
        yield project
    finally:
        project.clean_up()


@pytest.fixture
def port(broken: Project) -> int:
    """The port of the broken app."""
    return broken.port("broken")


def _check(answer: Answer) -> None:
    assert answer.status == 503
    assert answer.headers["connection"] == "close"
    assert answer.headers["cache-control"] == "no-store"
    assert 1 <= int(answer.headers["retry-after"]) <= 60


# ---- what it says


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, PROBLEM),
        ("", PROBLEM),
        ("*/*", PROBLEM),
        ("application/json", PROBLEM),
        ("application/problem+json", PROBLEM),
        ("image/png,image/*;q=0.8", PROBLEM),
        ("text/html", PAGE),
        ("TEXT/HTML", PAGE),
        (CHROMIUM, PAGE),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", PAGE),
        ("text/html, application/json", PAGE),
        ("application/json, text/html, */*", PAGE),
        ("text/html;q=0.5, application/json", PROBLEM),
        ("text/html;q=0.5, application/json;q=0.9", PROBLEM),
        ("text/html;q=0.5, application/problem+json;q=0.9", PROBLEM),
        ("application/json;q=0.5, text/html;q=0.9", PAGE),
        ("application/json;q=0.5, text/html", PAGE),
        ("text/html;level=1;q=0.4, application/json;q=0.3", PAGE),
        ("text/html;q=0", PROBLEM),
        ("text/html;q=0.000, */*", PROBLEM),
        ("text/html;q=much", PROBLEM),
        (";;q=,,/;q", PROBLEM),
    ],
)
def test_the_accept_header_decides(port: int, accept: str | None, content_type: str) -> None:
    """Clients that accept text/html, and prefer nothing else, get a page; others problem+json."""
    with Wire(port) as wire:
        headers = [] if accept is None else [f"Accept: {accept}"]
        answer = wire.get("/any/path", *headers).answer()
        assert wire.rest() == b""
    _check(answer)
    assert answer.headers["content-type"] == content_type
    if content_type == PROBLEM:
        assert answer.json["detail"] == DETAIL
    else:
        assert answer.text.startswith("<!doctype html>")


def test_the_problem_document_has_the_standard_members(port: int) -> None:
    """The document has the members of RFC 9457, and the name and state of the app."""
    problem = ask(port, "/teams/7?sort=name").json
    assert problem["type"] == "about:blank"
    assert problem["status"] == 503
    assert problem["detail"] == DETAIL
    assert problem["instance"] == "/teams/7"
    assert problem["app"] == "broken"
    assert problem["title"] == "broken can't be served"
    assert problem["state"] in {"starting", "backoff", "failed"}
    assert 1 <= problem["retry_after_s"] <= 60
    assert "apps" not in problem


@pytest.mark.parametrize("path", ["/caf%C3%A9/%20", "/%FF%00%22%3Cscript%3E", "//a//b"])
def test_the_instance_is_the_path_as_it_was_sent(port: int, path: str) -> None:
    """The problem's instance is a URI reference, in which bytes outside of ASCII stay escaped."""
    instance = ask(port, path).json["instance"]
    assert instance.isascii()
    assert instance.replace("//", "/") == path.replace("//", "/")


def test_the_page_shows_the_reason_escaped(port: int) -> None:
    """The message of an exception is text in the page, never markup."""
    page = ask(port, accept="text/html").text
    assert "&lt;script&gt;alert(&#x27;it broke&#x27;)&lt;/script&gt; &amp; &quot;more&quot;" in page
    assert "– tschüß" in page
    assert "<script" not in page
    assert "Traceback" not in page


def test_the_page_says_when_it_is_tried_again() -> None:
    """A person sees how long to wait; light and dark as the system is."""
    app = {"state": "backoff", "reason": "KeyError: 'x'", "hint": "look", "retry_in_s": 7.6}
    page = _page_of(app)
    assert "The next attempt is in 8 s." in page
    assert "prefers-color-scheme: dark" in page


@pytest.mark.parametrize("accept", [CHROMIUM, "application/json"])
def test_a_stopped_app_tells_visitors_nothing_more(accept: str) -> None:
    """Whoever visits a stopped app sees that an operator stopped it: no reason, no hint."""
    app = {"state": "stopped", "reason": "RuntimeError", "hint": "do this", "retry_in_s": 3.0}
    text = _page_of(app, accept)
    assert "coach was stopped by an operator" in text
    for word in ("RuntimeError", "do this", "attempt", "in a moment"):
        assert word not in text


def _page_of(app: dict[str, object], accept: str = CHROMIUM) -> str:
    environ = {"HTTP_ACCEPT": accept, "REQUEST_URI": "/"}
    return answer("coach", {"apps": {"coach": app}}, environ, control=False).body.decode()


def test_the_page_is_complete_and_reloads_itself(port: int) -> None:
    """A phone without internet can show the page, which shows the app as soon as it is back."""
    page = ask(port, accept="text/html").text
    assert '<meta http-equiv="refresh"' in page
    links = re.findall(r"""(?:src|href|action)\s*=\s*["']?([^"'\s>]*)""", page)
    assert [link for link in links if not link.startswith("data:")] == []
    for outside in ("http:", "https:", "@import", "url("):
        assert outside not in page


def test_the_page_runs_nothing_and_no_other_site_can_frame_it(port: int) -> None:
    """Its policy allows its own style, by the digest, and nothing else."""
    page = ask(port, accept=CHROMIUM)
    policy = page.headers["content-security-policy"]
    style = page.text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    for answer_ in (page, ask(port)):
        assert answer_.headers["x-frame-options"] == "DENY"


def test_the_app_with_control_shows_them_all(broken: Project) -> None:
    """On the port of the admin app the page lists every app with its state and reason."""
    steering = broken.port("steering")
    page = ask(steering, accept=CHROMIUM).text
    for text in ("<th>broken</th>", "<th>fine</th>", "<th>steering</th>", "it broke", "ready"):
        assert text in page
    assert "<script" not in page
    apps = ask(steering).json["apps"]
    assert apps["broken"]["reason"] == DETAIL
    assert apps["fine"] == {
        "status": "pass",
        "state": "ready",
        "port": broken.port("fine"),
        "reason": None,
    }


def test_the_other_apps_show_only_themselves(port: int) -> None:
    """The stand-in of another app doesn't list the other apps."""
    assert "steering" not in ask(port, accept="text/html").text
    assert "nonexistent_module" not in ask(port).text


def test_no_answer_shows_a_folder(broken: Project, port: int) -> None:
    """Neither kind of answer shows where the app is installed."""
    for accept in ("text/html", "application/json"):
        for where in (port, broken.port("steering")):
            assert str(broken.folder) not in ask(where, accept=accept).text


# ---- every way to ask


def test_head_has_the_headers_and_no_body(port: int) -> None:
    """HEAD gets the length of the answer to GET, and no body."""
    with Wire(port) as wire:
        answer = wire.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n").answer("HEAD")
        assert wire.rest() == b""
    _check(answer)
    assert int(answer.headers["content-length"]) > len(DETAIL)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
def test_every_method_gets_the_reason(port: int, method: str) -> None:
    """The stand-in answers every method."""
    answer = ask(port, method=method)
    _check(answer)
    assert answer.json["detail"] == DETAIL


def test_http_1_0_is_answered(port: int) -> None:
    """An HTTP/1.0 client gets the same answer, also when it asks for keep-alive."""
    for extra in ("", "Connection: keep-alive\r\n"):
        with Wire(port) as wire:
            answer = wire.send(f"GET / HTTP/1.0\r\n{extra}\r\n").answer()
            assert wire.rest() == b""
        _check(answer)
        assert answer.json["detail"] == DETAIL


def test_a_large_upload_gets_the_whole_answer(port: int) -> None:
    """A client that sends 10 MiB before it reads is not reset: it receives the reason."""
    for _ in range(5):
        answer = ask(port, method="POST", body=BODY)
        _check(answer)
        assert answer.json["detail"] == DETAIL


def test_a_slow_upload_gets_the_answer_at_once(port: int) -> None:
    """The answer doesn't wait for the body, and the rest of the body causes no reset."""
    with Wire(port) as wire:
        wire.send(f"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {len(BODY)}\r\n\r\n")
        wire.send(BODY[:1000])
        answer = wire.answer()
        assert wire.rest() == b""
        wire.send(BODY[:100_000])
    _check(answer)
    assert answer.json["detail"] == DETAIL


def test_the_announced_length_does_not_matter(port: int) -> None:
    """An upload beyond every limit of the app is answered with the reason, not with 413."""
    with Wire(port) as wire:
        wire.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5000000000\r\n\r\n")
        _check(wire.answer())
        assert wire.rest() == b""


def test_an_upload_over_a_slow_network_is_not_reset(port: int) -> None:
    """A client that sends for seconds before it reads receives the answer."""
    with Wire(port) as wire:
        wire.send(f"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {len(BODY)}\r\n\r\n")
        _send_slowly(wire, 4.0)
        answer = wire.answer()
        assert wire.rest() == b""
    _check(answer)
    assert answer.json["detail"] == DETAIL


def _send_slowly(wire: Wire, seconds: float) -> None:
    """Send parts of a body for so long; raises ConnectionError when the server stops reading."""
    until, pace = time.monotonic() + seconds, threading.Event()
    while time.monotonic() < until:
        wire.send(BODY[:10_000])
        pace.wait(0.1)


def test_a_body_is_never_parsed_as_a_request(port: int) -> None:
    """What follows the header is never parsed as another request."""
    for body in (GET, "\r\n\r\n", "x" * 20_000 + GET):
        with Wire(port) as wire:
            wire.send(f"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n{body}")
            _check(wire.answer())
            assert wire.rest() == b""


def test_a_chunked_upload_gets_the_answer(port: int) -> None:
    """A chunked body is answered like any other."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        parts = (BODY[:50_000] for _ in range(100))
        connection.request("POST", "/", body=parts, encode_chunked=True)
        response = connection.getresponse()
        assert (response.status, json.load(response)["detail"]) == (503, DETAIL)


def test_a_client_that_waits_for_100_continue_need_not_send(port: int) -> None:
    """Expect: 100-continue is answered with 503 at once."""
    with Wire(port) as wire:
        wire.send(f"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {len(BODY)}\r\n")
        _check(wire.send("Expect: 100-continue\r\n\r\n").answer())
        assert wire.rest() == b""


def test_pipelined_requests_get_one_answer(port: int) -> None:
    """The first answer closes the connection, so there is no second, and no reset."""
    for count in (2, 100):
        with Wire(port) as wire:
            _check(wire.send(GET * count).answer())
            assert wire.rest() == b""


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: odd\r\n\r\n", 501),
        ("GET / HTTP/1.1\r\nx: " + "y" * 300_000 + "\r\n\r\n", 431),
    ],
)
def test_garbage_is_answered_with_400(port: int, request_: str, status: int) -> None:
    """Garbage gets the answer of any web server, whole and without a reset."""
    with Wire(port) as wire:
        assert wire.send(request_).answer().status == status
        assert wire.rest() == b""
    _check(ask(port))


@pytest.mark.debian("curl")
@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--http1.0"],
        ["--head"],
        ["--data-binary", "@body"],
        ["--data-binary", "@body", "--header", "Expect:"],
        ["--data-binary", "@body", "--header", "Transfer-Encoding: chunked"],
        ["--upload-file", "body"],
        ["--form", "file=@body"],
    ],
    ids=" ".join,
)
def test_curl_sees_no_error(port: int, options: list[str], tmp_path: Path) -> None:
    """curl exits with 0 and shows the whole answer."""
    (tmp_path / "body").write_bytes(BODY)
    command = ["curl", "--silent", "--show-error", "--max-time", "30", "--noproxy", "*"]
    run = subprocess.run(
        [*command, *options, "--write-out", "\n%{http_code}", f"http://127.0.0.1:{port}/"],
        capture_output=True,
        cwd=tmp_path,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, b"")
    body, _, code = run.stdout.decode().rpartition("\n")
    assert code == "503"
    if "--head" not in options:
        assert json.loads(body)["detail"] == DETAIL


# ---- many clients, and bad ones


def test_many_clients_at_once_are_answered(port: int) -> None:
    """Fifty concurrent clients all receive the reason."""
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: ask(port), range(200)))
    assert {(answer.status, answer.json["detail"]) for answer in answers} == {(503, DETAIL)}


def test_many_uploads_at_once_are_answered(port: int) -> None:
    """Ten concurrent uploads all receive the reason."""
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: ask(port, method="POST", body=BODY), range(20)))
    assert {(answer.status, answer.json["detail"]) for answer in answers} == {(503, DETAIL)}


def test_silent_and_slow_clients_block_no_other(broken: Project, port: int) -> None:
    """Clients that send nothing, or half a request, keep no other client waiting."""
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(Wire(port)) for _ in range(50)]
        halves = [stack.enter_context(Wire(port)).send(GET[:20]) for _ in range(50)]
        for where in (port, broken.port("steering")):
            assert ask(where, timeout_s=5).status == 503
        for wire in halves:
            _check(wire.send(GET[20:]).answer())
        for wire in silent:
            _check(wire.send(GET).answer())


def test_clients_that_vanish_do_no_harm(broken: Project, port: int) -> None:
    """Connections that are reset before, during and after a request don't affect the stand-in."""
    for begin in ("", GET[:20], GET, "POST / HTTP/1.1\r\nContent-Length: 99999\r\n\r\nabc"):
        for _ in range(20):
            Wire(port).send(begin).reset()
    _check(ask(port))
    assert "the stand-in ended" not in broken.started[0].log


# ---- when an app comes and goes


def test_an_app_on_a_unix_socket_has_a_stand_in_too(project: Project) -> None:
    """The stand-in answers on a Unix socket too."""
    project.app("broken", BROKEN, host="unix:broken.sock")
    project.start()

    def answer() -> Answer:
        with Wire(path=str(project.folder / "broken.sock"), timeout_s=5) as wire:
            return wire.get().answer()

    answer_ = eventually(answer)
    _check(answer_)
    assert answer_.json["detail"] == DETAIL


def test_a_repaired_app_takes_its_port_back(project: Project) -> None:
    """After a repair the app answers; the other apps keep their stand-in."""
    port = project.app("broken", BROKEN)
    project.app("other", BROKEN)
    running = project.start()
    running.wait_for("broken", serving="stand-in")
    _check(ask(port))
    project.file("broken").write_text(GOOD)
    eventually(lambda: {ask(port).text for _ in range(20)} == {"repaired"})
    _check(ask(project.port("other")))


def test_a_repair_does_not_reset_an_upload_to_the_stand_in(project: Project) -> None:
    """The stand-in ends only when its clients have had time to read their answers."""
    port = project.app("broken", BROKEN)
    project.supervisor["shutdown_timeout_s"] = 15
    running = project.start()
    running.wait_for("broken", serving="stand-in")
    with Wire(port) as wire:
        wire.send(f"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {len(BODY)}\r\n\r\n")
        project.file("broken").write_text(GOOD)
        running.wait_for("broken", serving="app")
        _send_slowly(wire, 1.0)
        answer = wire.answer()
        assert wire.rest() == b""
    _check(answer)
    assert answer.json["detail"] == DETAIL
