"""Runs real supervisors on real apps for the tests; see ``Project`` and ``Running``."""

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

REPOSITORY = Path(__file__).parent.parent
POLL_S = 0.02
MARK = "FLASK_SUPERVISOR_TEST_MARK"  # in the environment of every process a test starts

T = TypeVar("T")

GOOD_APP = """
from flask import Flask
app = Flask(__name__)

@app.get("/")
def index():
    return "{text}\\n"
"""


def eventually(probe: Callable[[], T], *, timeout_s: float = 15.0, what: str = "") -> T:
    """Poll ``probe`` until it returns something true, and return that; fail after ``timeout_s``.

    A probe that raises OSError or AssertionError is called again.
    """
    deadline = time.monotonic() + timeout_s
    last: object = None
    while True:
        try:
            result = probe()
            if result:
                return result
            last = result
        except (OSError, AssertionError, http.client.HTTPException) as error:
            last = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what or probe}; last: {last!r}")
        time.sleep(POLL_S)


def _ports() -> range:
    """Return the ports to choose from, outside the range of outgoing connections.

    Each process of pytest-xdist has its own share, since a port is free until it is bound.
    """
    share = 12000 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return range(20000 + number * share, 20000 + (number + 1) * share)


def free_ports(count: int) -> list[int]:
    """Return ports on which nobody listens."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(_ports())
        with contextlib.ExitStack() as stack:
            try:
                for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                    probe = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
                    if family == socket.AF_INET6:
                        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    probe.bind((host, port))
            except OSError:
                continue
        if port not in found and port not in (5000, 5001, 6000):
            found.append(port)
    return found


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; ``seconds`` is the time from before connecting to the last byte."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def ask(
    port: int,
    path: str = "/",
    *,
    accept: str | None = None,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    timeout_s: float = 10.0,
    host: str = "127.0.0.1",
) -> Answer:
    """Make one request on a fresh connection; raise OSError if it is refused or reset."""
    started = time.monotonic()
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    sent = dict(headers or {})
    if accept:
        sent["Accept"] = accept
    try:
        connection.request(method, path, body=body, headers=sent)
        response = connection.getresponse()
        received = response.read()
    finally:
        connection.close()
    seconds = time.monotonic() - started
    names = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, names, received, seconds)


@dataclass
class Project:
    """A folder with apps and a configuration, and the supervisors started on it."""

    folder: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    apps: dict[str, dict[str, Any]] = field(default_factory=dict)
    supervisor: dict[str, Any] = field(default_factory=lambda: {"host": "127.0.0.1"})
    bind: dict[str, Any] = field(default_factory=dict)
    status_port: int = field(default_factory=lambda: free_ports(1)[0])
    started: list["Running"] = field(default_factory=list)

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "supervisor.toml"

    def app(self, name: str, source: str | None = None, **keys: Any) -> int:
        """Add an app, ``NAME.py`` in a folder of its own, and return its port."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(
            GOOD_APP.format(text=name) if source is None else source, encoding="utf-8"
        )
        defaults = {"target": f"{name}:app", "path": name}
        if not str(keys.get("host", "")).startswith("unix:"):
            taken = {app.get("port") for app in self.apps.values()} | {self.status_port}
            defaults["port"] = next(p for p in iter(lambda: free_ports(1)[0], 0) if p not in taken)
        self.apps[name] = {**defaults, **keys}
        return self.apps[name].get("port", 0)

    def port(self, name: str) -> int:
        """Return the port of an app."""
        return int(self.apps[name]["port"])

    def file(self, name: str, path: str | None = None) -> Path:
        """Return a file of an app's folder, by default its module."""
        return self.folder / name / (path or f"{name}.py")

    def write(self) -> Path:
        """Write the configuration, and return its path."""
        tables = {
            "supervisor": self.supervisor,
            "bind": self.bind,
            "status": {"port": self.status_port},
            **{f"apps.{name}": keys for name, keys in self.apps.items()},
        }
        lines = []
        for title, keys in tables.items():
            lines.append(f"[{title}]")
            lines += [f"{key} = {_toml(value)}" for key, value in keys.items()]
        self.config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return self.config

    def environment(self, **extra: str) -> dict[str, str]:
        """Return the environment for a process of this test."""
        return {**os.environ, "PYTHONPATH": str(REPOSITORY), MARK: self.mark, **extra}

    def start(
        self,
        *,
        env: dict[str, str] | None = None,
        wait: bool = True,
        prefix: Sequence[str] = (),
        arguments: Sequence[str] = (),
    ) -> "Running":
        """Start a supervisor; by default wait until its status port answers.

        ``prefix`` is a command that runs it, such as ``unshare --net``. ``arguments``
        are further arguments of ``run``.
        """
        self.write()
        log = self.folder / f"log-{len(self.started)}"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [
                    *(*prefix, sys.executable, "-m", "supervisor", "run"),
                    *(*arguments, "--config", str(self.config)),
                ],
                stdout=stream,
                stderr=stream,
                stdin=subprocess.DEVNULL,
                env=self.environment(**(env or {})),
                cwd=self.folder,
            )
        running = Running(self, process, log)
        self.started.append(running)
        if wait:
            running.wait_until_up()
        return running

    def command(
        self, *arguments: str, env: dict[str, str] | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the supervisor, with ``--config`` added, to its end."""
        self.write()
        return subprocess.run(
            [sys.executable, "-m", "supervisor", *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout_s,
            env=self.environment(**(env or {})),
            cwd=self.folder,
            check=False,
        )

    def processes(self) -> list[int]:
        """Return the pids of all live processes that this test started, and of their children."""
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if (
                    entry.name.isdigit()
                    and wanted in (entry / "environ").read_bytes().split(b"\0")
                    and "State:\tZ" not in (entry / "status").read_text()
                ):
                    found.append(int(entry.name))
        return found

    def clean_up(self) -> None:
        """Stop everything; fail if a process is left after an orderly stop."""
        for running in self.started:
            running.stop()
        try:
            eventually(lambda: not self.processes(), timeout_s=5, what="no process is left")
        finally:
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)


@dataclass
class Running:
    """A supervisor process."""

    project: Project
    process: "subprocess.Popen[bytes]"
    log_file: Path

    @property
    def log(self) -> str:
        """What the supervisor has logged so far."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def wait_until_up(self) -> None:
        """Wait until the status port answers."""

        def up() -> bool:
            assert self.process.poll() is None, self.log
            return ask(self.project.status_port, "/livez").status == 200

        eventually(up, what="the status port answers")

    def health(self) -> Any:
        """Return the whole health document."""
        return ask(self.project.status_port, "/health").json

    def app(self, name: str) -> Any:
        """Return the health document of one app."""
        return ask(self.project.status_port, f"/health/{name}").json

    def wait_for(self, name: str, *, says: str = "", timeout_s: float = 15.0, **fields: Any) -> Any:
        """Wait until the app's health has these fields and ``says`` in its reason, and return it.

        The status port may know of a change later than an app's port or a command does. The
        stand-in answers during a slow import too: wait for its end, unless ``state`` is given.
        """
        settled = fields.get("serving") == "stand-in" and "state" not in fields

        def matches() -> Any:
            found = self.app(name)
            wrong = {key: found[key] for key, value in fields.items() if found[key] != value}
            assert not wrong, f"{name}: {wrong}"
            assert says in (found["reason"] or ""), f"{name}: {found['reason']}"
            assert not (settled and found["state"] == "starting"), f"{name} is starting"
            return found

        return eventually(matches, timeout_s=timeout_s, what=f"{name} has {fields}")

    def worker(self, name: str) -> int:
        """Return the pid of an app's worker, once it is ready."""
        return int(self.wait_for(name, state="ready")["pid"])

    def stop(self, number: int = signal.SIGTERM, *, timeout_s: float = 10) -> int:
        """Stop it, if it runs, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def kill(self) -> None:
        """End the main process by SIGKILL."""
        self.process.kill()
        self.process.wait()


class Poller:
    """Polls a port ``rate`` times a second on fresh connections in a thread; counts answers."""

    def __init__(self, port: int, *, rate: float = 200, path: str = "/") -> None:
        import threading

        self.answers: list[Answer] = []
        self.refused = 0
        self.failed: list[str] = []
        self._port, self._interval_s, self._path = port, 1 / rate, path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._interval_s, time.monotonic() - 1)
            try:
                self.answers.append(ask(self._port, self._path))
            except ConnectionRefusedError:
                self.refused += 1
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))

    def __enter__(self) -> "Poller":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(15)

    @property
    def worst_s(self) -> float:
        """The slowest answer."""
        return max((answer.seconds for answer in self.answers), default=0.0)


@contextlib.contextmanager
def process_in_test(project: Project, code: str, *arguments: str) -> Iterator[Any]:
    """Run Python ``code`` in another process, with pipes for lines of text; kill it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=project.environment(),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
