"""Helpers for tests of operators' commands: other users, commands that go on, terminals."""

import contextlib
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from harness import REPOSITORY, Project, Running, eventually

from supervisor.client import Client
from supervisor.values.errors import SupervisorError

NOBODY = 65534
ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")

# The command line as another user. It loads all modules before, since that user may not be
# able to read the interpreter's folder; prctl(2) PR_SET_DUMPABLE makes /proc/self its own again.
AS_USER = """
import ctypes, os, sys
import encodings.ascii, encodings.idna, logging, pwd, sqlite3, tarfile, traceback
from supervisor.health import app_check
from supervisor.cli import check, check_user, config, deploy, doctor, logs, main
from supervisor.cli import operate, releases, run, status
from supervisor.config import history, last_good
from supervisor.doctor import machine
from supervisor.daemon import loop
from supervisor.deploy import methods
uid = int(sys.argv[1])
if sys.argv[2] == "run":
    loop.warm_up()
os.setgroups([])
os.setgid(uid)
os.setuid(uid)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
sys.argv = ["flask-supervisor", *sys.argv[2:]]
main.main()
"""

# Holds the ports of its arguments: "HOST:PORT", or "+HOST:PORT" with SO_REUSEPORT.
HOLDER = """
import socket, sys
held = []
for word in sys.argv[1:]:
    host, port = word.lstrip("+").rsplit(":", 1)
    held.append(socket.socket())
    held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if word.startswith("+"):
        held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held[-1].bind((host, int(port)))
    held[-1].listen()
print("listening", flush=True)
sys.stdin.read()
"""


def environment(**extra: str) -> dict[str, str]:
    """Return the environment for a command that no project started."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), **extra}


def run_command(
    folder: Path,
    *arguments: str,
    env: dict[str, str] | None = None,
    prefix: Sequence[str] = (sys.executable, "-m", "supervisor"),
    config: str = "supervisor.toml",
    timeout_s: float = 60,
) -> "subprocess.CompletedProcess[str]":
    """Run a command in ``folder`` with the configuration there, and wait for its end."""
    return subprocess.run(
        [*prefix, *arguments, "--config", str(folder / config)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=timeout_s,
        env=environment(**(env or {})),
        cwd=folder,
        check=False,
    )


def run_as(uid: int, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of the supervisor as another user; needs root."""
    return run_command(folder, *arguments, prefix=(sys.executable, "-c", AS_USER, str(uid)))


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """Yield a folder that every user can enter; others can't enter pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="flask-supervisor-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def open_project() -> Iterator[Project]:
    """Yield a project whose folder every user can enter; it must leave nothing behind."""
    with open_folder() as folder:
        made = Project(folder)
        try:
            yield made
        finally:
            made.clean_up()


class Following:
    """A command that runs until it is ended; leaving the context manager ends it.

    ``said`` is all that it printed, after its end.
    """

    def __init__(self, project: Project, *arguments: str, terminal: bool = False) -> None:
        project.write()
        self._received = bytearray()
        if terminal:
            self._read_end, write_end = pty.openpty()
        else:
            self._read_end, write_end = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "supervisor", *arguments, "--config", str(project.config)],
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=subprocess.PIPE,
            env=project.environment(TERM="xterm"),
            cwd=project.folder,
        )
        os.close(write_end)
        self._open = True
        self.said = ""

    def __enter__(self) -> "Following":
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()
        self.said = self.text
        os.close(self._read_end)

    @property
    def text(self) -> str:
        """What it has printed so far."""
        if self.said:
            return self.said
        while self._open and select.select([self._read_end], [], [], 0)[0]:
            try:
                part = os.read(self._read_end, 65536)
            except OSError:  # a terminal whose other end is closed
                part = b""
            self._open = bool(part)
            self._received += part
        return self._received.decode("utf-8", "replace")

    @property
    def lines(self) -> list[str]:
        """The complete lines it has printed so far."""
        return self.text.split("\n")[:-1]

    def wait_for(self, text: str, *, timeout_s: float = 15) -> None:
        """Wait until it has printed ``text``."""
        eventually(lambda: text in self.text, timeout_s=timeout_s, what=f"{text!r} is printed")

    def end(self, number: int | None = signal.SIGINT, *, timeout_s: float = 15) -> tuple[int, str]:
        """Send a signal, or none, and wait for the end; return exit code and standard error."""
        if number is not None:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, errors.decode("utf-8", "replace")


def control_socket(project: Project) -> Path:
    """Return the path of the control socket."""
    return project.folder / ".flask-supervisor" / "control.sock"


def call(running: Running, method: str, *, timeout_s: float = 15, **params: Any) -> Any:
    """Call a method of the supervisor through its control socket."""
    try:
        return Client(control_socket(running.project), timeout_s=timeout_s).call(method, **params)
    except SupervisorError as error:  # it is not running yet, or has exited
        raise AssertionError(str(error)) from error


def wait_until_ready(running: Running, *names: str) -> None:
    """Wait until these apps serve."""
    for name in names:
        running.wait_for(name, state="ready", timeout_s=30)


class Stopwatch:
    """Measures the seconds of a block."""

    def __enter__(self) -> "Stopwatch":
        self._started = time.monotonic()
        self.seconds = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._started
