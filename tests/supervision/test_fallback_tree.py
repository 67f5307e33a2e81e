"""A fallback of apps that find their modules and data in the ways that real apps do."""

import sqlite3
from pathlib import Path

import pytest
from harness import Project, eventually
from real_app import BASES, LOADERS, WAYS, answer, make_app, start_kept, write


@pytest.mark.parametrize("way", WAYS)
def test_a_broken_module_falls_back(project: Project, way: str) -> None:
    """Whatever folder the app inserts: the modules and files of the release serve."""
    folder = make_app(project, way)
    running = start_kept(project)
    assert answer(project, post=True)["rows"] == 1
    write(folder, "pkg/words.py", "raise RuntimeError('broken')\n")
    write(folder, "pkg/new.py", "")
    write(folder, "games.json", '"new"')
    write(folder, "templates/page.html", "new")
    running.stop()
    running = project.start()
    running.wait_for("coach", serving="last-known-good", timeout_s=30)
    found = answer(project)
    assert found == {"word": "kept", "games": ["kept", "kept"], "rows": 1, "page": "kept"}


@pytest.mark.parametrize("load", LOADERS)
def test_a_source_that_is_run_by_its_path_falls_back(project: Project, load: str) -> None:
    """It belongs to the release as modules do, also when Python has compiled it before."""
    folder = make_app(project, load=load)
    start_kept(project).stop()
    write(folder, "games.json", '"kept again"')
    running = project.start()
    eventually(
        lambda: project.command("releases", "coach").stdout.count("good") == 2,
        timeout_s=30,
        what="the second version is kept",
    )
    write(folder, "pkg/words.py", "W = = 1\n")
    running.stop()
    running = project.start()
    running.wait_for("coach", serving="last-known-good", timeout_s=30)
    assert (answer(project)["word"], answer(project)["games"]) == ("kept", ["kept again"] * 2)


@pytest.mark.parametrize("base", BASES)
def test_a_fallback_meets_its_database(project: Project, base: str) -> None:
    """What was stored before is there, and what is stored meanwhile stays after the repair."""
    folder = make_app(project, base=base)
    running = start_kept(project)
    for _ in range(3):
        answer(project, post=True)
    before = {path: path.read_bytes() for path in releases(project) if path.is_file()}
    write(folder, "pkg/words.py", "W = \n")
    assert project.command("restart", "coach").returncode == 0
    running.wait_for("coach", serving="last-known-good", timeout_s=30)
    assert answer(project, post=True)["rows"] == 4
    assert {path: path.read_bytes() for path in releases(project) if path.is_file()} == before
    write(folder, "pkg/words.py", "W = 'repaired'\n")
    running.wait_for("coach", serving="app", status="pass", timeout_s=30)
    found = answer(project)
    assert (found["rows"], found["word"]) == (4, "repaired")
    assert sum(1 for one in folder.rglob("*.db") if sqlite3.connect(one).close() is None) == 1


def releases(project: Project) -> list[Path]:
    """Return everything below the folder of releases."""
    return list((project.folder / ".flask-supervisor" / "releases").rglob("*"))
