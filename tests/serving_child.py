"""A process with one `Server`, for tests: says JSON lines, obeys lines on standard input.

Arguments: the number of threads, and how many files the app has open. Commands: ``drain TIMEOUT_S
IDLE_S``, ``release`` (the requests of ``/hold``), ``count`` (connections and held requests),
``step SECONDS`` (the wall clock alone), ``wait SECONDS`` (time goes by at once).
"""

import hashlib
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from supervisor.listeners import Address, bind
from supervisor.serving import Server

_OPEN_FILES = 1024  # as systemd and most shells give it
_released = threading.Event()
_held: list[int] = []


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Serve the paths that the tests ask for."""
    path = environ["PATH_INFO"]
    if path == "/broken":
        raise RuntimeError("broken on purpose")
    if path == "/endless":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return _endless()
    if path == "/hold":
        _held.append(1)
        _released.wait(30)
        _held.pop()
    body = f"{path}\n".encode()
    if path == "/upload":
        received = environ["wsgi.input"].read()
        body = f"{len(received)} {hashlib.sha256(received).hexdigest()}\n".encode()
    if path == "/environ":
        body = json.dumps({key: str(value) for key, value in environ.items()}).encode()
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


def _endless() -> Iterator[bytes]:
    while True:
        yield b"tick\n"
        time.sleep(0.02)


class _Clock:
    """A clock that can be set."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.offset_s = 0.0

    def __call__(self) -> float:
        return self._clock() + self.offset_s


def _say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def main() -> None:
    """Serve until a drain is over."""
    threads, files = (int(argument) for argument in sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES + files, _OPEN_FILES + files))
    for _ in range(files):
        os.open(os.devnull, os.O_RDONLY)
    server = Server()
    with bind(Address("127.0.0.1", 0)) as listener:
        serving = server.add(listener, app, threads=threads)
        clocks = {"step": _Clock(time.time), "wait": _Clock(time.monotonic)}
        time.time, time.monotonic = clocks["step"], clocks["wait"]

        def obey() -> None:
            lines = os.read(0, 4096).decode().splitlines()
            if not lines:
                os._exit(1)
            for line in lines:
                match line.split():
                    case ["drain", timeout_s, idle_s]:
                        server.drain(timeout_s=float(timeout_s), idle_s=float(idle_s))
                        _say(draining=True)
                    case ["release"]:
                        _released.set()
                    case ["count"]:
                        _say(connections=len(serving.active_channels), held=len(_held))
                    case ["step" | "wait" as kind, seconds]:
                        clocks[kind].offset_s += float(seconds)
                        _say(done=True)

        server.watch(0, obey)
        _say(port=listener.getsockname()[1])
        _say(cut_off=server.run())


if __name__ == "__main__":
    main()
