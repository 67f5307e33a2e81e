"""Data of the field stays through deploys and rollbacks, and a small deploy changes little."""

from pathlib import Path

import pytest
from harness import Project, Running, ask, eventually
from operating_case import wait_until_ready
from real_app import write

APP = """
import json
from pathlib import Path
from flask import Flask, request
from pkg.words import W
app = Flask(__name__)
HERE = Path(__file__).parent

@app.get("/")
def index():
    return W

@app.post("/upload")
def upload():
    (HERE / "static" / "uploads").mkdir(parents=True, exist_ok=True)
    request.files["photo"].save(HERE / "static" / "uploads" / "p.png")
    with open(HERE / "pkg" / "config" / "device1.json", "w") as stream:
        json.dump({"touch": [1, 2]}, stream)
    return "kept"
"""
FORM = (
    b'--x\r\nContent-Disposition: form-data; name="photo"; filename="p.png"\r\n\r\n'
    b"a photo\r\n--x--\r\n"
)
DATA = {"static/uploads/p.png": "a photo", "pkg/config/device1.json": '{"touch": [1, 2]}'}


@pytest.fixture
def running(project: Project) -> Running:
    """The app, kept as known good, after it has written its data."""
    project.app("coach", APP, known_good_after_s=1, deploy_watch_s=0.5)
    folder = project.folder / "coach"
    make_version(folder, "first")
    write(folder, "pkg/config/device1.json", "as shipped")
    started = project.start()
    wait_until_ready(started, "coach")
    eventually(
        lambda: "good" in project.command("releases", "coach").stdout, timeout_s=30, what="kept"
    )
    answer = ask(
        project.port("coach"),
        "/upload",
        method="POST",
        body=FORM,
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert answer.text == "kept"
    notes = project.folder / ".flask-supervisor/notes/coach.json"
    eventually(lambda: "device1.json" in notes.read_text(), timeout_s=20, what="it is noted")
    return started


def make_version(folder: Path, word: str) -> Path:
    """Write a version of the app."""
    write(folder, "coach.py", APP)
    write(folder, "pkg/__init__.py", "")
    write(folder, "pkg/words.py", f"W = {word!r}\n")
    write(folder, "templates/page.html", word)
    return folder


def data_of(project: Project) -> dict[str, str]:
    """Return the data that is there."""
    folder = project.folder / "coach"
    return {path: (folder / path).read_text() for path in DATA if (folder / path).exists()}


def test_data_stays(project: Project, running: Running) -> None:
    """SOURCE and the last good release know nothing of it."""
    source = make_version(project.folder / "second", "second")
    result = project.command("deploy", "coach", str(source))
    assert result.returncode == 0, result.stderr
    assert (ask(project.port("coach")).text, data_of(project)) == ("second", DATA)
    result = project.command("rollback", "coach")
    assert result.returncode == 0, result.stderr
    assert (ask(project.port("coach")).text, data_of(project)) == ("first", DATA)
    assert running.app("coach")["status"] == "pass"


def test_a_default_in_source_does_not_replace_what_was_measured(
    project: Project, running: Running
) -> None:
    """The command says which file it left alone."""
    source = make_version(project.folder / "second", "second")
    write(source, "pkg/config/device1.json", "a default")
    result = project.command("deploy", "coach", str(source))
    assert result.returncode == 0, result.stderr
    assert "the app has written pkg/config/device1.json: that stays" in result.stderr
    assert (ask(project.port("coach")).text, data_of(project)) == ("second", DATA)


def test_a_source_that_lacks_files(project: Project, running: Running) -> None:
    """Nothing is removed that was not asked for; --only and --delete say what is meant."""
    source = make_version(project.folder / "second", "second")
    (source / "templates/page.html").unlink()
    pid = running.worker("coach")
    result = project.command("deploy", "coach", str(source))
    assert result.returncode == 1
    assert "SOURCE lacks templates/page.html, which app 'coach' has" in result.stderr
    assert "--delete removes what SOURCE lacks" in result.stderr
    assert running.worker("coach") == pid
    assert project.command("deploy", "coach", str(source), "--only").returncode == 0
    page = project.folder / "coach/templates/page.html"
    assert (ask(project.port("coach")).text, page.read_text()) == ("second", "first")
    assert project.command("deploy", "coach", str(source), "--delete").returncode == 0
    assert not page.exists()
    assert data_of(project) == DATA
    both = project.command("deploy", "coach", str(source), "--only", "--delete")
    assert (both.returncode, "choose one" in both.stderr) == (2, True)


def test_one_file(project: Project, running: Running) -> None:
    """The remedy for one broken file: it takes the place of the file with its name."""
    file = project.folder / "words.py"
    file.write_text("W = 'repaired'\n")
    result = project.command("deploy", "coach", str(file))
    assert result.returncode == 0, result.stderr
    assert ask(project.port("coach")).text == "repaired"
    assert (project.folder / "coach/templates/page.html").read_text() == "first"
    assert data_of(project) == DATA
    file.write_text("W = \n")
    result = project.command("deploy", "coach", str(file))
    assert result.returncode == 1
    assert "SyntaxError" in result.stderr
    assert ask(project.port("coach")).text == "repaired"
