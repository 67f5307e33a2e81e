"""The server of a worker: a drain loses no request, and no client can block the port."""

import contextlib
import hashlib
import os
import resource
import signal
import time

import pytest
from harness import Project, ask, eventually
from peer import plain_waitress
from server_process import Serving, serving
from wire import Wire

from supervisor.server.server import CONNECTIONS_MAX

UPLOAD = bytes(range(256)) * 1024  # 256 KiB
DIGEST = f"{len(UPLOAD)} {hashlib.sha256(UPLOAD).hexdigest()}\n"
UPLOAD_HEAD = f"POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: {len(UPLOAD)}\r\n"

SLOW_APP = """
import hashlib, os, pathlib, time
from flask import Flask, request
app = Flask(__name__)

@app.get("/")
def index():
    return f"{os.getpid()}\\n"

@app.get("/slow")
def slow():
    pathlib.Path("begun").touch()
    time.sleep(0.7)
    return "done\\n"

@app.post("/upload")
def upload():
    data = request.get_data()
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}\\n"

@app.get("/endless")
def endless():
    def ticks():
        while True:
            yield b"tick\\n"
            time.sleep(0.02)
    return ticks(), {"Content-Type": "text/event-stream"}
"""


# ---- the drain


def test_a_request_in_flight_is_answered_and_its_connection_closed(server: Serving) -> None:
    """A drain waits for the request in flight; its answer says ``Connection: close``."""
    with Wire(server.port) as wire:
        wire.get("/hold")
        server.wait_for(held=1)
        server.drain()
        server.command("release")
        answer = wire.answer()
        assert (answer.status, answer.text) == (200, "/hold\n")
        assert answer.headers["connection"] == "close"
        assert wire.rest() == b""
    assert server.drained() == 0


def test_requests_waiting_for_a_thread_are_answered_too() -> None:
    """A drain serves requests that were received while every thread was busy."""
    with serving(threads=1) as server, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(server.port)).get("/hold") for _ in range(5)]
        server.wait_for(held=1, connections=5)
        server.drain()
        server.command("release")
        answers = [wire.answer() for wire in wires]
        assert [answer.status for answer in answers] == [200] * 5
        assert {answer.headers["connection"] for answer in answers} == {"close"}
        assert server.drained() == 0


def test_a_connection_that_has_sent_nothing_yet_gets_its_first_answer(server: Serving) -> None:
    """A client that was accepted before the drain and sends its request during it is answered."""
    with Wire(server.port) as wire:
        server.wait_for(connections=1)
        server.drain()
        answer = wire.get("/late").answer()
        assert (answer.status, answer.text) == (200, "/late\n")
        assert answer.headers["connection"] == "close"
        assert wire.rest() == b""
    assert server.drained() == 0


def test_a_keep_alive_client_gets_one_more_answer(server: Serving) -> None:
    """The next answer on an idle connection says ``Connection: close`` during a drain."""
    with Wire(server.port) as wire:
        assert "connection" not in wire.get("/first").answer().headers
        server.drain()
        assert wire.get("/second").answer().headers["connection"] == "close"
        assert wire.rest() == b""
    assert server.drained() == 0


def test_idle_connections_are_closed_after_a_while(server: Serving) -> None:
    """A drain closes silent connections, used before or not, after its idle time."""
    with Wire(server.port) as fresh, Wire(server.port) as used:
        used.get().answer()
        server.wait_for(connections=2)
        began = time.monotonic()
        server.drain(idle_s=0.3)
        assert fresh.rest() == b""
        assert used.rest() == b""
        assert time.monotonic() - began >= 0.25
    assert server.drained() == 0


def test_a_request_that_came_while_the_loop_was_late_is_answered(server: Serving) -> None:
    """On a busy machine, the loop may find that an idle time is over before it has read."""
    with Wire(server.port) as wire:
        wire.get("/first").answer()
        server.drain(timeout_s=100, idle_s=20)
        server.command("fall_behind 30")
        answer = wire.get("/second").answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")


