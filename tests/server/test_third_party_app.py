"""A third-party app, httpbin from PyPI, unmodified: it is served as by plain waitress."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from harness import Project, Running, ask
from peer import plain_waitress
from wire import Wire

HOST = "Host: example.test"
FORM = "Content-Type: application/x-www-form-urlencoded"
BIG = bytes(range(256)) * 4 * 1024 * 10  # 10 MiB
HEADER_MAX = 262_144  # of waitress

# What differs between two answers to one request: the time, and the port where no Host was sent.
_MASKED = (
    (re.compile(rb"(?m)^Date: .*$"), b"Date: masked"),
    (re.compile(rb"waitress\.invalid:\d+"), b"waitress.invalid:masked"),
)
_ALLOW = re.compile(rb"(?m)(?<=^Allow: ).*$")  # a set, in the order of its hashes


@dataclass(frozen=True)
class Servers:
    """The ports of the supervised app, of the same app under plain waitress, and of two more."""

    ours: int
    plain: int
    neighbours: list[int]
    running: Running


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Run httpbin beside two small apps in a supervisor, and under plain waitress."""
    project = Project(tmp_path_factory.mktemp("third"))
    neighbours = [project.app("left"), project.app("right")]
    ours = project.app("third", target="httpbin:app")
    try:
        running = project.start()
        with plain_waitress("httpbin:app") as plain:
            running.wait_for("third", state="ready", timeout_s=60)
            yield Servers(ours, plain, neighbours, running)
    finally:
        project.clean_up()


