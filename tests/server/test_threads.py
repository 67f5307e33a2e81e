"""The threads of an app on real sockets: slow requests don't block it, and metrics count all."""

import contextlib
import time

from harness import Poller, ask, eventually
from server_process import Serving, serving
from wire import Wire

from supervisor.server.pool_size import SHRINK_AFTER_S
from supervisor.values.metrics import latency_ms


def test_eight_event_streams_leave_room_for_others() -> None:
    """A pool of four grows under eight endless answers; metrics count them, others are served."""
    with serving(threads=4, max_threads=32) as server, contextlib.ExitStack() as stack:
        streams = [stack.enter_context(Wire(server.port)).get("/endless") for _ in range(8)]
        for stream in streams:
            assert stream.socket.recv(1)
        metrics = server.wait_for_metrics(busy=8, in_flight=8, queue=0, connections=8)
        assert metrics.threads >= 8
        assert metrics.max_threads == 32
        assert metrics.oldest_s is not None
        assert 0 < metrics.oldest_s < 30
        answers = [ask(server.port, f"/{number}") for number in range(20)]
        assert [answer.text for answer in answers] == [f"/{number}\n" for number in range(20)]
        assert all(answer.seconds < 5 for answer in answers)
        assert server.wait_for_metrics(busy=8, total=20).by_class["2xx"] == 20


def test_a_pool_shrinks_after_a_while() -> None:
    """Threads that were idle for long end, down to the number that the app starts with."""
    with serving(threads=2, max_threads=8) as server, contextlib.ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(Wire(server.port)).get("/hold")
        server.wait_for(held=6)
        assert server.metrics().threads >= 6
        server.command("release")
        server.wait_for_metrics(busy=0, in_flight=0, oldest_s=None)
        assert ask(server.port).status == 200
        assert server.metrics().threads >= 6  # not yet
        server.command(f"wait {SHRINK_AFTER_S}")
        assert ask(server.port).status == 200
        server.command(f"wait {SHRINK_AFTER_S}")
        assert ask(server.port).status == 200
        server.wait_for_metrics(threads=2, total=9)
        assert ask(server.port).status == 200


def test_threads_that_a_pool_needs_are_kept() -> None:
    """A pool shrinks to the number of its streams and cuts none of them off."""
    with serving(threads=1, max_threads=8) as server, contextlib.ExitStack() as stack:
        streams = [stack.enter_context(Wire(server.port)).get("/endless") for _ in range(3)]
        held = [stack.enter_context(Wire(server.port)).get("/hold") for _ in range(3)]
        server.wait_for(held=3)
        server.command("release")
        assert [wire.answer().text for wire in held] == ["/hold\n"] * 3
        server.wait_for_metrics(busy=3)

        def shrunk() -> bool:
            server.command(f"wait {SHRINK_AFTER_S}")
            assert ask(server.port).status == 200
            return server.metrics().threads < 6

        eventually(shrunk)
        metrics = server.metrics()
        assert metrics.busy == 3
        assert metrics.threads >= 3
        for stream in streams:
            assert stream.socket.recv(1)


def test_a_pool_without_a_maximum_has_a_fixed_size() -> None:
    """Requests wait for a thread when the number of threads is fixed."""
    with serving(threads=2) as server, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(server.port)).get("/hold") for _ in range(5)]
        metrics = server.wait_for_metrics(busy=2, queue=3, in_flight=5, threads=2, max_threads=2)
        later = eventually(lambda: (f := server.metrics()).queue_wait_s > 0.1 and f)
        assert metrics.oldest_s is not None
        assert later.oldest_s >= later.queue_wait_s
        server.command("release")
        assert [wire.answer().status for wire in wires] == [200] * 5
        server.wait_for_metrics(busy=0, queue=0, queue_wait_s=0.0, total=5)


def test_a_machine_without_threads_left() -> None:
    """When no thread can be started requests wait, and the pool grows as soon as it can."""
    with serving(threads=1, max_threads=4) as server, contextlib.ExitStack() as stack:
        server.command("threads off")
        wires = [stack.enter_context(Wire(server.port)).get("/hold") for _ in range(3)]
        server.wait_for_metrics(busy=1, queue=2)
        eventually(lambda: server.metrics().queue_wait_s > 0.2)
        assert server.metrics().threads == 1
        server.command("threads on")
        server.wait_for(held=3)
        server.command("release")
        assert [wire.answer().status for wire in wires] == [200] * 3
        server.wait_for_metrics(busy=0, total=3)


def test_apps_of_one_process_do_not_take_each_others_threads() -> None:
    """An app whose threads are all stuck doesn't slow another app of its process."""
    with serving(threads=1) as server, Wire(server.port) as held, Wire(server.port) as waiting:
        held.get("/hold")
        waiting.get("/")
        server.wait_for_metrics(busy=1, queue=1)
        assert ask(server.other_port, "/other").text == "/other\n"
        server.wait_for_metrics("other", total=1, busy=0, threads=1, connections=0)
        server.command("release")
        assert waiting.answer().status == 200


# ---- metrics


def test_answers_are_counted_by_class(server: Serving) -> None:
    """Every answer is counted once, whatever its status and its source."""
    for status in (200, 201, 204, 302, 404, 410, 500):
        assert ask(server.port, f"/status/{status}").status == status
    assert ask(server.port, "/broken").status == 500
    with Wire(server.port) as wire:
        assert wire.send("no such thing\r\n\r\n").answer().status == 400
    with Wire(server.port) as wire:
        assert wire.get("/half").socket.recv(1)
        wire.rest_or_nothing()
    metrics = server.wait_for_metrics(total=10, busy=0)
    assert metrics.by_class == {"1xx": 0, "2xx": 3, "3xx": 1, "4xx": 3, "5xx": 3}
    assert sum(metrics.latency) == 10
    assert metrics.rejected == 0


