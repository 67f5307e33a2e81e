"""An overloaded server answers new requests at once, with the reason; waiting ones are served."""

import contextlib
import time

import pytest
from harness import ask, eventually
from server_process import serving
from wire import Wire

from supervisor.server.overload import QUEUE_WAIT_MAX_S, RETRY_AFTER_S, Overloaded
from supervisor.server.server import CONNECTIONS_MAX


def test_an_overloaded_server_answers_503_at_once() -> None:
    """With all threads busy and a stuck queue, new requests get 503; those in the queue wait."""
    with serving(threads=1, max_threads=2) as server, contextlib.ExitStack() as stack:
        early = [stack.enter_context(Wire(server.port)).get("/hold") for _ in range(4)]
        server.wait_for_metrics(busy=2, queue=2)
        server.command(f"wait {QUEUE_WAIT_MAX_S + 1}")
        answer = ask(server.port, "/new")
        assert answer.status == 503
        assert answer.seconds < 3
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"] == str(RETRY_AFTER_S)
        assert answer.headers["connection"] == "close"
        problem = answer.json
        assert problem["status"] == 503
        assert problem["app"] == "app"
        assert problem["threads"] == 2
        assert problem["oldest_s"] >= QUEUE_WAIT_MAX_S
        assert "all 2 threads are busy, the oldest request for " in problem["detail"]
        metrics = server.wait_for_metrics(rejected=1, total=1, busy=2, queue=2)
        assert metrics.by_class["5xx"] == 1
        assert sum(metrics.latency) == 0
        server.command("release")
        assert [wire.answer().text for wire in early] == ["/hold\n"] * 4
        assert ask(server.port, "/after").text == "/after\n"
        server.wait_for_metrics(rejected=1, total=6, queue=0)


@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_every_method_gets_a_proper_503(method: str) -> None:
    """An upload is answered, and HEAD gets no body; both connections are closed."""
    with serving(threads=1) as server, contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(Wire(server.port)).get("/hold")
        server.wait_for_metrics(busy=1, queue=1)
        server.command(f"wait {QUEUE_WAIT_MAX_S + 1}")
        with Wire(server.port) as wire:
            wire.send(f"{method} / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc")
            answer = wire.answer(method)
            assert answer.status == 503
            assert (answer.body == b"") == (method == "HEAD")
            assert wire.rest() == b""
        server.wait_for_metrics(rejected=1)


def test_an_overloaded_app_does_not_affect_another() -> None:
    """Another app of the process is served while one answers 503."""
    with serving(threads=1) as server, contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(Wire(server.port)).get("/hold")
        server.wait_for_metrics(busy=1, queue=1)
        server.command(f"wait {QUEUE_WAIT_MAX_S + 1}")
        assert ask(server.port).status == 503
        assert ask(server.other_port).status == 200


def test_a_pool_that_can_grow_is_not_overloaded() -> None:
    """A request that waited long, because the loop was stuck, makes the pool grow instead."""
    with serving(threads=1, max_threads=4) as server, contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(Wire(server.port)).get("/hold")
            server.command(f"wait {QUEUE_WAIT_MAX_S + 1}")
        assert ask(server.port).status == 200
        assert server.wait_for_metrics(busy=3).rejected == 0


def test_a_pipelined_request_gets_no_503() -> None:
    """A request that arrived together with one that is being served is served too."""
    with serving(threads=1) as server, Wire(server.port) as wire, Wire(server.port) as other:
        wire.send("GET /hold HTTP/1.1\r\nHost: test\r\n\r\nGET /2 HTTP/1.1\r\nHost: test\r\n\r\n")
        server.wait_for(held=1)
        other.get("/other")
        server.wait_for_metrics(queue=1)
        server.command(f"wait {QUEUE_WAIT_MAX_S + 1}")
        assert ask(server.port).status == 503
        server.command("release")
        assert [wire.answer().text for _ in range(2)] == ["/hold\n", "/2\n"]
        assert other.answer().text == "/other\n"


def test_the_reason_names_the_only_thread() -> None:
    """The reason says "the only thread" for a pool of one, also for an app without a name."""
    full = Overloaded(name="", threads=1, oldest_s=61.4, queue_wait_s=5.2)
    status, headers, body = full.to_response("ident")
    assert status.startswith("503 ")
    assert ("Server", "ident") in headers
    assert b"the only thread is busy, the oldest request for 61 s" in body


# ---- more connections than places


def test_when_all_connections_are_busy_new_ones_wait(
    wires: contextlib.ExitStack,
) -> None:
    """Above the limit no connection is accepted or refused; all are answered in the end."""
    with serving(threads=2) as server:
        busy = [wires.enter_context(Wire(server.port)) for _ in range(CONNECTIONS_MAX)]
        for wire in busy:
            wire.get("/hold")
        server.wait_for_metrics(in_flight=CONNECTIONS_MAX)
        waiting = [wires.enter_context(Wire(server.port)).get("/late") for _ in range(20)]
        assert ask(server.other_port).status == 200  # it has its share
        assert server.command("count")["connections"] <= CONNECTIONS_MAX
        server.command("release")
        assert {wire.answer().text for wire in busy} == {"/hold\n"}
        assert [wire.answer().text for wire in waiting] == ["/late\n"] * 20


def test_an_app_without_files_left_accepts_again_later() -> None:
    """While every descriptor is in use connections wait, and the loop is idle."""
    with serving() as server, Wire(server.port) as known:
        assert known.get("/eat").answer().status == 200
        with Wire(server.port) as late:
            late.get("/late")
            before = server.command("cpu")["cpu_s"]
            began = time.monotonic()
            eventually(lambda: time.monotonic() - began > 1.5)
            assert server.command("cpu")["cpu_s"] - before < 0.2
            assert known.get("/free").answer().status == 200
            assert late.answer().text == "/late\n"


def test_clients_that_trickle_a_header_do_not_block_the_port(
    wires: contextlib.ExitStack,
) -> None:
    """Clients that send a byte of a header now and then don't keep others from being served."""
    with serving() as server:
        slow = [wires.enter_context(Wire(server.port)) for _ in range(CONNECTIONS_MAX)]
        with Wire(server.port) as keeps_alive:
            for wire in slow:
                wire.send("GET / HTTP/1.1\r\nX-Slow: ")
            keeps_alive.get().answer()
            for _ in range(3):
                for wire in slow[1:]:
                    with contextlib.suppress(OSError):  # it may have been closed
                        wire.send("x")
                assert ask(server.port, "/new").text == "/new\n"
            eventually(lambda: server.command("count")["connections"] <= CONNECTIONS_MAX)
            assert keeps_alive.get("/still").answer().text == "/still\n"


def test_a_header_that_does_not_end_is_cut_off() -> None:
    """A header has two minutes, however often a byte of it arrives; an upload is not limited."""
    part = "y" * 30_000  # in 50 s: fast enough
    head = f"POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: {4 * len(part) + 5}\r\n\r\n"
    with serving() as server, Wire(server.port) as slow, Wire(server.port) as upload:
        slow.send("GET / HTTP/1.1\r\nX-Slow: ")
        upload.send(head)
        server.wait_for(connections=2)
        for _ in range(4):
            for wire, text in ((slow, "x"), (upload, part)):
                wire.send(text)
            assert ask(server.port).status == 200
            server.command("wait 50")
            assert ask(server.port).status == 200
        assert slow.rest() == b""
        assert upload.send("zzzzz").answer().text.startswith(f"{4 * len(part) + 5} ")
