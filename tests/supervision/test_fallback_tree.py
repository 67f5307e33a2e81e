"""A fallback of apps that find their modules and data in the ways that real apps do."""

import json
import sqlite3
from pathlib import Path

import pytest
from harness import Project, Running, ask, eventually
from operating_case import wait_until_ready

ENTRY = """
import json, os, sqlite3, sys
from pathlib import Path
{find}
from flask import Flask, request
from pkg.words import W

GAMES = json.loads(Path(__file__).with_name("games.json").read_text())
BESIDE = json.load(open("games.json"))
app = Flask(__name__)
base = {base}

def rows():
    with sqlite3.connect(base) as connection:
        connection.execute("create table if not exists t (x)")
        if request.method == "POST":
            connection.execute("insert into t values (1)")
        return connection.execute("select count(*) from t").fetchone()[0]

@app.route("/", methods=["GET", "POST"])
def index():
    return {{"word": W, "games": [GAMES, BESIDE], "rows": rows(), "page": page()}}

def page():
    from flask import render_template
    return render_template("page.html")
"""
WAYS = {
    "absolute": 'sys.path.insert(0, "{folder}")',
    "resolved": "sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))",
    "linked": 'sys.path.insert(0, "{link}")',
}
BASES = {
    "beside": 'Path(__file__).parent / "data.db"',
    "instance": 'Path(app.instance_path) / "app.db"',
    "absolute": 'Path("{folder}") / "store.db"',
}


def made(project: Project, way: str = "absolute", base: str = "beside") -> Path:
    """Write an app that lives in a folder of its own; return the folder."""
    folder = project.folder / "srv"
    link = project.folder / "link"
    link.symlink_to(folder)
    names = {"folder": folder, "link": link}
    text = ENTRY.format(find=WAYS[way].format(**names), base=BASES[base].format(**names))
    write(folder, "coach.py", text)
    write(folder, "pkg/__init__.py", "")
    write(folder, "pkg/words.py", "W = 'kept'\n")
    write(folder, "games.json", '"kept"')
    write(folder, "templates/page.html", "kept")
    (folder / "instance").mkdir()
    project.app("coach", text, path=str(folder if way != "linked" else link), known_good_after_s=1)
    project.file("coach").unlink(missing_ok=True)
    return folder


def write(folder: Path, path: str, text: str) -> None:
    """Write a file, and the folders on the way to it."""
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)


def kept(project: Project) -> Running:
    """Start the app; return when it has been kept as known good."""
    running = project.start()
    wait_until_ready(running, "coach")
    eventually(
        lambda: "good" in project.command("releases", "coach").stdout,
        timeout_s=30,
        what="it is kept",
    )
    return running


def seen(project: Project, *, post: bool = False) -> dict[str, object]:
    """Return what the app answers."""
    answer = ask(project.port("coach"), "/", method="POST" if post else "GET")
    assert answer.status == 200, answer.text
    found: dict[str, object] = json.loads(answer.text)
    return found


@pytest.mark.parametrize("way", WAYS)
def test_a_broken_module_falls_back(project: Project, way: str) -> None:
    """Whatever folder the app inserts: the modules and files of the release serve."""
    folder = made(project, way)
    running = kept(project)
    assert seen(project, post=True)["rows"] == 1
    write(folder, "pkg/words.py", "raise RuntimeError('broken')\n")
    write(folder, "pkg/new.py", "")
    write(folder, "games.json", '"new"')
    write(folder, "templates/page.html", "new")
    running.stop()
    running = project.start()
    running.wait_for("coach", serving="last-known-good", timeout_s=30)
    found = seen(project)
    assert found == {"word": "kept", "games": ["kept", "kept"], "rows": 1, "page": "kept"}


@pytest.mark.parametrize("base", BASES)
def test_a_fallback_meets_its_database(project: Project, base: str) -> None:
    """What was stored before is there, and what is stored meanwhile stays after the repair."""
    folder = made(project, base=base)
    running = kept(project)
    for _ in range(3):
        seen(project, post=True)
    before = {path: path.read_bytes() for path in releases(project) if path.is_file()}
    write(folder, "pkg/words.py", "W = \n")
    assert project.command("restart", "coach").returncode == 0
    running.wait_for("coach", serving="last-known-good", timeout_s=30)
    assert seen(project, post=True)["rows"] == 4
    assert {path: path.read_bytes() for path in releases(project) if path.is_file()} == before
    write(folder, "pkg/words.py", "W = 'repaired'\n")
    running.wait_for("coach", serving="app", status="pass", timeout_s=30)
    found = seen(project)
    assert (found["rows"], found["word"]) == (4, "repaired")
    assert sum(1 for one in folder.rglob("*.db") if sqlite3.connect(one).close() is None) == 1


def releases(project: Project) -> list[Path]:
    """Return everything below the folder of releases."""
    return list((project.folder / ".flask-supervisor" / "releases").rglob("*"))