def test_an_upload_in_progress_is_answered(server: Serving) -> None:
    """A connection with half a request is not idle: the drain waits for the rest."""
    with Wire(server.port) as wire, Wire(server.port) as idle:
        wire.send(UPLOAD_HEAD + "\r\n").send(UPLOAD[:100_000])
        server.wait_for(connections=2)
        server.drain(idle_s=0.1)
        assert idle.rest() == b""  # the time of idle connections is over
        answer = wire.send(UPLOAD[100_000:]).answer()
        assert (answer.status, answer.text) == (200, DIGEST)
        assert answer.headers["connection"] == "close"
    assert server.drained() == 0


def test_an_upload_after_100_continue_is_answered(server: Serving) -> None:
    """A client that received 100 Continue can send its body during a drain."""
    with Wire(server.port) as wire, Wire(server.port) as idle:
        wire.send(UPLOAD_HEAD + "Expect: 100-continue\r\n\r\n")
        assert wire.answer().status == 100
        server.wait_for(connections=2)
        server.drain(idle_s=0.1)
        assert idle.rest() == b""
        assert wire.send(UPLOAD).answer().text == DIGEST
    assert server.drained() == 0


def test_pipelined_requests_are_all_answered(server: Serving) -> None:
    """Of several requests that arrived together only the last answer closes the connection."""
    with Wire(server.port) as wire:
        request = "GET {} HTTP/1.1\r\nHost: test\r\n\r\n"
        wire.send("".join(request.format(path) for path in ("/hold", "/2", "/3")))
        server.wait_for(held=1)
        server.drain()
        server.command("release")
        answers = [wire.answer() for _ in range(3)]
        assert [answer.text for answer in answers] == ["/hold\n", "/2\n", "/3\n"]
        assert [a.headers.get("connection") for a in answers] == [None, None, "close"]
        assert wire.rest() == b""
    assert server.drained() == 0


def test_an_http_1_0_connection_is_closed_too(server: Serving) -> None:
    """A drain ends a keep-alive connection of HTTP/1.0 too."""
    with Wire(server.port) as wire:
        ask_again = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        assert wire.send(ask_again).answer().headers["connection"] == "Keep-Alive"
        server.drain()
        assert wire.send(ask_again).answer().headers["connection"] == "close"
        assert wire.rest() == b""
    assert server.drained() == 0


def test_an_endless_answer_is_cut_at_the_limit(server: Serving) -> None:
    """The drain ends in time, reports what it cut off, and doesn't terminate the chunked body."""
    with Wire(server.port) as wire:
        wire.get("/endless")
        assert wire.socket.recv(1)
        began = time.monotonic()
        server.drain(timeout_s=0.5)
        assert server.drained() == 1
        assert time.monotonic() - began >= 0.5
        assert not wire.rest_or_nothing().endswith(b"0\r\n\r\n")


def test_no_connection_is_accepted_during_a_drain(server: Serving) -> None:
    """A new connection waits in the kernel's queue, for the next generation to accept."""
    with Wire(server.port) as held:
        held.get("/hold")
        server.wait_for(held=1)
        server.drain()
        with Wire(server.port, timeout_s=0.3) as late:
            late.get()
            with pytest.raises(TimeoutError):
                late.answer()
            assert server.command("count")["connections"] == 1
            server.command("release")
            assert held.answer().status == 200
    assert server.drained() == 0


# ---- a whole supervisor


def test_a_stop_finishes_requests_in_flight(project: Project) -> None:
    """SIGTERM lets a slow request and an upload finish, and the supervisor exits with 0."""
    port = project.app("slow", SLOW_APP)
    project.supervisor["shutdown_timeout_s"] = 15
    running = project.start()
    running.worker("slow")
    with Wire(port) as asking, Wire(port) as sending:
        asking.get("/slow")
        sending.send(UPLOAD_HEAD + "\r\n").send(UPLOAD[:100_000])
        eventually(project.file("slow", "begun").exists)
        running.process.send_signal(signal.SIGTERM)
        assert asking.answer().text == "done\n"
        answer = sending.send(UPLOAD[100_000:]).answer()
        assert answer.text == DIGEST
        assert answer.headers["connection"] == "close"
    assert running.process.wait(10) == 0