def test_a_client_that_goes_away_ends_its_request(server: Serving) -> None:
    """A stream whose client has gone is counted, and is in flight no longer."""
    with Wire(server.port) as wire:
        wire.get("/endless")
        assert wire.socket.recv(1)
        server.wait_for_metrics(busy=1)
        wire.reset()
    server.wait_for_metrics(busy=0, in_flight=0, oldest_s=None, total=1, connections=0)


def test_latency_is_that_of_the_client(server: Serving) -> None:
    """The histogram puts fast and slow answers into the right buckets."""
    for _ in range(9):
        ask(server.port)
    ask(server.port, "/sleep/0.6")
    metrics = server.wait_for_metrics(total=10)
    slow = latency_ms(metrics, 1.0)
    assert slow is not None
    assert 500 < slow <= 10_000  # the upper end is for a busy machine
    assert 0.6 <= metrics.latency_sum_s < 10
    fast = latency_ms(metrics, 0.5)
    assert fast is not None
    assert fast < 500


def test_latency_includes_the_wait_for_a_thread() -> None:
    """The wait behind a slow request counts as latency."""
    with serving(threads=1) as server, Wire(server.port) as slow, Wire(server.port) as behind:
        slow.get("/sleep/0.6")
        server.wait_for_metrics(busy=1)
        behind.get("/")
        assert behind.answer().status == 200
        metrics = server.wait_for_metrics(total=2)
        assert latency_ms(metrics, 0.01) > 200


def test_latency_begins_with_the_complete_request(server: Serving) -> None:
    """The time in which a client sends its request doesn't count as latency."""
    with Wire(server.port) as wire:
        wire.send("POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n12")
        began = time.monotonic()
        server.wait_for(connections=1)
        eventually(lambda: time.monotonic() - began > 0.7)
        wire.send("345").answer()
        taken_s = time.monotonic() - began
    metrics = server.wait_for_metrics(total=1)
    assert metrics.latency_sum_s < taken_s - 0.6


def test_a_streaming_answer_counts_when_it_ends() -> None:
    """A streaming answer is in flight until its end, and is counted then."""
    with serving(threads=1) as server, Wire(server.port) as wire:
        wire.get("/hold")
        server.wait_for(held=1)
        metrics = server.metrics()
        assert (metrics.total, metrics.in_flight) == (0, 1)
        server.command("release")
        wire.answer()
        server.wait_for_metrics(total=1, in_flight=0)


def test_pipelined_requests_count_one_by_one(server: Serving) -> None:
    """Requests that arrive together are answered and counted one by one."""
    with Wire(server.port) as wire:
        wire.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n" * 5)
        assert [wire.answer().status for _ in range(5)] == [200] * 5
    server.wait_for_metrics(total=5, in_flight=0)


# ---- the loop


def test_a_stuck_loop_sends_no_heartbeat(server: Serving) -> None:
    """Another thread sees the last heartbeat get older, and can still read the metrics."""
    assert server.command("heartbeats")["age_s"] < 1
    during = server.command("stall 1.0")
    assert during["age_s"] >= 0.5
    assert during["metrics"]["max_threads"] == 4
    eventually(lambda: server.command("heartbeats")["count"] > during["count"])
    eventually(lambda: server.command("heartbeats")["age_s"] < 0.2)


def test_an_idle_loop_sends_heartbeats(server: Serving) -> None:
    """An idle loop sends them at the set interval, ten a second here, and not more often."""
    began, before = time.monotonic(), server.command("heartbeats")["count"]
    eventually(lambda: time.monotonic() - began > 1)
    beats = server.command("heartbeats")["count"] - before
    assert 2 <= beats <= (time.monotonic() - began) * 10 + 1


def test_an_idle_server_uses_no_time(server: Serving) -> None:
    """An idle server uses less than 20 ms of CPU time in two seconds."""
    assert ask(server.port).status == 200
    before = server.command("cpu")["cpu_s"]
    began = time.monotonic()
    eventually(lambda: time.monotonic() - began > 2)
    assert server.command("cpu")["cpu_s"] - before < 0.02


# ---- pause and resume


def test_a_paused_server_serves_open_connections_only(server: Serving) -> None:
    """A client that connects during a pause is not refused, and is answered after it."""
    with Wire(server.port) as known:
        assert known.get("/1").answer().text == "/1\n"
        server.command("pause")
        with Wire(server.port, timeout_s=0.3) as late:
            late.get("/late")
            assert known.get("/2").answer().text == "/2\n"
            assert server.command("count")["connections"] == 1
            server.command("resume")
            late.socket.settimeout(20)
            assert late.answer().text == "/late\n"


def test_pause_and_resume_under_load_refuse_no_connection(server: Serving) -> None:
    """Twenty pauses under new connections: every request is answered."""
    with Poller(server.port, rate=100) as first, Poller(server.port, rate=100) as second:
        for _ in range(20):
            seen = len(first.answers)
            server.command("pause")
            server.command("resume")
            eventually(lambda seen=seen: len(first.answers) > seen + 2)
    for poller in (first, second):
        assert (poller.refused, poller.failed) == (0, [])
        assert {answer.status for answer in poller.answers} == {200}


def test_a_drain_is_not_undone_by_resume(server: Serving) -> None:
    """A server that drains accepts no connection after pause and resume either."""
    with Wire(server.port) as held:
        held.get("/hold")
        server.wait_for(held=1)
        server.command("pause")
        server.drain()
        server.command("resume")
        with Wire(server.port) as late:
            late.get()
            assert server.command("count")["connections"] == 1
            server.command("release")
            assert held.answer().status == 200
    assert server.drained() == 0
