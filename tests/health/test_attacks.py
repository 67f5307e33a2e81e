"""Port 6000 under attack: it still says whether the main process lives, and no app notices."""

import contextlib
import time
from collections.abc import Callable, Iterator

import pytest
from harness import Poller, Project, ask
from load import Wrk
from server_process import wires
from wire import Wire

__all__ = ["wires"]

MANY = 500
ALIVE_S = 5.0  # a quarter of a second where nothing else runs; this is for a busy machine
POST = "POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"


def silent(port: int, wires: contextlib.ExitStack) -> None:
    """Connect, and send nothing."""
    for _ in range(MANY):
        wires.enter_context(Wire(port))


def trickling(port: int, wires: contextlib.ExitStack) -> None:
    """Send a header without its end."""
    for _ in range(MANY):
        wires.enter_context(Wire(port)).send("GET /livez HTTP/1.1\r\nX: ")


def slow_bodies(port: int, wires: contextlib.ExitStack) -> None:
    """Announce a body, and send a byte of it."""
    for _ in range(MANY):
        wires.enter_context(Wire(port)).send(POST + "x")


def unread(port: int, wires: contextlib.ExitStack) -> None:
    """Ask for much, and read nothing of it."""
    for _ in range(MANY):
        wires.enter_context(Wire(port)).send("GET /health HTTP/1.1\r\nHost: a\r\n\r\n" * 2)


def huge_headers(port: int, wires: contextlib.ExitStack) -> None:
    """Send headers of 64 KB."""
    for _ in range(MANY // 5):
        with contextlib.suppress(OSError):  # it may have closed it
            wires.enter_context(Wire(port)).send("GET / HTTP/1.1\r\nX: " + "x" * 65536)


def garbage(port: int, wires: contextlib.ExitStack) -> None:
    """Send what is no HTTP."""
    for number in range(MANY):
        with contextlib.suppress(OSError):
            wires.enter_context(Wire(port)).send(bytes(range(256)) * 8 + b"\r\n\r\n" * (number % 2))


@contextlib.contextmanager
def flood(port: int) -> Iterator[None]:
    """Send 20,000 requests that cost the most."""
    with Wrk(port, clients=64, path="/metrics"), Wrk(port, clients=64, path="/health"):
        yield


ATTACKS: list[Callable[[int, contextlib.ExitStack], None]] = [
    silent,
    trickling,
    slow_bodies,
    unread,
    huge_headers,
    garbage,
]


def worst_s(port: int, count: int) -> float:
    """Return how long the slowest of some requests for /livez took."""
    answers = [ask(port, "/livez") for _ in range(count)]
    assert {answer.status for answer in answers} == {200}
    return max(answer.seconds for answer in answers)


@pytest.mark.debian("wrk")
def test_livez_under_attack(project: Project, wires: contextlib.ExitStack) -> None:
    """Silent, trickling, slow, huge, broken and very many requests: /livez within a second."""
    port = project.app("coach")
    project.start().worker("coach")
    with Poller(port, rate=20) as asking:
        for attack in ATTACKS:
            with contextlib.ExitStack() as mine:
                attack(project.status_port, mine)
                slowest_s = worst_s(project.status_port, 10)
                print(f"{attack.__name__}: {slowest_s:.2f} s")
                assert slowest_s < ALIVE_S, attack.__name__
        with flood(project.status_port):
            until = time.monotonic() + 5
            while time.monotonic() < until:
                slowest_s = worst_s(project.status_port, 5)
                assert slowest_s < ALIVE_S
            print(f"flood: {slowest_s:.2f} s")
    assert {answer.status for answer in asking.answers} == {200}
    assert (asking.refused, asking.failed) == (0, [])
