"""An app that raises: answered, logged once with its traceback, counted, and freed."""

from pathlib import Path

import pytest
from failing_app import KINDS, LOGGING
from harness import ask, eventually
from server_process import Serving, serving
from wire import Wire

NO_EXCEPTIONS = ["exit", "interrupt", "generator", "cancelled"]  # BaseException, not Exception
MANY = 450  # more than the limit of connections


def tracebacks(log: Path, kind: str) -> int:
    """Return how often the log has the traceback of an exception of this kind."""
    error = KINDS[kind]()
    lines = log.read_text().splitlines()
    return sum(line.split(":")[0].split(".")[-1] == type(error).__name__ for line in lines)


@pytest.mark.parametrize("where", ["view", "first"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_before_the_answer_is_500(
    failing: Serving, log: Path, where: str, kind: str
) -> None:
    """Any exception is answered with 500 without its text, logged once, and counted."""
    answer = ask(failing.port, f"/{where}/{kind}")
    assert answer.status == 500
    assert "broken" not in answer.text
    metrics = failing.wait_for_metrics(total=1, busy=0, connections=0)
    assert metrics.by_class["5xx"] == 1
    assert tracebacks(log, kind) == 1
    assert "failing_app.py" in log.read_text()
    assert ask(failing.port, "/after").text == "/after\n"


@pytest.mark.parametrize("where", ["stream", "close"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_after_the_header_closes_the_connection(
    failing: Serving, log: Path, where: str, kind: str
) -> None:
    """The answer is cut off, the connection is closed, and the request counts as 5xx."""
    with Wire(failing.port) as wire:
        received = wire.get(f"/{where}/{kind}").rest()
    assert b"200 OK" in received
    assert not received.endswith(b"0\r\n\r\n")  # a chunked body is not terminated
    metrics = failing.wait_for_metrics(total=1, busy=0, connections=0)
    assert metrics.by_class["5xx"] == 1
    assert tracebacks(log, kind) == 1


@pytest.mark.parametrize("kind", NO_EXCEPTIONS)
def test_hundreds_of_them_do_not_block_the_port(log: Path, kind: str) -> None:
    """No connection, no thread and no place in the queue is lost, and a drain ends at once."""
    with serving(app="failing_app", log=log, threads=2) as server:
        for number in range(MANY):
            where = ("view", "first")[number % 2]
            assert ask(server.port, f"/{where}/{kind}").status == 500
        metrics = server.wait_for_metrics(total=MANY, busy=0, queue=0, connections=0, threads=2)
        assert metrics.by_class["5xx"] == MANY
        assert tracebacks(log, kind) == MANY
        with Wire(server.port) as wire:
            wire.get("/still/there").answer()
            server.drain(idle_s=0)
            assert server.drained() == 0


def test_an_error_after_the_answer_frees_the_connection(failing: Serving, log: Path) -> None:
    """When waitress itself fails to end a request the connection is closed, and others serve."""
    for _ in range(8):  # more than there are threads
        assert ask(failing.port, "/full_disk", timeout_s=5).text == "/full_disk\n"
    metrics = failing.wait_for_metrics(total=8, busy=0, queue=0, connections=0)
    assert metrics.threads == 4
    assert log.read_text().count("OSError: [Errno 28] No space left on device") == 8
    with Wire(failing.port) as wire:
        assert wire.get("/full_disk").answer().status == 200
        assert wire.rest() == b""


def test_a_pipelined_request_behind_a_failure(failing: Serving) -> None:
    """The connection of a failed request is closed, as waitress closes it after an Exception."""
    with Wire(failing.port) as wire:
        wire.send("GET /view/exit HTTP/1.1\r\nHost: t\r\n\r\nGET /b HTTP/1.1\r\nHost: t\r\n\r\n")
        assert wire.answer().status == 500
        assert wire.rest() == b""
    failing.wait_for_metrics(busy=0, queue=0, connections=0)


@pytest.mark.parametrize("configured", LOGGING)
@pytest.mark.parametrize("where", ["view", "stream"])
def test_the_logging_of_an_app_hides_no_error(log: Path, configured: str, where: str) -> None:
    """Standard error has the traceback once, however the app configures logging."""
    with serving(app="failing_app", log=log) as server:
        assert ask(server.port, f"/logging/{configured}").status == 200
        with Wire(server.port) as wire:
            wire.get(f"/{where}/error").rest() if where == "stream" else wire.get("/view/error")
            wire.rest()
        eventually(lambda: "Exception while serving" in log.read_text())
        server.wait_for_metrics(total=2, connections=0)
        assert log.read_text().count("RuntimeError: broken on purpose") == 1
        if configured == "stderr":
            assert "app: Exception while serving" in log.read_text()
        if configured == "file":
            assert "RuntimeError: broken on purpose" in (log.parent / "app.log").read_text()
