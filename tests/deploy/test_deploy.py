"""Deploys on real apps, under real clients: good ones, bad ones, and what is left afterwards."""

import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import Poller, Project, Running, ask, eventually
from operating_case import wait_until_ready

APP = """
import os
from flask import Flask
app = Flask(__name__)
{more}

@app.get("/")
def index():
    return "{text}\\n"

@app.get("/smoke")
def smoke():
    return "fine"

@app.get("/exit")
def leave():
    os._exit(3)
"""
WATCH_S = 1.2
# Whether a version is only checked: it has an empty data folder then.
CHECKED = "'.flask-supervisor-swap' in os.environ['FLASK_SUPERVISOR_DATA_DIR']"


def source_of(text: str, more: str = "") -> str:
    """Return the module of a version."""
    return APP.format(text=text, more=more)


def make_source(
    project: Project, text: str, more: str = "", *, name: str = "new", **files: str
) -> Path:
    """Make a folder with a version of the coach."""
    folder = project.folder / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "coach.py").write_text(source_of(text, more))
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    return folder


def archive_of(folder: Path) -> Path:
    """Pack a folder."""
    archive = folder.with_name(f"{folder.name}.tar.gz")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, ".")
    return archive


def start(project: Project, **keys: object) -> Running:
    """Start a supervisor with version "old" of the coach, and wait until it serves."""
    project.app("coach", source_of("old"), **{"deploy_watch_s": WATCH_S, **keys})
    running = project.start()
    wait_until_ready(running, "coach")
    return running


@contextmanager
def only_old(project: Project) -> Iterator[Poller]:
    """Fail unless every client is answered by the old version meanwhile."""
    with Poller(project.port("coach"), rate=50) as poller:
        yield poller
    assert poller.refused == 0
    assert poller.failed == []
    assert {answer.text for answer in poller.answers} == {"old\n"}


def is_as_before(project: Project) -> None:
    """Fail unless the old files are in place, alone, and serve."""
    assert project.file("coach").read_text() == source_of("old")
    left = {path.name for path in (project.folder / "coach").iterdir()} - {"__pycache__"}
    assert left == {"coach.py"}
    assert ask(project.port("coach")).text == "old\n"


def test_a_good_one(project: Project) -> None:
    """It serves, nobody was refused, each phase had its line, and the old version is kept."""
    running = start(project, smoke=["/smoke"], health_path="/")
    new = archive_of(make_source(project, "new"))
    with Poller(project.port("coach"), rate=50) as poller:
        result = project.command("deploy", "coach", str(new))
        eventually(lambda: poller.answers[-1].text == "new\n")
    assert (result.returncode, result.stderr) == (0, "")
    assert poller.refused == 0
    assert poller.failed == []
    assert [answer.text for answer in poller.answers if answer.status != 200] == []
    texts = [answer.text for answer in poller.answers]
    assert texts == sorted(texts, reverse=True)  # old, then new, and never back
    *phases, end, kept = result.stdout.splitlines()
    assert [line.split("  ")[-1] for line in phases] == [
        "unpacking it beside the app",
        "importing it there, and checking what it requires",
        "keeping the present version as a release",
        "putting the files in place",
        "starting the app with them",
        f"watching it for {WATCH_S} s, and asking it",
        "making it final",
    ]
    assert end.endswith("the deploy of new.tar.gz to app 'coach' is done")
    assert kept.startswith("the previous files are release 1-")
    health = running.app("coach")
    assert (health["status"], health["stale"], health["restarts"]) == ("pass", False, 0)
    said = "the deploy of new.tar.gz to app 'coach' is done"
    eventually(lambda: said in [event["text"] for event in running.health()["events"]])
    assert project.file("coach").read_text() == source_of("new")


BAD = {
    "broken": ("from nosuch import thing", {}, "ModuleNotFoundError: No module named 'nosuch' (co"),
    "hanging": (
        "import time; time.sleep(60)",
        {},
        "ImportTimeout: the import took longer than 1 s (coach.py, line",
    ),
    "ending": ("os._exit(4)", {}, "the process ended while it imported the app: exit code 4"),
}


