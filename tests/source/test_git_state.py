"""The commit that an app runs from, and whether it is as committed: on real repositories."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from operating_case import open_folder

from supervisor.process.throwaway import call_in_child
from supervisor.source.git_state import git_state

pytestmark = pytest.mark.debian("git")

WHO = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]


def git(folder: Path, *words: str) -> str:
    """Run git as an operator would, and return what it prints."""
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


def make_checkout(top: Path) -> Path:
    """Create a repository with an app in a folder, all committed; return its folder."""
    (top / "src/app").mkdir(parents=True)
    git(top, "init", "-q", "-b", "main", ".")
    (top / "src/app/__init__.py").write_text("")
    (top / "src/other.py").write_text("")
    (top / ".gitignore").write_text("__pycache__/\n")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "first")
    return top


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a repository with an app in a folder, all committed."""
    return make_checkout(tmp_path / "repository")


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
    """Not even git's index is refreshed: the query does not wear the SD card."""
    os.utime(checkout / "src/app/__init__.py", (1, 1))
    before = {path: path.stat().st_mtime_ns for path in (checkout / ".git").rglob("*")}
    git_state(checkout / "src", ["app"])
    assert {path: path.stat().st_mtime_ns for path in (checkout / ".git").rglob("*")} == before


# ---- repositories that run programs


def set_filter(top: Path, trap: Path) -> None:
    """Make git pass files through a program before it compares them."""
    git(top, "config", "filter.trap.clean", f"{trap}; cat")
    (top / ".git/info/attributes").write_text("* filter=trap\n")


def set_included_filter(top: Path, trap: Path) -> None:
    """Set the filter in another file that the configuration includes."""
    other = top.parent / "other-config"
    git(top, "config", "-f", str(other), "filter.trap.process", str(trap))
    git(top, "config", "include.path", str(other))
    (top / ".gitattributes").write_text("* filter=trap\n")


def set_monitor(top: Path, trap: Path) -> None:
    """Make git ask a program which files have changed."""
    git(top, "config", "core.fsmonitor", str(trap))


def set_textconv(top: Path, trap: Path) -> None:
    """Make git convert files to text for a diff."""
    git(top, "config", "diff.trap.textconv", str(trap))
    (top / ".git/info/attributes").write_text("* diff=trap\n")


def set_external_diff(top: Path, trap: Path) -> None:
    """Make git run a program for each diff."""
    git(top, "config", "diff.external", str(trap))


def set_hook(top: Path, trap: Path) -> None:
    """Make git run a hook when it has written its index."""
    shutil.copy(trap, top / ".git/hooks/post-index-change")


TRAPS: dict[str, tuple[Callable[[Path, Path], None], str, bool | None]] = {
    "clean filter": (set_filter, "status", None),
    "included filter": (set_included_filter, "status", None),
    "file system monitor": (set_monitor, "status", True),
    "textconv": (set_textconv, "diff", True),
    "external diff": (set_external_diff, "diff", True),
    "hook": (set_hook, "status", True),
}


@pytest.mark.parametrize(("arm", "command", "dirty"), TRAPS.values(), ids=TRAPS)
def test_what_a_repository_configures_is_not_run(
    checkout: Path, arm: Callable[[Path, Path], None], command: str, dirty: bool | None
) -> None:
    """git would run each of these programs; with a filter, ``dirty`` is unknown."""
    was_run = checkout.parent / "was-run"
    trap = checkout.parent / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {was_run}\n")
    trap.chmod(0o755)
    arm(checkout, trap)
    (checkout / "src/app/__init__.py").write_text("changed")
    os.utime(checkout / "src/other.py", (1, 1))
    commit = git(checkout, "rev-parse", "HEAD")
    assert git_state(checkout / "src", ["app"]) == {"commit": commit, "dirty": dirty}
    assert not was_run.exists()
    subprocess.run(["git", command], cwd=checkout, capture_output=True, check=False, timeout=60)
    assert was_run.exists()  # the trap works


