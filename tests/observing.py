"""Observes processes from outside, by ``/proc``, ports and the control socket."""

import contextlib
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import Answer, Poller, Project, Running, ask, eventually

from supervisor.client import Client
from supervisor.values.errors import SupervisorError

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def is_alive(pid: int) -> bool:
    """Return whether ``pid`` is a live process; a zombie is not."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def named(project: Project, name: str) -> list[int]:
    """Return the project's processes that carry ``name``; the kernel keeps 15 characters of it."""
    found = []
    for pid in project.processes():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == name[:15]:
                found.append(pid)
    return found


def cpu_s(pid: int) -> float:
    """Return the processor time that ``pid`` has used, in seconds: proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def rss_mib(pid: int) -> float:
    """Return the resident memory of ``pid``."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def fd_count(pid: int) -> int:
    """Return the number of descriptors that ``pid`` has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def is_open(port: int) -> bool:
    """Return whether a process listens on ``port``."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def snapshot(running: Running) -> Any:
    """Return the snapshot from the control socket, which needs no port."""
    folder = running.project.folder / ".flask-supervisor"
    try:
        return Client(folder / "control.sock").call("snapshot")
    except SupervisorError as error:  # it is not running yet, or has exited
        raise AssertionError(str(error)) from error


def events(running: Running, app: str | None, kind: str) -> list[str]:
    """Return the texts of the newest events of ``app`` that are of ``kind``."""
    found = snapshot(running)["events"]
    return [event["text"] for event in found if (event["app"], event["kind"]) == (app, kind)]


def refused_with(port: int, reason: str, *, timeout_s: float = 15, host: str = "127.0.0.1") -> Any:
    """Wait until ``port`` answers 503 with ``reason`` in the detail, and return the problem."""

    def answered() -> Any:
        answer = ask(port, host=host)
        assert answer.status == 503, answer
        assert reason in (answer.json["detail"] or ""), answer.text
        return answer.json

    return eventually(answered, timeout_s=timeout_s, what=f"503 with {reason!r}")


def assert_all_answered(poller: Poller, *, status: int = 200, worst_s: float | None = None) -> None:
    """Fail unless every request of ``poller`` was answered with ``status``, in time."""
    wrong: Sequence[Answer] = [answer for answer in poller.answers if answer.status != status]
    assert not poller.refused
    assert not poller.failed
    assert not wrong, wrong[0]
    assert poller.answers
    if worst_s is not None:
        assert poller.worst_s < worst_s
