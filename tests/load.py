"""Clients for the time of an event: with keep-alive, fresh connections, streams, slow requests."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

from harness import Answer, Poller, ask

FULL = bool(os.environ.get("FULL_TESTS"))  # 100 reloads, 60 s of chaos; CI runs shorter forms


class Wrk:
    """Keep-alive clients of ``port`` by wrk(1); a context manager. Read ``requests`` after it."""

    def __init__(self, port: int, *, clients: int = 8, path: str = "/") -> None:
        url = f"http://127.0.0.1:{port}{path}"
        self._command = ["wrk", "-t1", f"-c{clients}", "-d300s", "--timeout", "30s", url]
        self._report = ""

    def __enter__(self) -> "Wrk":
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._report, _ = self._process.communicate(timeout=60)

    @property
    def requests(self) -> int:
        """How many were answered."""
        found = re.search(r"(\d+) requests in", self._report)
        assert found, self._report
        return int(found[1])

    @property
    def failures(self) -> str:
        """The failures: socket errors, and answers other than 2xx or 3xx; empty for none."""
        return "".join(re.findall(r".*(?:Socket errors|Non-2xx).*\n", self._report))


@contextlib.contextmanager
def pollers(port: int, *, count: int = 8, rate: float = 20) -> Iterator[list[Poller]]:
    """Yield clients that poll ``port`` on fresh connections, each ``rate`` times a second."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Poller(port, rate=rate)) for _ in range(count)]


class Asking:
    """One request in a thread; in the end it has an ``answer`` or an ``error``."""

    def __init__(self, port: int, path: str, **how: Any) -> None:
        self.answer: Answer | None = None
        self.error: Exception | None = None
        self._arguments, self._how = (port, path), {"timeout_s": 90.0, **how}
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.answer = ask(*self._arguments, **self._how)
        except Exception as error:  # cut off or refused: kept for the test
            self.error = error

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(100)
        assert not self._thread.is_alive()

    @property
    def is_over(self) -> bool:
        """Whether it has been answered, or failed."""
        return self.answer is not None or self.error is not None


@contextlib.contextmanager
def streams(port: int, *, count: int, path: str = "/stream") -> Iterator[list[socket.socket]]:
    """Yield open event streams; each has received its first event."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            opened.append(client)
        for client in opened:
            received = b""
            while b"data:" not in received:
                part = client.recv(4096)
                assert part, received
                received += part
        yield opened
