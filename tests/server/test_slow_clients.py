"""Clients that vanish, that read slowly or send slowly, hold up nobody else."""

import contextlib
import re
import select
import time
from pathlib import Path

import pytest
from harness import ask, eventually
from server_process import Serving, serving
from wire import Wire

from supervisor.server.server import CONNECTIONS_MAX
from supervisor.server.slow_clients import BODY_GRACE_S

MANY = CONNECTIONS_MAX + 50
ANSWER_S = 5.0  # on a busy machine; without what is tested here, it takes a minute or for ever


def test_a_vanished_client_is_noticed_within_a_minute(server: Serving) -> None:
    """By probes while nothing is sent, and by what it doesn't acknowledge."""
    found = ask(server.port, "/options").json
    assert found["keepalive"] == 1
    assert found["idle_s"] + found["interval_s"] * found["count"] <= 40
    assert found["user_timeout_ms"] == 40_000


# ---- streams and long polls


def test_streams_leave_the_threads_to_short_requests(wires: contextlib.ExitStack) -> None:
    """More endless streams than max_threads: others are served; threads go when the viewers do."""
    with serving(threads=2, max_threads=4) as server:
        viewers = [wires.enter_context(Wire(server.port)).get("/endless") for _ in range(40)]
        for viewer in viewers:
            assert viewer.socket.recv(1)
        answers = [ask(server.port, f"/{number}") for number in range(10)]
        assert max(answer.seconds for answer in answers) < ANSWER_S
        server.wait_for_metrics(busy=40, queue=0)
        for viewer in viewers[:20]:
            viewer.reset()
        for viewer in viewers[20:]:
            viewer.close()
        server.wait_for_metrics(busy=0, connections=0)


def test_long_polls_leave_the_threads_to_short_requests(wires: contextlib.ExitStack) -> None:
    """A request that waits for more than a second doesn't count either."""
    with serving(threads=2, max_threads=4) as server:
        polls = [wires.enter_context(Wire(server.port)).get("/hold") for _ in range(12)]
        assert ask(server.port).seconds < ANSWER_S
        server.wait_for(held=12)
        server.command("release")
        assert {poll.answer().status for poll in polls} == {200}


def test_a_viewer_sees_what_is_there_now(server: Serving) -> None:
    """At 100 KB/s of a camera that takes 1 MB/s, frames are of a few seconds ago."""
    with Wire(server.port) as viewer:
        viewer.get("/frames")
        began, received, ages = time.monotonic(), 0, []
        rest = b""
        while time.monotonic() - began < 8:
            allowed = int((time.monotonic() - began) * 100_000) - received
            if allowed < 10_000:
                select.select([], [], [], 0.05)
                continue
            part = viewer.socket.recv(allowed)
            received += len(part)
            rest += part
            for taken in re.findall(rb"@([0-9.]+);", rest):
                ages.append(time.monotonic() - float(taken))
            rest = rest[-20:].rpartition(b";")[2]
    assert received > 500_000
    assert max(ages[len(ages) // 2 :]) < 7


def test_slow_readers_do_not_block_the_port(wires: contextlib.ExitStack) -> None:
    """Clients that read nothing of endless and of long answers, in all places there are."""
    with serving(threads=2, max_threads=4) as server:
        for number in range(MANY):
            path = "/frames" if number % 10 else "/size/3000000"
            wires.enter_context(Wire(server.port)).get(path)
        assert [ask(server.port, timeout_s=30).status for _ in range(5)] == [200] * 5
        assert ask(server.port).seconds < ANSWER_S


# ---- bodies


def test_slow_bodies_do_not_block_the_port(wires: contextlib.ExitStack) -> None:
    """Clients that send a byte of a body now and then are the first to go."""
    head = "POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n"
    with serving() as server:
        slow = [wires.enter_context(Wire(server.port)).send(head) for _ in range(MANY)]
        for _ in range(3):
            for wire in slow:
                with contextlib.suppress(OSError):  # it may have been closed
                    wire.send("x")
            assert ask(server.port, "/new").seconds < ANSWER_S


def test_a_body_that_is_too_slow_gets_408(server: Serving) -> None:
    """It has 20 s, and more as it comes; keep-alive before it doesn't count."""
    with Wire(server.port) as slow, Wire(server.port) as chunked:
        assert slow.get("/first").answer().status == 200
        server.command("wait 60")
        slow.send("POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nxy")
        head = "POST /upload HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunked.send(head + "4\r\nx")
        server.wait_for(connections=2)
        server.command(f"wait {BODY_GRACE_S / 2}")
        chunked.send("y")
        slow.send("z")
        assert ask(server.port).status == 200
        server.wait_for(connections=2)
        server.command(f"wait {BODY_GRACE_S / 2 + 5}")
        for wire in (slow, chunked):
            answer = wire.answer()
            assert answer.status == 408
            assert b"500 bytes" in answer.body
            assert wire.rest_or_nothing() == b""
    assert server.wait_for_metrics(connections=0).by_class["4xx"] == 2


# ---- connections


def test_a_flood_over_kept_connections_lets_others_in(wires: contextlib.ExitStack) -> None:
    """When all places are busy their answers end the connection, so that new ones get a turn."""
    with serving() as server:
        for _ in range(CONNECTIONS_MAX):
            wires.enter_context(Wire(server.port)).send(
                "GET /sleep/0.02 HTTP/1.1\r\nHost: test\r\n\r\n" * 50
            )
        assert ask(server.port, timeout_s=60).status == 200


def test_streams_are_cut_early_by_a_drain_that_says_so(log: Path) -> None:
    """An endless stream is cut after the idle time, and named; what ends by itself is not."""
    with serving(log=log) as server, Wire(server.port) as viewer, Wire(server.port) as other:
        viewer.get("/frames?key=secret")
        other.get("/hold")
        assert viewer.socket.recv(1)
        server.wait_for(held=1)
        assert server.command("drain 60 0.2 cut") == {"draining": True}
        viewer.rest_or_nothing()
        server.command("release")
        assert other.answer().text == "/hold\n"
        assert server.drained() == 0
    text = eventually(lambda: "cut off" in (text := log.read_text()) and text)
    assert "cut off GET /frames, a stream that has lasted " in text
    assert "secret" not in text


@pytest.mark.parametrize("cut", ["", "cut"])
def test_a_finite_answer_is_never_cut_early(cut: str) -> None:
    """An answer of unknown length that isn't known to be endless has the time of the drain."""
    with serving() as server, Wire(server.port) as viewer:
        viewer.get("/endless")
        assert viewer.socket.recv(1)
        server.command(f"drain 2 0.1 {cut}")
        viewer.rest_or_nothing()
        assert server.drained() == 1