def test_an_endless_answer_does_not_keep_the_supervisor(project: Project) -> None:
    """With an event stream open a stop takes shutdown_timeout_s and at most a second more."""
    port = project.app("slow", SLOW_APP)
    project.supervisor["shutdown_timeout_s"] = 1
    running = project.start()
    running.worker("slow")
    with Wire(port) as wire:
        wire.get("/endless")
        assert wire.socket.recv(1)
        began = time.monotonic()
        assert running.stop() == 0
        took = time.monotonic() - began
        assert not wire.rest_or_nothing().endswith(b"0\r\n\r\n")
    assert 1 <= took < 2.5  # the aim is 2; the rest is for a busy machine
    eventually(lambda: not project.processes(), timeout_s=1)


def test_sigterm_to_a_worker_drops_no_request(project: Project) -> None:
    """SIGTERM to a worker drains it, and the next generation serves at once."""
    port = project.app("slow", SLOW_APP)
    running = project.start()
    worker = running.worker("slow")
    with Wire(port) as wire:
        wire.get("/slow")
        eventually(project.file("slow", "begun").exists)
        os.kill(worker, signal.SIGTERM)
        assert wire.answer().text == "done\n"
    assert int(ask(port).text) != worker
    running.wait_for("slow", state="ready", restarts=1)


def test_an_app_on_a_unix_socket_is_drained_too(project: Project) -> None:
    """A drain of an app on a Unix socket loses no request either."""
    project.app("slow", SLOW_APP, host="unix:slow.sock")
    running = project.start()
    running.worker("slow")
    with Wire(path=str(project.folder / "slow.sock")) as wire:
        assert wire.get().answer().status == 200
        wire.get("/slow")
        eventually(project.file("slow", "begun").exists)
        running.process.send_signal(signal.SIGTERM)
        answer = wire.answer()
        assert (answer.text, answer.headers["connection"]) == ("done\n", "close")
    assert running.process.wait(10) == 0
    assert not (project.folder / "slow.sock").exists()


@pytest.mark.ipv6
def test_an_app_on_ipv6_is_served(project: Project) -> None:
    """An app that listens on an IPv6 address answers there."""
    port = project.app("slow", SLOW_APP, host="::1")
    running = project.start()
    running.worker("slow")
    assert ask(port, host="::1").status == 200


# ---- clients that could block a port


def test_silent_connections_do_not_block_the_port(
    server: Serving, wires: contextlib.ExitStack
) -> None:
    """Above the limit the longest idle connection is closed, and the newest client is served."""
    silent = [wires.enter_context(Wire(server.port)) for _ in range(CONNECTIONS_MAX + 50)]
    assert ask(server.port, "/new").text == "/new\n"
    eventually(lambda: server.command("count")["connections"] <= CONNECTIONS_MAX)
    assert silent[0].rest() == b""
    assert silent[-1].get("/last").answer().text == "/last\n"


def test_busy_connections_are_not_closed(server: Serving, wires: contextlib.ExitStack) -> None:
    """The limit never closes a connection whose request is being answered, however old it is."""
    with Wire(server.port) as busy:
        busy.get("/hold")
        server.wait_for(held=1)
        for _ in range(CONNECTIONS_MAX + 50):
            wires.enter_context(Wire(server.port))
        assert ask(server.port).status == 200
        server.command("release")
        assert busy.answer().text == "/hold\n"


def test_slow_senders_do_not_hurt_others(server: Serving, wires: contextlib.ExitStack) -> None:
    """Clients that send their requests byte by byte take no thread and no place from others."""
    slow = [wires.enter_context(Wire(server.port)) for _ in range(100)]
    request = "GET /slow HTTP/1.1\r\nHost: test\r\n\r\n"
    for letter in request[:-1]:
        for wire in slow:
            wire.send(letter)
        assert ask(server.port, "/fast").text == "/fast\n"
    for wire in slow:
        wire.send(request[-1])
    assert {wire.answer().text for wire in slow} == {"/slow\n"}


