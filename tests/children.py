"""Forked children for the tests, and what can be observed of them from outside."""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness import REPOSITORY, eventually

from supervisor.process.fork import Child, fork_child, kill_group

TIMEOUT_S = 30.0


@contextlib.contextmanager
def child(
    run: Callable[[socket.socket], int], *, name: str = "fs-test", keep: tuple[int, ...] = ()
) -> Iterator[Child]:
    """Fork a child; when the block ends, kill it and close its owner's descriptors."""
    forked = fork_child(run, name=name, keep=keep)
    try:
        yield forked
    finally:
        kill_group(forked.pid)
        os.waitpid(forked.pid, 0)
        forked.channel.close()
        os.close(forked.output)


def wait_for_ever(_connection: socket.socket) -> int:
    """Sleep until killed, in the child."""
    while True:
        time.sleep(60)


def report(connection: socket.socket, fact: Any) -> None:
    """Send ``fact`` to the parent, in the child."""
    connection.sendall(json.dumps(fact).encode() + b"\n")


def reported(forked: Child) -> Any:
    """Return what the child sent by `report`."""
    received = b""
    while not received.endswith(b"\n"):
        assert select.select([forked.channel], [], [], TIMEOUT_S)[0], "it sends nothing"
        part = forked.channel.recv(65536)
        assert part, f"it sent only {received!r}, and printed: {output_of(forked)}"
        received += part
    return json.loads(received)


def output_of(forked: Child) -> str:
    """Return everything that a child prints until it has ended."""
    received = b""
    while True:
        assert select.select([forked.output], [], [], TIMEOUT_S)[0], f"no end; so far {received!r}"
        part = os.read(forked.output, 65536)
        if not part:
            return received.decode()
        received += part


def exit_code_of(forked: Child) -> int:
    """Wait until a child has ended; return its exit code, negative for a signal."""
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT  # `child` reaps it
    ended = eventually(
        lambda: os.waitid(os.P_PID, forked.pid, options), timeout_s=TIMEOUT_S, what="it ends"
    )
    assert ended is not None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


@contextlib.contextmanager
def beside(function: Callable[[], object]) -> Iterator[threading.Thread]:
    """Run ``function`` in a thread; on leaving, wait until the thread has ended.

    For the kernel too, where it ends a moment later: the next test may fork.
    """
    before = len(os.listdir("/proc/self/task"))
    thread = threading.Thread(target=function)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(TIMEOUT_S)
        eventually(lambda: len(os.listdir("/proc/self/task")) <= before, what="the thread ended")


def lives(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def run_python(
    code: str, *arguments: str, options: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a new interpreter, which gets ``options``, to its end."""
    return subprocess.run(
        [sys.executable, *options, "-c", code, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        check=False,
    )
