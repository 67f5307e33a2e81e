"""Deploys whose processes are killed at random: the files are one version or the other."""

import hashlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Project, Running, eventually
from load import FULL
from operating_case import wait_until_ready
from test_deploy import make_source, start

ROUNDS = 100 if FULL else 8
VICTIMS = ("main", "worker", "command", "child")


def tree(folder: Path) -> str:
    """Return a digest of the app's files, wherever they came from."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def children_of(pid: int) -> list[int]:
    """Return the throw-away children of the main process."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "comm").read_text().strip() == "fs-task":
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                found += [int(entry.name)] if int(fields[1]) == pid else []
        except OSError:
            continue
    return found


def kill_one(running: Running, command: "subprocess.Popen[bytes]", victim: str) -> None:
    """Kill a process of the deploy, if it is there."""
    if victim == "command":
        command.kill()
    elif victim == "main":
        running.process.kill()
    else:
        pids = children_of(running.process.pid)
        if victim == "worker":
            pids = [running.app("coach")["pid"] or 0]
        for pid in filter(None, pids[:1]):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.timeout(120 + 20 * ROUNDS)
def test_killed_at_random(project: Project) -> None:
    """After each of them the app serves, and no file of the other version lies between its own."""
    chance = random.Random(20261127)
    running = start(project)
    folder = project.folder / "coach"
    versions = {tree(folder)}
    for number in range(ROUNDS):
        source = make_source(project, f"v{number}", name=f"source-{number}")
        expected = tree(source)
        command = subprocess.Popen(
            [
                *(sys.executable, "-m", "supervisor", "deploy", "coach", str(source), "--delete"),
                *("--config", str(project.config)),
            ],
            env=project.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        victim = chance.choice(VICTIMS)
        with_delay = chance.uniform(0.1, 2.5)
        try:
            command.wait(with_delay)
        except subprocess.TimeoutExpired:
            kill_one(running, command, victim)
        command.wait(60)
        if victim == "main" and running.process.poll() is not None:
            running.process.wait()
            running = project.start()
        wait_until_ready(running, "coach")
        eventually(
            lambda: not (folder / ".flask-supervisor-swap").exists(), timeout_s=30, what="it ended"
        )
        found = tree(folder)
        assert found in versions | {expected}, f"round {number}: {victim} after {with_delay:.2f} s"
        versions = {found}
