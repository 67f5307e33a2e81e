"""Polls a port on fresh connections, without waiting for the answers.

The time of an answer counts from when its request was due, so that a port that blocks one
client is not polled less often.
"""

import errno
import http.client
import selectors
import socket
import threading
import time
from dataclasses import dataclass
from typing import Literal

from benchmarks.fleet import PID_PATH

TIMEOUT_S = 5.0  # of a client
_HOST = "127.0.0.1"
_POLL_S = 0.002

Outcome = Literal["ok", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Poll:
    """One request: when it was due, how long until its outcome, and what came back."""

    due_s: float
    seconds: float
    outcome: Outcome
    detail: str  # the body of an answer, or what failed


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What clients noticed. ``down_ms`` is the time from the first request without an answer to the
    first answer after the last such request, None if there was none; ``worst_ms`` is the
    slowest answer.
    """

    asked: int
    refused: int
    failed: int
    worst_ms: float
    down_ms: float | None


def disturbance(polls: list[Poll]) -> Disturbance:
    """Return the disturbance that these polls show."""
    ordered = sorted(polls, key=lambda poll: poll.due_s)
    bad = [poll.due_s for poll in ordered if poll.outcome != "ok"]
    good = [poll for poll in ordered if poll.outcome == "ok"]
    down_ms: float | None = 0.0
    if bad:
        back = next((poll.due_s for poll in good if poll.due_s > bad[-1]), None)
        down_ms = None if back is None else (back - bad[0]) * 1000
    return Disturbance(
        asked=len(polls),
        refused=sum(1 for poll in polls if poll.outcome == "refused"),
        failed=sum(1 for poll in polls if poll.outcome == "failed"),
        worst_ms=max((poll.seconds for poll in good), default=0.0) * 1000,
        down_ms=down_ms,
    )


class Poller:
    """Polls ``port`` for its process id ``rate`` times a second, for at most ``limit_s`` seconds.

    A context manager: a thread of its own polls inside the block.
    """

    def __init__(self, port: int, *, rate: float = 200, limit_s: float) -> None:
        self._port, self._interval_s, self._limit_s = port, 1 / rate, limit_s
        self._polls: list[Poll] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Poller":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(TIMEOUT_S + 5)

    def polls(self) -> list[Poll]:
        """Return the polls with an outcome so far."""
        return list(self._polls)

    def good_since(self, moment_s: float) -> int:
        """Return the number of good answers at the end of the polls due after ``moment_s``."""
        count = 0
        for poll in sorted(self.polls(), key=lambda poll: -poll.due_s):
            if poll.outcome != "ok" or poll.due_s < moment_s:
                break
            count += 1
        return count

    def _run(self) -> None:
        selector = selectors.EpollSelector()
        started = due = time.monotonic()
        while True:
            now = time.monotonic()
            more = not self._stop.is_set() and now < started + self._limit_s
            while more and due <= now:
                self._ask(selector, due)
                due += self._interval_s
            if not more and not selector.get_map():
                break
            for key, events in selector.select(max(0.0, due - now) if more else 0.05):
                self._go_on(selector, key, events)
            self._give_up(selector, time.monotonic())
        selector.close()

    def _ask(self, selector: selectors.BaseSelector, due: float) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        error = connection.connect_ex((_HOST, self._port))
        if error in (0, errno.EINPROGRESS):
            request = _Request(due)
            selector.register(connection, selectors.EVENT_WRITE, request)
        else:
            connection.close()
            self._note(due, *_outcome_of(error))

    def _go_on(
        self, selector: selectors.BaseSelector, key: selectors.SelectorKey, events: int
    ) -> None:
        connection, request = key.fileobj, key.data
        assert isinstance(connection, socket.socket)
        try:
            if events & selectors.EVENT_WRITE:
                connection.send(_REQUEST)  # raises the error of the connection, if it failed
                selector.modify(connection, selectors.EVENT_READ, request)
                return
            part = connection.recv(65536)
            request.received += part
            if part:
                return
            outcome = _read(bytes(request.received))
        except OSError as error:
            outcome = _outcome_of(error.errno or 0)
        selector.unregister(connection)
        connection.close()
        self._note(request.due_s, *outcome)

    def _give_up(self, selector: selectors.BaseSelector, now: float) -> None:
        for key in list(selector.get_map().values()):
            if now > key.data.due_s + TIMEOUT_S:
                assert isinstance(key.fileobj, socket.socket)
                selector.unregister(key.fileobj)
                key.fileobj.close()
                self._note(key.data.due_s, "failed", "timed out")

    def _note(self, due: float, outcome: Outcome, detail: str) -> None:
        self._polls.append(Poll(due, time.monotonic() - due, outcome, detail))


_REQUEST = f"GET {PID_PATH} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()


class _Request:
    __slots__ = ("due_s", "received")

    def __init__(self, due_s: float) -> None:
        self.due_s = due_s
        self.received = bytearray()


def _outcome_of(error: int) -> tuple[Outcome, str]:
    if error == errno.ECONNREFUSED:
        return "refused", "connection refused"
    return "failed", errno.errorcode.get(error, str(error))


def _read(answer: bytes) -> tuple[Outcome, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 2:
        return "failed", "no answer"
    if words[1] != b"200":
        return "failed", f"status {words[1].decode('latin-1')}"
    return "ok", body.decode("latin-1")


def ask(port: int, path: str, *, timeout_s: float = TIMEOUT_S) -> tuple[int, dict[str, str], bytes]:
    """Make one request on a fresh connection; return status, headers and body, or raise OSError."""
    connection = http.client.HTTPConnection(_HOST, port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"no proper answer: {error!r}") from error
    finally:
        connection.close()
    return response.status, {k.lower(): v for k, v in response.getheaders()}, body


def wait_until_all_answer(pages: list[tuple[int, str]], *, timeout_s: float) -> float:
    """Wait until each (port, path) has answered 200; return the monotonic time of the last.

    Raises TimeoutError with the ports that did not.
    """
    deadline = time.monotonic() + timeout_s
    left = list(pages)
    while left:
        port, path = left[0]
        try:
            if ask(port, path)[0] == 200:
                left.pop(0)
                continue
        except OSError:
            pass
        if time.monotonic() > deadline:
            ports = ", ".join(str(port) for port, _ in left)
            raise TimeoutError(f"no answer within {timeout_s:g} s on port {ports}")
        time.sleep(_POLL_S)
    return time.monotonic()
