"""A process with one `Server`, for tests: says JSON lines, obeys lines on standard input.

Argument: a JSON object with `threads`, `max_threads`, `files` (that the app has open) and
`options` of waitress. Commands: ``drain TIMEOUT_S IDLE_S``, ``release`` (the requests of
``/hold``), ``count`` (connections and held requests), ``step SECONDS`` (the wall clock alone),
``wait SECONDS`` (time goes by at once), ``metrics``, ``pause``, ``resume``, ``beats`` (of the loop,
and the age of the last), ``stall SECONDS`` (the loop, which a thread watches), ``cpu`` (seconds
used), ``threads off`` or ``on`` (no thread can be started).
"""

import contextlib
import hashlib
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from supervisor.ports.listeners import Address, bind
from supervisor.server.server import Server

_OPEN_FILES = 1024  # as systemd and most shells set it
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


def _half() -> Iterator[bytes]:
    yield b"/h"
    raise RuntimeError("broken half way")


HEARTBEAT_S = 0.1


class _Clock:
    """A clock that a test can set."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.offset_s = 0.0

    def __call__(self) -> float:
        return self._clock() + self.offset_s


def _say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


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
            app,
            name="app",
            threads=given["threads"],
            max_threads=given["max_threads"],
            options=given["options"],
        )
        server.add(other, app, name="other", threads=1)
        clocks = {"step": _Clock(time.time), "wait": _Clock(time.monotonic)}
        time.time, time.monotonic = clocks["step"], clocks["wait"]

        beats: list[float] = []
        server.every(HEARTBEAT_S, beats.append)

        def tell_beats() -> None:
            metrics = server.metrics(time.monotonic())["app"].to_json()
            _say(count=len(beats), age_s=time.monotonic() - beats[-1], metrics=metrics)

        def tell_later(after_s: float) -> None:
            time.sleep(after_s)
            tell_beats()

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
                    case ["metrics"]:
                        now = time.monotonic()
                        _say(**{k: v.to_json() for k, v in server.metrics(now).items()})
                    case ["pause"]:
                        server.pause()
                        _say(done=True)
                    case ["resume"]:
                        server.resume()
                        _say(done=True)
                    case ["beats"]:
                        tell_beats()
                    case ["cpu"]:
                        _say(cpu_s=time.process_time())
                    case ["threads", "off" | "on" as whether]:
                        threading.stack_size(1 << 62 if whether == "off" else 0)
                        _say(done=True)
                    case ["stall", seconds]:
                        threading.Thread(target=tell_later, args=(float(seconds) * 0.6,)).start()
                        time.sleep(float(seconds))
                    case ["step" | "wait" as kind, seconds]:
                        clocks[kind].offset_s += float(seconds)
                        _say(done=True)

        server.watch(0, obey)
        _say(port=listener.getsockname()[1], other_port=other.getsockname()[1])
        _say(cut_off=server.run())


if __name__ == "__main__":
    main()