def test_missing_objects_are_not_fetched(checkout: Path, tmp_path: Path) -> None:
    """A partial clone fetches what it lacks, with a program that its configuration names."""
    was_run = tmp_path / "was-run"
    git(checkout, "config", "remote.origin.url", str(checkout))
    git(checkout, "config", "remote.origin.promisor", "true")
    git(checkout, "config", "remote.origin.uploadpack", f"touch {was_run};")
    git(checkout, "config", "extensions.partialClone", "origin")
    tree = git(checkout, "rev-parse", "HEAD^{tree}")
    (checkout / ".git/objects" / tree[:2] / tree[2:]).unlink()
    commit = git(checkout, "rev-parse", "HEAD")
    assert git_state(checkout / "src", ["app"]) == {"commit": commit, "dirty": None}
    assert not was_run.exists()
    subprocess.run(["git", "status"], cwd=checkout, capture_output=True, check=False, timeout=60)
    assert was_run.exists()


def test_configuration_from_elsewhere_is_not_read(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither that of the user nor that in variables: the answer depends on the checkout alone."""
    (tmp_path / ".gitconfig").write_text("[status]\nshowUntrackedFiles = no\n[garbage\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "garbage")
    (checkout / "src/app/new.py").touch()
    found = git_state(checkout / "src", ["app"])
    assert found is not None
    assert found["dirty"] is True


# ---- repositories of others

STRANGER = 1000
THEIRS = [".", "src", ".git", ".git/config", ".git/index", ".git/info/exclude"]


@pytest.mark.root
@pytest.mark.parametrize("path", THEIRS)
def test_a_repository_that_another_user_can_change(checkout: Path, path: str) -> None:
    """git is not called: the owner of one of these decides what it runs."""
    os.chown(checkout / path, STRANGER, STRANGER)
    if path == "src":  # below the repository
        assert git_state(checkout / "src", ["app"])
        (checkout / "src/.git").mkdir()
        os.chown(checkout / "src/.git", STRANGER, STRANGER)
    assert git_state(checkout / "src", ["app"]) is None


@pytest.mark.root
def test_a_parent_of_another_user(checkout: Path) -> None:
    """Who owns a folder on the way can put another repository in the place of this one."""
    os.chown(checkout.parent, STRANGER, STRANGER)
    assert git_state(checkout / "src", ["app"]) is None


def test_a_folder_that_everybody_may_write_to(checkout: Path) -> None:
    """Anybody can replace the repository there, unless the sticky bit is set, as on /tmp."""
    checkout.parent.chmod(0o777)
    assert git_state(checkout / "src", ["app"]) is None
    checkout.parent.chmod(0o1777)
    assert git_state(checkout / "src", ["app"])


def test_a_repository_behind_a_link(checkout: Path, tmp_path: Path) -> None:
    """A link may lead anywhere, later too."""
    (checkout / ".git").rename(tmp_path / "moved")
    (checkout / ".git").symlink_to(tmp_path / "moved")
    assert git_state(checkout / "src", ["app"]) is None


@pytest.mark.root
def test_a_repository_of_root() -> None:
    """A service without privileges trusts root's checkout."""
    with open_folder() as folder:
        top = make_checkout(folder / "repository")
        commit = git(top, "rev-parse", "HEAD")

        def as_stranger() -> dict[str, Any] | None:
            os.setuid(STRANGER)
            return git_state(top / "src", ["app"])

        assert call_in_child(as_stranger, timeout_s=60) == {"commit": commit, "dirty": False}


def test_without_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known then."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert git_state(checkout / "src", ["app"]) is None


def test_a_git_that_hangs(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended after the timeout."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "bin/git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    assert git_state(checkout / "src", ["app"], timeout_s=0.2) is None


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
    """There is no state then; the app is served all the same."""
    damage(checkout / ".git")
    assert git_state(checkout / "src", ["app"]) is None


def test_no_repository(tmp_path: Path) -> None:
    """Most folders are no checkout."""
    assert git_state(tmp_path, ["app"]) is None
