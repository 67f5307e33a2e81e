"""Deploys and rollbacks of an app that puts its own absolute folder on sys.path."""

import shutil
from pathlib import Path

import pytest
from harness import Project
from real_app import WAYS, answer, make_app, start_kept, write


def copy_of(project: Project, folder: Path) -> Path:
    """Copy the app's code to where a new version is prepared; return the copy."""
    source = project.folder / "version"
    shutil.copytree(folder, source, ignore=shutil.ignore_patterns("*.db", "__pycache__", ".*"))
    return source


@pytest.mark.parametrize("way", WAYS)
def test_a_complete_version_goes_live(project: Project, way: str) -> None:
    """A module that only the new version has is found in it, before it is in place."""
    folder = make_app(project, way, keys={"deploy_watch_s": 0.5})
    running = start_kept(project)
    answer(project, post=True)
    source = copy_of(project, folder)
    write(source, "pkg/words.py", "from pkg.new import W\n")
    write(source, "pkg/new.py", "W = 'second'\n")
    write(source, "games.json", '"second"')
    result = project.command("deploy", "coach", str(source))
    assert result.returncode == 0, result.stderr
    found = answer(project)
    assert found == {"word": "second", "games": ["second", "second"], "rows": 1, "page": "kept"}
    assert running.app("coach")["status"] == "pass"


def test_a_version_that_lacks_a_module_is_refused(project: Project) -> None:
    """The live module does not stand in for it; nothing has changed."""
    folder = make_app(project)
    running = start_kept(project)
    pid = running.worker("coach")
    source = copy_of(project, folder)
    (source / "pkg" / "words.py").unlink()
    result = project.command("deploy", "coach", str(source))
    assert result.returncode == 1
    assert "SOURCE lacks pkg/words.py, which app 'coach' has" in result.stderr
    result = project.command("deploy", "coach", str(source), "--delete")
    assert result.returncode == 1
    assert "No module named 'pkg.words'" in result.stderr
    assert running.worker("coach") == pid
    assert answer(project)["word"] == "kept"


@pytest.mark.parametrize("way", WAYS)
def test_a_broken_module_is_rolled_back(project: Project, way: str) -> None:
    """The very break that the rollback undoes is no reason to refuse it."""
    folder = make_app(project, way, keys={"deploy_watch_s": 0.5})
    running = start_kept(project)
    answer(project, post=True)
    write(folder, "pkg/words.py", "raise RuntimeError('broken')\n")
    write(folder, "games.json", '"broken"')
    assert project.command("restart", "coach").returncode == 0
    running.wait_for("coach", serving="last-known-good", timeout_s=30)
    result = project.command("rollback", "coach")
    assert result.returncode == 0, result.stderr
    running.wait_for("coach", serving="app", status="pass", timeout_s=30)
    found = answer(project)
    assert found == {"word": "kept", "games": ["kept", "kept"], "rows": 1, "page": "kept"}
    assert (folder / "pkg" / "words.py").read_text() == "W = 'kept'\n"
