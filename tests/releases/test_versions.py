"""Which version is live, and how versions differ."""

import subprocess
from dataclasses import replace
from pathlib import Path

from app_code_case import INCLUDE, WALL

from supervisor.releases import operations, versions
from supervisor.releases.app_code import AppCode
from supervisor.releases.operations import answer


def test_stamps_without_knowing_what_is_imported(code: AppCode) -> None:
    """Before the first import, every file that may be imported has a stamp."""
    unknown = replace(code, include=())
    before = versions.stamps(unknown)
    assert set(INCLUDE) <= {path.split("/")[0] for path in before}
    assert "notes.txt" not in before
    assert operations.keep_good(code, before, WALL)["written"]


def test_what_differs(tmp_path: Path, code: AppCode) -> None:
    """Between two releases, or what is in place and one."""
    operations.keep_good(code, None, WALL)
    assert versions.difference(code, "1", "live") == {"added": [], "removed": [], "changed": []}
    (code.path / "helper.py").unlink()
    (code.path / "app.py").write_text("")
    (code.path / "pkg/new.py").write_text("")
    expected = {"added": ["pkg/new.py"], "removed": ["helper.py"], "changed": ["app.py"]}
    assert versions.difference(code, "1", "live") == expected
    operations.keep_live(code, "", WALL)
    assert versions.difference(code, "1", "2") == expected
    back = versions.difference(code, "live", "1")
    assert (back["added"], back["removed"]) == (expected["removed"], expected["added"])
    answered = answer(versions.difference, code, "1", "nosuch")
    assert "there is no release 'nosuch'" in answered["reason"]


def test_a_version_with_a_commit(tmp_path: Path, code: AppCode) -> None:
    """A release holds the commit, and whether the code was as committed."""

    def git(*words: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        done = subprocess.run(
            ["git", *who, *words], cwd=code.path, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "-q")
    git("add", *INCLUDE)
    git("commit", "-q", "-m", "first")
    kept = operations.keep_good(code, None, WALL)
    assert kept["git"]["commit"] == git("rev-parse", "HEAD")
    (code.path / "app.py").write_text("changed")
    assert versions.describe(code, None)["dirty"] is True
