"""The apps that every contender serves, written into a folder."""

import compileall
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PID_PATH = "/pid"
MISSING_MODULE = "nowhere_to_be_found"

_APP = '''"""A tiny app."""
import os

from flask import Flask

app = Flask(__name__)


@app.get("/")
def index():
    return "hello from {name}\\n"


@app.get("/pid")
def pid():
    return str(os.getpid())
'''

TROUBLES = ("/fork", "/run", "/exit", "/stream", "/log")
_TROUBLE = """

import logging
import multiprocessing
import subprocess
import sys
import time

logging.basicConfig(level=logging.INFO)
camera = subprocess.Popen(["sleep", "100000"], start_new_session=True)


@app.get("/fork")
def forks():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return str(pool.map(abs, [-1]))


@app.get("/run")
def runs():
    subprocess.run(["setsid", "--fork", "true"], check=True)
    return "done"


@app.get("/exit")
def exits():
    sys.exit(3)


@app.get("/stream")
def streams():
    def frames():
        while True:
            yield b"x" * 50_000
            time.sleep(0.02)

    return app.response_class(frames(), mimetype="multipart/x-mixed-replace; boundary=frame")


@app.get("/log")
def logs():
    for number in range(100):
        logging.getLogger("camera").warning("frame %d", number)
    return "logged"
"""

_MODULE = '''"""Module {number} of an app."""
import re
from dataclasses import dataclass
from enum import Enum

WORDS = re.compile(r"(?P<word_{number}>[a-z]+){number}(-[0-9]+)?")


class Kind(Enum):
    """A kind of thing."""

    ONE = "one"
    TWO = "two"


@dataclass(frozen=True)
class Thing:
    """A thing."""

    name: str
    kind: Kind = Kind.ONE
    count: int = {number}


def find(text):
    """Find a thing in a text."""
    found = WORDS.search(text)
    return None if found is None else Thing(found["word_{number}"])
'''


@dataclass(frozen=True, slots=True)
class App:
    """One app: ``app`` in the module ``name`` in ``folder``."""

    name: str
    port: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Fleet:
    """Apps in a folder, each on its port; ``spare_ports`` are for a contender's other listeners."""

    folder: Path
    apps: tuple[App, ...]
    spare_ports: tuple[int, ...]


def write_fleet(
    folder: Path,
    *,
    count: int,
    modules: int = 0,
    broken: Sequence[int] = (),
    troubled: Sequence[int] = (),
) -> Fleet:
    """Write ``count`` tiny apps; the first has ``modules`` more, those in ``broken`` fail.

    Those in ``troubled`` start a program, and have the paths `TROUBLES`: they fork, exit, stream
    without end, and log.
    """
    ports = free_ports(count + 3)
    apps = []
    for number in range(count):
        app = App(f"app_{number}", ports[number], folder / f"app_{number}")
        app.folder.mkdir(parents=True)
        source = _APP.format(name=app.name)
        if number in broken:
            source = f"import {MISSING_MODULE}\n{source}"
        if number == 0 and modules:
            source = _write_modules(app.folder, modules) + source
        if number in troubled:
            source += _TROUBLE
        (app.folder / f"{app.name}.py").write_text(source, encoding="utf-8")
        apps.append(app)
    compileall.compile_dir(folder, quiet=2)  # no start is slower for being the first
    return Fleet(folder, tuple(apps), tuple(ports[count:]))


def _write_modules(folder: Path, count: int) -> str:
    package = folder / "parts"
    package.mkdir()
    (package / "__init__.py").touch()
    for number in range(count):
        text = _MODULE.format(number=number)
        (package / f"part_{number}.py").write_text(text, encoding="utf-8")
    return "".join(f"import parts.part_{number}\n" for number in range(count))


def free_ports(count: int) -> list[int]:
    """Return free ports, outside the ranges of outgoing connections and of the tests."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(10000, 20000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found
