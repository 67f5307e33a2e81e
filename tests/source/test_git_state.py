"""The commit that an app runs from, and whether it is as committed: on real repositories."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.source.git_state import git_state

pytestmark = pytest.mark.debian("git")

WHO = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]


def git(folder: Path, *words: str) -> str:
    """Run git, and give what it prints."""
    environment = {name: v for name, v in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *WHO, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Give a repository with an app in a folder, all committed."""
    top = tmp_path / "repository"
    (top / "src/app").mkdir(parents=True)
    git(tmp_path, "init", "-q", "-b", "main", str(top))
    (top / "src/app/__init__.py").write_text("")
    (top / "src/other.py").write_text("")
    (top / ".gitignore").write_text("__pycache__/\n")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "first")
    return top


def test_a_clean_checkout(checkout: Path) -> None:
    """The commit is known, and nothing differs; compiled code is ignored as git ignores it."""
    (checkout / "src/app/__pycache__").mkdir()
    (checkout / "src/app/__pycache__/x.pyc").write_text("")
    found = git_state(checkout / "src", ["app"])
    assert found == {"commit": git(checkout, "rev-parse", "HEAD"), "dirty": False}


CHANGES: dict[str, Callable[[Path], object]] = {
    "changed": lambda top: (top / "src/app/__init__.py").write_text("x"),
    "staged": lambda top: ((top / "src/app/__init__.py").write_text("x"), git(top, "add", ".")),
    "added": lambda top: (top / "src/app/new.py").write_text("x"),
    "removed": lambda top: (top / "src/app/__init__.py").unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_code_that_nobody_committed(checkout: Path, change: Callable[[Path], object]) -> None:
    """Whatever differs from the commit makes it dirty."""
    change(checkout)
    found = git_state(checkout / "src", ["app"])
    assert found is not None
    assert found["dirty"] is True


def test_only_the_apps_own_files_count(checkout: Path) -> None:
    """A change elsewhere in the repository is none of the app's."""
    (checkout / "src/other.py").write_text("changed")
    assert git_state(checkout / "src", ["app"]) == {
        "commit": git(checkout, "rev-parse", "HEAD"),
        "dirty": False,
    }


def test_where_the_commit_stands(checkout: Path, tmp_path: Path) -> None:
    """On a branch, packed, with a detached head, in a worktree: as git says."""

    def is_right(top: Path) -> bool:
        found = git_state(top / "src", ["app"])
        return found == {"commit": git(top, "rev-parse", "HEAD"), "dirty": False}

    git(checkout, "pack-refs", "--all")
    assert is_right(checkout)
    git(checkout, "commit", "-q", "--allow-empty", "-m", "second")
    assert is_right(checkout)
    git(checkout, "checkout", "-q", "--detach", "HEAD~1")
    assert is_right(checkout)
    git(checkout, "worktree", "add", "-q", "-b", "side/branch", str(tmp_path / "worktree"))
    assert is_right(tmp_path / "worktree")


def test_nothing_is_written(checkout: Path) -> None:
    """Not even git's index is refreshed: looking wears no SD card."""
    os.utime(checkout / "src/app/__init__.py", (1, 1))
    before = {path: path.stat().st_mtime_ns for path in (checkout / ".git").rglob("*")}
    git_state(checkout / "src", ["app"])
    assert {path: path.stat().st_mtime_ns for path in (checkout / ".git").rglob("*")} == before


def test_what_a_repository_configures_is_not_run(checkout: Path, tmp_path: Path) -> None:
    """A file system monitor, for one, would be any command at all."""
    script = tmp_path / "monitor"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    script.chmod(0o755)
    git(checkout, "config", "core.fsmonitor", str(script))
    assert git_state(checkout / "src", ["app"])
    assert not (tmp_path / "was-run").exists()


@pytest.mark.root
def test_a_checkout_of_another_user(checkout: Path) -> None:
    """Root sees the state of a tree that belongs to somebody else."""
    for path in [checkout, *checkout.rglob("*")]:
        os.lchown(path, 1000, 1000)
    found = git_state(checkout / "src", ["app"])
    assert found is not None
    assert found["dirty"] is False


def test_without_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit is known still, and that nobody can tell of changes."""
    commit = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert git_state(checkout / "src", ["app"]) == {"commit": commit, "dirty": None}


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no head": lambda folder: (folder / "HEAD").unlink(),
    "empty head": lambda folder: (folder / "HEAD").write_text(""),
    "garbage": lambda folder: (folder / "HEAD").write_bytes(b"\xff\0"),
    "a circle": lambda folder: (
        (folder / "HEAD").write_text("ref: refs/heads/main"),
        (folder / "refs/heads/main").write_text("ref: refs/heads/main"),
    ),
    "leads out": lambda folder: (folder / "HEAD").write_text("ref: refs/../../../secret"),
    "no commit yet": lambda folder: (folder / "HEAD").write_text("ref: refs/heads/new"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_repository(checkout: Path, damage: Callable[[Path], object]) -> None:
    """Nothing is known then; an app is served from it all the same."""
    damage(checkout / ".git")
    assert git_state(checkout / "src", ["app"]) is None


def test_no_repository(tmp_path: Path) -> None:
    """Most folders are no checkout."""
    assert git_state(tmp_path, ["app"]) is None
