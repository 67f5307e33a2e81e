"""A process with one `Server`, for tests: reads commands from standard input, prints JSON lines.

Its argument is a JSON object with `app` (a module with one, None for the app here), `threads`,
`max_threads`, `files` (descriptors that the app has open) and `options` of waitress. `Commands` has
a method for each command.
"""

import contextlib
import hashlib
import importlib
import json
import os
import resource
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from supervisor.ports.listeners import Address, bind
from supervisor.server.server import Listener, Server

HEARTBEAT_S = 0.1
_OPEN_FILES = 1024  # the usual limit of systemd and of most shells
OPTIONS = (
    ("keepalive", (socket.SOL_SOCKET, socket.SO_KEEPALIVE)),
    ("idle_s", (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)),
    ("interval_s", (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)),
    ("count", (socket.IPPROTO_TCP, socket.TCP_KEEPCNT)),
    ("user_timeout_ms", (socket.IPPROTO_TCP, 18)),  # TCP_USER_TIMEOUT
)
_released = threading.Event()
_held: list[int] = []
_eaten: list[int] = []


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Serve the paths that the tests ask for."""
    path = environ["PATH_INFO"]
    if path == "/broken":
        raise RuntimeError("broken on purpose")
    if path == "/endless":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return _endless()
    if path == "/frames":
        start_response("200 OK", [("Content-Type", "multipart/x-mixed-replace; boundary=frame")])
        return _frames()
    if path == "/hold":
        _held.append(1)
        _released.wait(30)
        _held.pop()
    if path == "/eat":
        _eat_files()
    if path == "/free":
        while _eaten:
            os.close(_eaten.pop())
    if path.startswith("/sleep/"):
        time.sleep(float(path.removeprefix("/sleep/")))
    body = f"{path}\n".encode()
    if path.startswith("/size/"):
        body = b"x" * int(path.removeprefix("/size/"))
    if path == "/upload":
        received = environ["wsgi.input"].read()
        body = f"{len(received)} {hashlib.sha256(received).hexdigest()}\n".encode()
    if path == "/options":
        connection = environ["waitress.client_disconnected"].__self__.socket
        body = json.dumps({name: connection.getsockopt(*key) for name, key in OPTIONS}).encode()
    if path == "/environ":
        body = json.dumps({key: str(value) for key, value in environ.items()}).encode()
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    status = path.removeprefix("/status/") if path.startswith("/status/") else "200"
    start_response(f"{status} Some Reason", headers)
    if path == "/half":
        return _half()
    return [body]


def _eat_files() -> None:
    with contextlib.suppress(OSError):
        while True:
            _eaten.append(os.open(os.devnull, os.O_RDONLY))


def _endless() -> Iterator[bytes]:
    while True:
        yield b"tick\n"
        time.sleep(0.02)


def _frames() -> Iterator[bytes]:
    """Yield 20 frames of 50 KB a second, each with the time at which it was taken."""
    while True:
        yield b"@%.3f;" % time.monotonic() + b"x" * 50_000
        time.sleep(0.05)


def _half() -> Iterator[bytes]:
    yield b"/h"
    raise RuntimeError("broken half way")


class _Clock:
    """A clock that can be set forward."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.offset_s = 0.0

    def __call__(self) -> float:
        return self._clock() + self.offset_s


def _print(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


class Commands:
    """Run in the server's loop; each prints one answer if it doesn't say otherwise."""

    def __init__(self, server: Server, listener: Listener) -> None:
        self._server = server
        self._listener = listener
        self._clocks = {"step": _Clock(time.time), "wait": _Clock(time.monotonic)}
        time.time, time.monotonic = self._clocks["step"], self._clocks["wait"]
        self._heartbeats: list[float] = []
        server.every(HEARTBEAT_S, self._heartbeats.append)

    def read(self) -> None:
        """Run the commands that have arrived; exit at the end of file."""
        lines = os.read(0, 4096).decode().splitlines()
        if not lines:
            os._exit(1)
        for line in lines:
            name, *arguments = line.split()
            getattr(self, name)(*arguments)

    def drain(self, timeout_s: str, idle_s: str, cut: str = "") -> None:
        """Begin a drain; ``cut``: of streams too."""
        limits = {"timeout_s": float(timeout_s), "idle_s": float(idle_s)}
        self._server.drain(**limits, cut_streams=bool(cut))
        _print(draining=True)

    def release(self) -> None:
        """Let the requests of ``/hold`` end; prints nothing."""
        _released.set()

    def fall_behind(self, seconds: str) -> None:
        """Keep the loop until a client has sent something, and let time go by."""
        _print(done=True)
        select.select([channel.socket for channel in self._listener.channels()], [], [])
        self._clocks["wait"].offset_s += float(seconds)

    def count(self) -> None:
        """Print the number of connections and of held requests."""
        _print(connections=len(self._listener.active_channels), held=len(_held))

    def metrics(self) -> None:
        """Print the metrics by app."""
        found = self._server.metrics(time.monotonic())
        _print(**{name: metrics.to_json() for name, metrics in found.items()})

    def pause(self) -> None:
        """Pause the server."""
        self._server.pause()
        _print(done=True)

    def resume(self) -> None:
        """Resume the server."""
        self._server.resume()
        _print(done=True)

    def heartbeats(self) -> None:
        """Print the number of heartbeats of the loop, the age of the last, and metrics."""
        metrics = self._server.metrics(time.monotonic())["app"].to_json()
        age_s = time.monotonic() - self._heartbeats[-1]
        _print(count=len(self._heartbeats), age_s=age_s, metrics=metrics)

    def cpu(self) -> None:
        """Print the seconds of CPU time used."""
        _print(cpu_s=time.process_time())

    def threads(self, state: str) -> None:
        """Let no thread be started (``off``), or let them be (``on``)."""
        threading.stack_size(1 << 62 if state == "off" else 0)
        _print(done=True)

    def stall(self, seconds: str) -> None:
        """Block the loop, and print what `heartbeats` does from another thread meanwhile."""

        def watch() -> None:
            time.sleep(float(seconds) * 0.6)
            self.heartbeats()

        threading.Thread(target=watch).start()
        time.sleep(float(seconds))

    def step(self, seconds: str) -> None:
        """Set the wall clock forward."""
        self._clocks["step"].offset_s += float(seconds)
        _print(done=True)

    def wait(self, seconds: str) -> None:
        """Let time go by at once: set the monotonic clock forward."""
        self._clocks["wait"].offset_s += float(seconds)
        _print(done=True)


def main() -> None:
    """Serve until a drain is over."""
    given = json.loads(sys.argv[1])
    files = given["files"]
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES + files, _OPEN_FILES + files))
    for _ in range(files):
        os.open(os.devnull, os.O_RDONLY)
    server = Server()
    with bind(Address("127.0.0.1", 0)) as listener, bind(Address("127.0.0.1", 0)) as other:
        serving = server.add(
            listener,
            importlib.import_module(given["app"]).app if given["app"] else app,
            name="app",
            threads=given["threads"],
            max_threads=given["max_threads"],
            options=given["options"],
        )
        server.add(other, app, name="other", threads=1)
        server.watch(0, Commands(server, serving).read)
        _print(port=listener.getsockname()[1], other_port=other.getsockname()[1])
        _print(cut_off=server.run())


if __name__ == "__main__":
    main()
