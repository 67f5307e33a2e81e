"""Workers without a main process: they cover the gap to the next one, then exit or are killed."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from children import child, exit_code_of, report, reported
from harness import MARK, REPOSITORY, Answer, ask, eventually

from supervisor.systemd import hand_over
from supervisor.systemd.hand_over import LINGER_S, HandOver, HandOverLimits, KillTimer

# Binds, forks one worker that may outlive it, says both pids, and waits to be killed.
MAIN = """
import os, socket, sys, time
from supervisor.systemd import hand_over
from supervisor.process.channel import Channel
from supervisor.systemd.hand_over import HandOverLimits
from supervisor.process.fork import fork_child
from supervisor.server.server import Server
from supervisor.worker.entry import serve

drain_s, stuck_s, allowed = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "allowed"
listener = socket.create_server(("127.0.0.1", 0))
log = os.dup(2)

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(3.5)
    if path == "/print":
        print("printed while nobody reads: the key is correct-horse")
    if path == "/stop":
        os.kill(os.getpid(), 19)
    if path == "/hold-the-gil":
        import re
        re.match("(a*)*b", "a" * 60)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

def run(connection):
    if allowed:
        limits = HandOverLimits(
            drain_s=drain_s, stuck_s=stuck_s, log_fd=log,
            name="coach", as_json=True, secrets=["correct-horse"],
        )
        hand_over.allow(limits)
        import atexit
        atexit.register(print, "WARNING: the last words")
    server = Server()
    server.add(listener, app)
    serve(server, Channel(connection), shutdown_timeout_s=1)
    return 0

forked = fork_child(run, name="fs-test", keep=[listener.fileno(), log])
forked.channel.setblocking(True)
assert b"ready" in forked.channel.recv(4096)
print(forked.pid, listener.getsockname()[1], flush=True)
time.sleep(600)
"""


class Main:
    """A main process with one worker."""

    def __init__(self, folder: Path, *, drain_s: float, stuck_s: float, allowed: str) -> None:
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", MAIN, str(drain_s), str(stuck_s), allowed],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY), MARK: str(folder)},
            )
        assert self.process.stdout is not None
        worker, port = self.process.stdout.readline().split()
        self.worker, self.port = int(worker), int(port)

    def kill(self) -> float:
        """End the main process as a crash does, and return the time."""
        self.process.kill()
        self.process.wait()
        return time.monotonic()

    @property
    def worker_lives(self) -> bool:
        """Whether the worker runs, zombies aside."""
        try:
            return ") Z " not in Path(f"/proc/{self.worker}/stat").read_text()
        except OSError:
            return False

    def worker_ended(self, since: float, *, within_s: float) -> float:
        """Wait for the worker's end; return how long it took."""
        eventually(lambda: not self.worker_lives, timeout_s=within_s, what="the worker has ended")
        return time.monotonic() - since

    def close(self) -> None:
        """End everything."""
        self.process.kill()
        self.process.communicate()
        if self.worker_lives:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.worker, signal.SIGKILL)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[type[Main]]:
    """Yield a function that starts a main process; its processes are killed at the end."""
    started: list[Main] = []

    def make(*, drain_s: float = 1.0, stuck_s: float = 1.0, allowed: str = "allowed") -> Main:
        started.append(Main(tmp_path, drain_s=drain_s, stuck_s=stuck_s, allowed=allowed))
        return started[-1]

    yield make  # type: ignore[misc]
    for main in started:
        main.close()


def test_a_worker_covers_and_then_ends(start: type[Main]) -> None:
    """It accepts connections for two seconds more, and exits soon after that."""
    main = start()
    assert ask(main.port).status == 200
    killed = main.kill()
    while time.monotonic() < killed + LINGER_S - 0.5:
        assert ask(main.port).status == 200
    took = main.worker_ended(killed, within_s=10)
    assert took > LINGER_S - 0.2


def test_a_request_in_flight_is_finished(start: type[Main]) -> None:
    """A request that began before the end of the main process gets its answer after the cover."""
    main = start(drain_s=10.0)
    with contextlib.ExitStack() as stack:
        import threading

        answers: list[Answer] = []
        asking = threading.Thread(target=lambda: answers.append(ask(main.port, "/slow")))
        asking.start()
        stack.callback(asking.join)
        eventually(lambda: in_flight(main.port))
        main.kill()
    assert [answer.status for answer in answers] == [200]