def test_hundreds_of_keep_alive_clients_are_served(
    server: Serving, wires: contextlib.ExitStack
) -> None:
    """Three hundred and more connections stay open from request to request."""
    clients = [wires.enter_context(Wire(server.port)) for _ in range(350)]
    for turn in range(3):
        for client in clients:
            client.get(f"/{turn}")
        assert {client.answer().text for client in clients} == {f"/{turn}\n"}
    assert server.command("count")["connections"] == 350


@pytest.mark.parametrize("seconds", [86_400, -86_400])
def test_steps_of_the_wall_clock_close_no_connection(server: Serving, seconds: int) -> None:
    """An idle connection and an upload survive a step of the wall clock in both directions."""
    with Wire(server.port) as idle, Wire(server.port) as sending:
        idle.get().answer()
        sending.send(UPLOAD_HEAD + "\r\n").send(UPLOAD[:1000])
        server.wait_for(connections=2)
        server.command(f"step {seconds}")
        for _ in range(3):  # each makes the loop check its connections
            assert ask(server.port).status == 200
        assert idle.get("/after").answer().text == "/after\n"
        assert sending.send(UPLOAD[1000:]).answer().text == DIGEST


def test_a_connection_that_is_silent_for_long_is_closed(server: Serving) -> None:
    """After two minutes an idle connection is closed, but not one that waits for its answer."""
    with Wire(server.port) as idle, Wire(server.port) as busy:
        idle.get().answer()
        busy.get("/hold")
        server.wait_for(held=1)
        server.command("wait 100")
        assert ask(server.port).status == 200
        idle.get().answer()
        server.command("wait 100")
        assert ask(server.port).status == 200
        idle.get().answer()
        for _ in range(2):  # once may be too soon after the answer: its thread isn't done yet
            server.command("wait 200")
            assert ask(server.port).status == 200
        assert idle.rest() == b""
        server.command("release")
        assert busy.answer().text == "/hold\n"


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 3000, reason="needs 3000 open files"
)
def test_an_app_may_have_a_thousand_files_open() -> None:
    """Connections whose descriptor is above 1024, the limit of select(), are served."""
    with serving(files=1500) as server:
        assert ask(server.port, "/high").text == "/high\n"


def test_clients_that_vanish_do_no_harm(server: Serving) -> None:
    """Connections that are reset before, during and after a request leave nothing behind."""
    for begin in ("", "GET /", "GET /x HTTP/1.1\r\n\r\n", UPLOAD_HEAD + "\r\n12345"):
        for _ in range(20):
            Wire(server.port).send(begin).reset()
    streaming = Wire(server.port).get("/endless")
    assert streaming.socket.recv(1)
    streaming.reset()
    assert ask(server.port, "/next").text == "/next\n"
    server.wait_for(connections=0)


# ---- what an app and its clients see


def test_an_exception_is_answered_with_500(server: Serving) -> None:
    """An app that raises is answered with 500, without a traceback, and serves the next request."""
    answer = ask(server.port, "/broken")
    assert answer.status == 500
    assert "Traceback" not in answer.text
    assert "broken on purpose" not in answer.text
    assert ask(server.port).status == 200


def test_an_app_sees_what_plain_waitress_shows_it(server: Serving) -> None:
    """The WSGI environ has the same keys and values as under waitress alone."""
    mine = ask(server.port, "/environ", headers={"Host": "test"}).json
    with plain_waitress("serving_child:app") as port:
        theirs = ask(port, "/environ", headers={"Host": "test"}).json
    differs = {"SERVER_PORT", "REMOTE_PORT"}
    objects = {"wsgi.errors", "wsgi.input", "waitress.client_disconnected"}
    assert mine.keys() == theirs.keys()
    assert {key for key in mine if mine[key] != theirs[key]} <= differs | objects
    assert mine["SERVER_PORT"] == str(server.port)
