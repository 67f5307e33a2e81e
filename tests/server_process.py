"""Runs a process with a server alone, see serving_child.py; a plugin for its fixtures."""

import contextlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import REPOSITORY, eventually

from supervisor.values.metrics import Metrics


class Serving:
    """A process with a server, see serving_child.py; ``port`` is where it listens."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        ports = self._receive()
        self.port: int = ports["port"]
        self.other_port: int = ports["other_port"]  # an app with one thread of its own

    def command(self, command: str) -> Any:
        """Send a command and return the answer of the process."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return None if command == "release" else self._receive()

    def drain(self, *, timeout_s: float = 20, idle_s: float = 20) -> None:
        """Begin a drain; the limits are longer than any busy machine needs."""
        assert self.command(f"drain {timeout_s} {idle_s}") == {"draining": True}

    def metrics(self, name: str = "app") -> Metrics:
        """Return the metrics of the app, or of the other one."""
        return Metrics.from_json(self.command("metrics")[name])

    def wait_for_metrics(self, name: str = "app", **wanted: Any) -> Metrics:
        """Wait until the metrics have these values, and return them."""

        def matches() -> Metrics:
            found = self.metrics(name)
            wrong = {
                key: getattr(found, key) for key in wanted if getattr(found, key) != wanted[key]
            }
            assert not wrong, f"{wrong} instead of {wanted}"
            return found

        return eventually(matches, what=f"metrics {wanted}")

    def wait_for(self, **wanted: int) -> None:
        """Wait until there are so many ``connections``, or ``held`` requests."""
        eventually(lambda: wanted.items() <= self.command("count").items(), what=str(wanted))

    def drained(self) -> int:
        """Wait for the end of the drain; return the number of requests that it cut off."""
        cut_off = self._receive()["cut_off"]
        self.process.wait(10)
        return int(cut_off)

    def _receive(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline() or '"the process has ended"')


@contextlib.contextmanager
def serving(
    *,
    threads: int = 4,
    max_threads: int | None = None,
    files: int = 0,
    options: dict[str, Any] | None = None,
    app: str | None = None,
    log: Path | None = None,
) -> Iterator[Serving]:
    """Run a process with a server; ``files`` more descriptors are open in it.

    ``app`` is a module with the app to serve. ``log`` is a file for standard error.
    """
    arguments = {
        "app": app,
        "threads": threads,
        "max_threads": max_threads,
        "files": files,
        "options": options or {},
    }
    script = Path(__file__).with_name("serving_child.py")
    with contextlib.nullcontext() if log is None else log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, script, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=None if log is None else log.parent,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
    try:
        yield Serving(process)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def server() -> Iterator[Serving]:
    """A server with four threads."""
    with serving() as running:
        yield running


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The file that a server of a test writes its standard error to."""
    return tmp_path / "log"


@pytest.fixture
def failing(log: Path) -> Iterator[Serving]:
    """A server of the app in failing_app.py."""
    with serving(app="failing_app", log=log) as running:
        yield running


@pytest.fixture
def wires() -> Iterator[contextlib.ExitStack]:
    """An exit stack for many connections, which are closed at the end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        with contextlib.ExitStack() as stack:
            yield stack
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