def in_flight(port: int) -> bool:
    """Return whether a connection to ``port`` is established, as /proc/net/tcp has it."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(
        line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "01" for line in lines
    )


def test_prints_do_no_harm_and_reach_the_log(start: type[Main]) -> None:
    """What an app prints after the end of its main process goes to that process's log.

    Without secrets, with its level, to the last line.
    """
    main = start()
    killed = main.kill()
    assert ask(main.port, "/print").status == 200
    main.worker_ended(killed, within_s=10)
    lines = [json.loads(line) for line in main.log.read_text().splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("printed while nobody reads: the key is (hidden)", "info"),
        ("WARNING: the last words", "warning"),
    ]
    assert {(line["app"], line["pid"], line["output"]) for line in lines} == {
        ("coach", main.worker, True)
    }


def test_in_the_foreground_it_dies_with_its_main(start: type[Main]) -> None:
    """A worker that may not linger dies at once, and its port with it."""
    main = start(allowed="no")
    killed = main.kill()
    assert main.worker_ended(killed, within_s=5) < LINGER_S
    with pytest.raises(OSError):
        ask(main.port)


@pytest.mark.parametrize("path", ["/stop", "/hold-the-gil"])
def test_a_stuck_one_is_killed_by_the_kernel(start: type[Main], path: str) -> None:
    """Stopped, or busy outside of Python code: the timer kills a worker that can't exit."""
    main = start(drain_s=0.5, stuck_s=0.5)
    grace_s = HandOverLimits(drain_s=0.5, stuck_s=0.5, log_fd=2).grace_s
    with contextlib.suppress(OSError):
        ask(main.port, path, timeout_s=0.5)
    killed = main.kill()
    assert main.worker_ended(killed, within_s=grace_s + 10) < grace_s + 5


def test_a_stuck_one_has_time_while_there_is_a_main(start: type[Main]) -> None:
    """As long as the main process lives, the heartbeats postpone the kill."""
    main = start(drain_s=0.5, stuck_s=1.0)
    fed_until = time.monotonic() + HandOverLimits(drain_s=0.5, stuck_s=1.0, log_fd=2).grace_s + 2.0
    while time.monotonic() < fed_until:
        assert ask(main.port).status == 200
        time.sleep(0.2)
    assert main.worker_lives


# ---- the timer itself


def test_the_timer_kills_a_process_that_does_not_set_it(tmp_path: Path) -> None:
    """It sends SIGKILL at its time; setting it again postpones that."""

    def run(connection: socket.socket) -> int:
        timer = KillTimer()
        timer.set(0.3)
        timer.set(0.8)
        report(connection, time.monotonic())
        time.sleep(600)
        return 0

    with child(run) as forked:
        began = reported(forked)
        assert exit_code_of(forked) == -signal.SIGKILL
        assert time.monotonic() - began >= 0.8 - 0.05


def test_a_worker_that_may_not_linger_makes_no_promise() -> None:
    """Without limits there is no hand-over, and the worker dies with its main process."""

    def run(connection: socket.socket) -> int:
        report(connection, hand_over.begin() is None)
        return 0

    with child(run) as forked:
        assert reported(forked) is True


def test_the_grace_begins_once(tmp_path: Path) -> None:
    """The first notice of the end starts the grace time; later ones change nothing."""

    def run(connection: socket.socket) -> int:
        drains: list[tuple[float, float]] = []
        heir = HandOver(HandOverLimits(drain_s=0.5, stuck_s=60.0, log_fd=2))
        firsts = [heir.start_grace(), heir.start_grace()]
        for _ in range(2):
            heir.on_main_process_gone(lambda timeout_s, idle_s: drains.append((timeout_s, idle_s)))
        heir.feed_timer()
        eventually(lambda: drains)
        report(connection, [firsts, drains])
        time.sleep(600)  # the timer of the grace goes on all the same
        return 0

    with child(run) as forked:
        assert reported(forked) == [[True, False], [[0.5, hand_over.IDLE_S]]]
        assert exit_code_of(forked) == -signal.SIGKILL