def _request(
    line: str, *headers: str, body: bytes = b"", close: bool = True, host: bool = True
) -> bytes:
    lines = [line, *([HOST] if host else []), *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode() + body


def _get(path: str, *headers: str, method: str = "GET") -> bytes:
    return _request(f"{method} {path} HTTP/1.1", *headers)


def _chunked(parts: list[bytes]) -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    head = _request("POST /anything HTTP/1.1", "Transfer-Encoding: chunked", FORM)
    return head + body + b"0\r\n\r\n"


def _multipart() -> bytes:
    body = (
        b'--cut\r\nContent-Disposition: form-data; name="name"\r\n\r\nJos\xc3\xa9\r\n'
        b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + bytes(range(256)) + b"\r\n--cut--\r\n"
    )
    kind = "Content-Type: multipart/form-data; boundary=cut"
    return _request("POST /post HTTP/1.1", kind, body=body)


# Each ends with the server closing the connection, so that the whole answer is what was sent.
REQUESTS: dict[str, bytes] = {
    "get": _get("/get?a=1&a=2&b=%C3%A9"),
    "headers": _get("/headers", "X-Twice: one", "X-Twice: two", "X-Odd: \t caf\xe9 ", "Te: x"),
    "forwarded": _get("/get?show_env=1", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https"),
    "underscore header": _get("/headers", "X_Under: dropped"),
    "ip": _get("/ip"),
    "user agent": _get("/user-agent", "User-Agent: test/1"),
    "status 204": _get("/status/204"),
    "status 304": _get("/status/304"),
    "status 418": _get("/status/418"),
    "status 500": _get("/status/500"),
    "not found": _get("/nothing/here"),
    "method not allowed": _get("/get", method="POST"),
    "redirect": _get("/redirect/2"),
    "relative redirect": _get("/relative-redirect/2"),
    "absolute redirect": _get("/absolute-redirect/2"),
    "redirect to": _get("/redirect-to?url=/get&status_code=307"),
    "stream": _get("/stream/5"),
    "stream bytes": _get("/stream-bytes/50000?seed=7&chunk_size=1000"),
    "drip": _get("/drip?duration=0.3&numbytes=6&delay=0"),
    "bytes": _get("/bytes/100000?seed=7"),
    "image": _get("/image/png"),
    "gzip": _get("/gzip", "Accept-Encoding: gzip"),
    "deflate": _get("/deflate"),
    "brotli": _get("/brotli"),
    "utf8": _get("/encoding/utf8"),
    "html": _get("/html"),
    "front page": _get("/"),
    "cookies": _get("/cookies", "Cookie: a=1; b=2"),
    "set cookies": _get("/cookies/set?first=1&second=2"),
    "delete cookies": _get("/cookies/delete?first", "Cookie: first=1"),
    "basic auth refused": _get("/basic-auth/user/secret"),
    "basic auth": _get("/basic-auth/user/secret", "Authorization: Basic dXNlcjpzZWNyZXQ="),
    "bearer": _get("/bearer", "Authorization: Bearer token"),
    "range": _get("/range/1000", "Range: bytes=100-199"),
    "range to the end": _get("/range/1000?chunk_size=100", "Range: bytes=900-"),
    "range too far": _get("/range/1000", "Range: bytes=2000-3000"),
    "etag matches": _get("/etag/abc", "If-None-Match: abc"),
    "etag differs": _get("/etag/abc", "If-Match: xyz"),
    "response headers": _get("/response-headers?X-Long=" + "x" * 5000 + "&Server=mine&X-A=1&X-A=2"),
    "head": _get("/get", method="HEAD"),
    "head of a stream": _get("/stream/5", method="HEAD"),
    "options": _get("/get", "Origin: http://phone.test", method="OPTIONS"),
    "trace": _get("/anything", method="TRACE"),
    "delete": _get("/delete?id=7", method="DELETE"),
    "delete with a body": _request("DELETE /delete HTTP/1.1", body=b"gone"),
    "patch": _request("PATCH /patch HTTP/1.1", FORM, body=b"a=1"),
    "put": _request("PUT /put HTTP/1.1", "Content-Type: text/plain", body="Grüße".encode()),
    "post form": _request("POST /post HTTP/1.1", FORM, body=b"a=1&a=2&name=Jos%C3%A9"),
    "post json": _request(
        "POST /post HTTP/1.1",
        "Content-Type: application/json",
        body=b'{"a": [1, null, "\xc3\xa9"]}',
    ),
    "post broken json": _request(
        "POST /post HTTP/1.1", "Content-Type: application/json", body=b'{"a": '
    ),
    "post multipart": _multipart(),
    "post nothing": _request("POST /post HTTP/1.1", "Content-Length: 0"),
    "post chunked": _chunked([b"a=1", b"&b=", b"x" * 70_000]),
    "post in one chunk": _chunked([b"a=" + b"y" * 300_000]),
    "chunks with a broken length": (
        _request("POST /post HTTP/1.1", "Transfer-Encoding: chunked") + b"zz\r\nabc\r\n"
    ),
    "unknown transfer coding": _request("POST /post HTTP/1.1", "Transfer-Encoding: gzip"),
    "chunked and a length": _request(
        "POST /post HTTP/1.1", "Transfer-Encoding: chunked", "Content-Length: 3"
    )
    + b"3\r\nabc\r\n0\r\n\r\n",
    "pipelined": b"".join(
        _request(f"GET /anything/{number} HTTP/1.1", close=number == 9) for number in range(10)
    ),
    "pipelined with bodies": b"".join(
        _request("POST /anything HTTP/1.1", FORM, body=b"n=%d" % n, close=n == 4) for n in range(5)
    ),
    "pipelined after a stream": _request("GET /stream/2 HTTP/1.1", close=False) + _get("/get"),
    "blank lines before": b"\r\n\r\n" + _get("/get"),
    "http 1.0": _request("GET /get HTTP/1.0", close=False),
    "http 1.0 without a host": _request("GET /get HTTP/1.0", close=False, host=False),
    "http 1.0 keep-alive": (
        _request("GET /get HTTP/1.0", "Connection: keep-alive", close=False)
        + _request("GET /ip HTTP/1.0", close=False)
    ),
    "http 1.0 stream, keep-alive": (
        _request("GET /stream/2 HTTP/1.0", "Connection: keep-alive", close=False)
    ),
    "http 2.0": _request("GET /get HTTP/2.0", close=False),
    "no version": b"GET /get\r\n\r\n",
    "absolute form": _get("http://other.test/get?x=1"),
    "double slash": _get("//get"),
    "dots and escapes": _get("/anything/../%2e%2e/%00%ff?%00"),
    "nonsense": b"nonsense\r\n\r\n",
    "lower-case method": b"get /get HTTP/1.1\r\n\r\n",
    "header without a colon": b"GET /get HTTP/1.1\r\nno colon\r\n\r\n",
    "folded header": b"GET /headers HTTP/1.1\r\nConnection: close\r\nX-A: one\r\n two\r\n\r\n",
    "bare line feed": b"GET /get HTTP/1.1\r\nX-A: one\nX-B: two\r\n\r\n",
    "space before the colon": b"GET /get HTTP/1.1\r\nX-A : one\r\n\r\n",
    "length that is no number": b"POST /post HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "header as large as can be": _get("/status/200", "X-Large: " + "x" * (HEADER_MAX - 200)),
    # not a byte more than is read: closing with unread bytes resets, and may lose the answer
    "header too large": b"GET /get HTTP/1.1\r\nX-Large: ".ljust(HEADER_MAX, b"x"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_an_answer_is_the_same_to_the_byte(servers: Servers, name: str) -> None:
    """Status line, headers, body and chunks equal those of plain waitress."""
    ours, plain = (_whole_answer(port, REQUESTS[name]) for port in (servers.ours, servers.plain))
    assert ours.startswith(b"HTTP/1.")
    assert ours == plain


def _whole_answer(port: int, request: bytes) -> bytes:
    with Wire(port) as wire:
        answer = wire.send(request).rest()
    answer = answer.replace(b"\r\n", b"\n")
    for pattern, replacement in _MASKED:
        answer = pattern.sub(replacement, answer)
    return _ALLOW.sub(lambda found: b", ".join(sorted(found[0].split(b", "))), answer)


def test_the_table_of_requests_is_valid() -> None:
    """All requests of the table differ, and none exceeds the limit."""
    assert len(set(REQUESTS.values())) == len(REQUESTS)
    assert len(REQUESTS["header as large as can be"]) < HEADER_MAX
    assert len(REQUESTS["header too large"]) == HEADER_MAX


def _upload(port: int) -> str:
    """Upload 10 MiB; return the digest of what the app received."""
    headers = {"Host": "example.test", "Content-Type": "application/octet-stream"}
    answer = ask(port, "/post", method="POST", body=BIG, headers=headers, timeout_s=60)
    assert answer.status == 200
    return hashlib.sha256(json.dumps(answer.json, sort_keys=True).encode()).hexdigest()


def _upload_text(port: int) -> str:
    """Upload 10 MiB of text, which the app echoes; return its digest."""
    text = BIG.hex()[: len(BIG)].encode()
    answer = ask(port, "/anything", method="POST", body=text, timeout_s=60)
    assert answer.json["data"].encode() == text
    return hashlib.sha256(answer.json["data"].encode()).hexdigest()


def _continue(port: int) -> bytes:
    """Wait for 100 Continue before sending the body."""
    body = b"name=late"
    with Wire(port) as wire:
        head = _request("POST /post HTTP/1.1", "Expect: 100-continue", FORM, body=body)
        wire.send(head.removesuffix(body))
        assert wire.answer().status == 100
        answer = wire.send(body).answer()
        assert answer.json["form"] == {"name": "late"}
        assert wire.rest() == b""
    return answer.body


def _byte_by_byte(port: int) -> bytes:
    """Send a request in as many pieces as it has bytes."""
    with Wire(port) as wire:
        for byte in REQUESTS["post form"]:
            wire.send(bytes([byte]))
        return wire.answer().body


def _keep_alive(port: int) -> list[tuple[int, bytes]]:
    """Send twenty requests on one connection, with and without bodies."""
    answers = []
    with Wire(port) as wire:
        for number in range(20):
            body = b"n=%d" % number if number % 2 else b""
            length = f"Content-Length: {len(body)}"
            line = "POST /anything HTTP/1.1" if body else "GET /anything HTTP/1.1"
            wire.send(_request(line, FORM, length, close=False) + body)
            answer = wire.answer()
            assert "connection" not in answer.headers
            answers.append((answer.status, answer.body))
    return answers


@pytest.mark.parametrize("exchange", [_upload, _upload_text, _continue, _byte_by_byte, _keep_alive])
def test_an_exchange_has_the_same_result(
    servers: Servers, exchange: Callable[[int], object]
) -> None:
    """Exchanges of several steps, and large ones, end as with plain waitress."""
    assert exchange(servers.ours) == exchange(servers.plain)


def test_the_other_apps_are_not_affected(servers: Servers) -> None:
    """After a client that misbehaves all apps are ready, and none was restarted."""
    Wire(servers.ours).send(_get("/stream-bytes/1000000")).reset()
    Wire(servers.ours).send(_get("/get")[:20]).reset()
    assert [ask(port).text for port in servers.neighbours] == ["left\n", "right\n"]
    health = servers.running.health()
    assert health["status"] == "pass"
    assert {app["restarts"] for app in health["apps"].values()} == {0}