@pytest.mark.parametrize("kind", BAD)
def test_one_that_cannot_be_imported(project: Project, kind: str) -> None:
    """It is refused before any file of the app is touched."""
    more, keys, reason = BAD[kind]
    running = start(project, import_timeout_s=1, **keys)
    pid = running.worker("coach")
    new = archive_of(make_source(project, "new", more))
    with only_old(project):
        result = project.command("deploy", "coach", str(new))
    assert result.returncode == 1
    assert reason in result.stderr
    assert "was refused, nothing has changed: " in result.stderr
    assert "putting the files in place" not in result.stdout
    is_as_before(project)
    assert running.worker("coach") == pid
    assert running.app("coach")["status"] == "pass"


def test_one_that_fails_only_in_its_place(project: Project) -> None:
    """What the try beforehand can't see, the reload does: the old worker never ends."""
    running = start(project)
    pid = running.worker("coach")
    more = f"if not {CHECKED}: raise ValueError('not here')"
    with only_old(project):
        result = project.command("deploy", "coach", str(make_source(project, "new", more)))
    assert result.returncode == 1
    assert "was undone, the old version is back: ValueError: not here (coach.py, line" in (
        result.stderr
    )
    is_as_before(project)
    assert running.worker("coach") == pid  # what it has in memory is not lost
    eventually(lambda: running.app("coach")["status"] == "pass")


CRASHING = """
import threading, time
def crash():
    time.sleep({after_s})
    os._exit(7)
if '.flask-supervisor-swap' not in os.environ["FLASK_SUPERVISOR_DATA_DIR"]:
    threading.Thread(target=crash, daemon=True).start()
"""


@pytest.mark.parametrize("after_s", [0.4, 2.0])
def test_one_that_crashes_later(project: Project, after_s: float) -> None:
    """Within the first second the old worker goes on; later within the watch it is started."""
    running = start(project, deploy_watch_s=5)
    more = CRASHING.format(after_s=after_s)
    with Poller(project.port("coach"), rate=50) as poller:
        result = project.command("deploy", "coach", str(make_source(project, "new", more)))
        eventually(lambda: ask(project.port("coach")).text == "old\n")
    assert result.returncode == 1
    assert "was undone, the old version is back: " in result.stderr
    assert "exit code 7" in result.stderr
    assert "flask-supervisor logs coach" in result.stderr
    assert poller.refused == 0
    assert {answer.status for answer in poller.answers} == {200}
    is_as_before(project)
    eventually(lambda: running.app("coach")["status"] == "pass")


@pytest.mark.parametrize(
    ("path", "keys", "reason"),
    [
        ("/bad", {"smoke": ["/smoke", "/bad"]}, "/bad answers 500 INTERNAL SERVER ERROR"),
        ("/bad", {"health_path": "/bad"}, "/bad answers 500 INTERNAL SERVER ERROR"),
        ("/gone", {"smoke": ["/gone"]}, "/gone answers 404 NOT FOUND"),
        ("/exit", {"smoke": ["/exit"]}, r"the new worker ended \d\.\d s .*: exit code 3"),
    ],
)
def test_one_that_does_not_answer_well(
    project: Project, path: str, keys: dict[str, object], reason: str
) -> None:
    """The paths are asked through the port, and the first bad answer undoes it."""
    running = start(project, deploy_watch_s=5, **keys)
    more = "@app.get('/bad')\ndef bad():\n    return str(1 / 0)"
    with Poller(project.port("coach"), rate=50) as poller:
        result = project.command("deploy", "coach", str(make_source(project, "new", more)))
    assert result.returncode == 1
    assert re.search(f"was undone, the old version is back: {reason}", result.stderr)
    assert poller.refused == 0
    is_as_before(project)
    eventually(lambda: running.app("coach")["state"] == "ready")
