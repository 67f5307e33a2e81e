"""Console blocks of the documentation: reads them, runs them, compares them with what they show.

A comment before a block names the scenario that it is shown in, or says why no test runs it:

    <!-- test: SCENARIO -->            <!-- no test: REASON -->

Scenarios run in a network namespace of their own, where ports 5000, 5001 and 6000 are free.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness import MARK, REPOSITORY, eventually

_BLOCK = re.compile(
    r"^(?:<!-- (?P<kind>test|no test): (?P<what>[^>]+) -->\n)?```console\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
# What differs from run to run: paths, times, ages, ids, sizes, versions, addresses.
_VARYING = [
    (r"^ +machine: .*", "machine: FACTS"),
    (r"(?<![\w.:/])/(?:[\w.+-]+/)+", "/…/"),
    (r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?(\.\d+)?([+-]\d\d:\d\d|Z)?", "TIME"),
    (r"\b\d\d:\d\d:\d\d\b", "TIME"),
    (r"\b\d+-[0-9a-f]{8}\b", "RELEASE"),
    (r"\b(pid|worker|kill|user) \w+", r"\1 ID"),
    (r" (temperature|disk_\w+)=\S+|(?<==)\d+(\.\d+)?(c|B|s)?\b", ""),
    (r"\b\w{4}(-\w{4}){3}\b", "PASSWORD"),
    (r"\b\d+ open files|\babout \d+", "COUNT"),
    (r"(?<=\s)\d{1,7}(?=\s+\d+ (s|min|h|d)$)", "PID"),
    (r"\b\d+(\.\d+)? ?(s|ms|min|h|d|MiB|%|°C)(?![\w])", "AMOUNT"),
    (r"\b\d+\.\d+\.\d+\.\d+\b|\blocalhost\b", "ADDRESS"),
    (r"\b\d+\.\d+(\.\d+)?\b", "NUMBER"),
]


@dataclass(frozen=True)
class Step:
    """A command, and the lines that it shows."""

    command: str
    shown: list[str]


@dataclass(frozen=True)
class Block:
    """A console block; ``scenario`` is None if no test runs it, ``reason`` says why."""

    page: str
    line: int
    scenario: str | None
    reason: str | None
    steps: list[Step]

    @property
    def title(self) -> str:
        """Where it is, for messages."""
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Yield the console blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        steps: list[Step] = []
        for line in found["text"].splitlines():
            if line.startswith("$ "):
                steps.append(Step(line[2:], []))
            else:
                steps[-1].shown.append(line)
        yield Block(
            page=page.name,
            line=text.count("\n", 0, found.start()) + 1,
            scenario=found["what"] if found["kind"] == "test" else None,
            reason=found["what"] if found["kind"] == "no test" else None,
            steps=steps,
        )


def differences(expected: list[str], shown: list[str]) -> list[str]:
    """Return the lines of a block that the screen doesn't show in this order, or in another way.

    A line ``...`` stands for any number of lines.
    """
    left = [normal(line) for line in shown if line.strip()]
    wrong, is_open = [], False
    for line in expected:
        if line.strip() == "...":
            is_open = True
            continue
        wanted = normal(line)
        if is_open and wanted in left:
            del left[: left.index(wanted)]
        if not left or left[0] != wanted:
            wrong.append(f"{wanted}   <- shown: {left[0] if left else '(nothing)'}")
        del left[:1]
        is_open = False
    if left and not is_open:
        wrong += [f"(nothing)   <- shown: {line}" for line in left]
    return wrong


def normal(line: str) -> str:
    """Return a line without what differs from run to run."""
    line = re.sub(r"\x1b\[[0-9;]*m", "", line)
    for pattern, word in _VARYING:
        line = re.sub(pattern, word, line)
    return " ".join(line.split())


@dataclass
class Stage:
    """A folder ``field`` in a home of its own, in namespaces of its own, for one block."""

    home: Path
    mark: str
    environment: dict[str, str] = field(repr=False)
    _anchor: "subprocess.Popen[bytes] | None" = None
    _background: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where the commands run."""
        return self.home / "field"

    def __enter__(self) -> "Stage":
        programs = self.home / "bin"
        programs.mkdir(parents=True)
        self.folder.mkdir()
        own = f'exec {shlex.quote(sys.executable)} -m supervisor "$@"'
        for name, line in {"flask-supervisor": own, "sudo": 'exec "$@"'}.items():
            (programs / name).write_text(f"#!/bin/sh\n{line}\n")
            (programs / name).chmod(0o755)
        (programs / "pip").symlink_to(Path(sys.executable).with_name("pip"))  # as if activated
        (self.home / "hosts").write_text("127.0.0.1 localhost pi.local\n")
        self.environment = {
            **self.environment,
            "PATH": f"{programs}:{self.environment['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            "HOME": str(self.home),
            "NO_COLOR": "1",
            MARK: self.mark,
        }
        ready = self.home / "up"
        script = (
            f"mount --bind {shlex.quote(str(self.home / 'hosts'))} /etc/hosts && "
            f"ip link set lo up && touch {shlex.quote(str(ready))} && exec sleep 600"
        )
        words = ["unshare", "--net", "--mount", "sh", "-c", script]
        self._anchor = subprocess.Popen(words, env=self.environment)
        eventually(ready.exists, what="the namespaces are there")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._background:
            process.terminate()
            process.wait(30)
        if self._anchor is not None:
            self._anchor.kill()
            self._anchor.wait()

    def write(self, name: str, text: str) -> None:
        """Write a file of the folder."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def run(self, command: str, timeout_s: float = 120) -> str:
        """Run a command line to its end and return what it shows."""
        done = subprocess.run(
            [*self._inside(), "bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=self.environment,
            timeout=timeout_s,
            check=False,
        )
        return done.stdout

    def begin(self, command: str, *, until: str = "", timeout_s: float = 90) -> Path:
        """Run a command line in the background, until a line says ``until``; return its log."""
        log = self.home / f"log-{len(self._background)}"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*self._inside(), "bash", "-c", f"exec {command}"],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd=self.folder,
                env=self.environment,
            )
        self._background.append(process)
        if until:
            eventually(lambda: until in log.read_text(errors="replace"), timeout_s=timeout_s)
        return log

    def _inside(self) -> list[str]:
        assert self._anchor is not None
        target = str(self._anchor.pid)
        return ["nsenter", "--net", "--mount", "--wd=.", "--target", target]
