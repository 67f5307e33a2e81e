"""The process tree of a running contender; leaving it ends all of its processes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes
from benchmarks.guard import GRACE_S, LIMIT_S

REPOSITORY = Path(__file__).parent.parent
_MARGIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, and the folder to run it in."""

    argv: Sequence[str | Path]
    cwd: Path


class Tree:
    """The processes of some commands; a context manager that leaves none of them.

    ``pids`` are those of the commands themselves, in their order; ``started_s`` is the
    monotonic time at which the guard got the order to start them.
    """

    def __init__(
        self, commands: Sequence[Command], *, log: Path, environment: Mapping[str, str]
    ) -> None:
        self.log = log
        self.pids: list[int] = []
        self.started_s = 0.0
        self._plan = [
            {"argv": [str(word) for word in command.argv], "cwd": str(command.cwd)}
            for command in commands
        ]
        self._environment = {**environment, "BENCH_LOG": str(log)}

    def __enter__(self) -> "Tree":
        self._guard = subprocess.Popen(
            [sys.executable, "-S", "-m", "benchmarks.guard", json.dumps(self._plan)],
            cwd=REPOSITORY,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the harness, which then ends the guard
        )
        try:
            assert self._guard.stdin is not None
            assert self._guard.stdout is not None
            up = self._guard.stdout.readline()
            assert up == "up\n", f"the guard did not start: {up!r}"
            self.started_s = time.monotonic()
            self._guard.stdin.write("go\n")
            self._guard.stdin.flush()
            self.pids = json.loads(self._guard.stdout.readline())
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def processes(self) -> list[int]:
        """Return the pids of all processes of the tree, without the guard."""
        return processes.descendants(self._guard.pid)

    def pss_mib(self) -> float:
        """Return the proportional memory of all processes."""
        return processes.pss_mib(self.processes())

    def cpu_s(self) -> float:
        """Return the processor time that the processes have used."""
        return processes.cpu_s(self.processes())

    def end(self) -> None:
        """End all processes; raise RuntimeError if one is left."""
        pipes = (self._guard.stdin, self._guard.stdout)
        for pipe in pipes:
            if pipe is not None:
                pipe.close()
        try:
            code = self._guard.wait(GRACE_S + LIMIT_S + _MARGIN_S)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            code = self._guard.wait()
        if code != 0:
            processes.end_descendants(grace_s=0, limit_s=LIMIT_S)
        left = processes.descendants(os.getpid())
        if left:
            raise RuntimeError(f"processes were left behind: {left}; see {self.log}")
