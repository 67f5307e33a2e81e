"""The swap of an app's files: at whatever step it ends, the old or the new version is there."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from importing_case import write
from swap_case import DATA, SHAPES, Case, end_after, folders, manifest, snapshot

from supervisor.releases import swap
from supervisor.releases.swap import Recovered


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """Return a live tree whose folders can, or can't, be moved as a whole."""
    return Case(tmp_path, request.param)


def steps_of(run: Callable[[Callable[[str], None]], None]) -> list[str]:
    """Return the names of all steps of a run."""
    seen: list[str] = []
    run(seen.append)
    return seen


def test_a_deploy_and_its_undo(case: Case) -> None:
    """After the swap the new version is there, after an undo the old one; others are untouched."""
    before = folders(case.root)
    case.deploy_and_undo(lambda _step: None)
    assert snapshot(case.root) == case.old
    assert folders(case.root) == before
    case.deploy(lambda _step: None)
    assert snapshot(case.root) == case.new
    assert manifest(case.root) == manifest(case.new_source)
    assert swap.recover(case.root) is Recovered.NOTHING


def test_killed_at_any_step_of_a_deploy(case: Case) -> None:
    """Wherever a deploy ends, the next start has one version, entirely, and nothing to clean."""
    steps = steps_of(case.deploy)
    assert len(steps) > 15
    final = steps.index("final")
    for number, step in enumerate(steps):
        case.reset()
        end_after(case.deploy, number)
        found = swap.recover(case.root)
        wanted = case.new if number >= final else case.old
        assert snapshot(case.root) == wanted, f"killed after {step!r}"
        expected = Recovered.UNDONE if steps.index("journal") <= number < final else Recovered.SCRAP
        assert found is (Recovered.NOTHING if step == "clean" else expected), step
        assert swap.recover(case.root) is Recovered.NOTHING
        case.deploy(lambda _step: None)  # and the next one works
        assert snapshot(case.root) == case.new


def test_killed_at_any_step_of_an_undo(case: Case) -> None:
    """Wherever an undo ends, the next start has the old version."""
    steps = steps_of(case.deploy_and_undo)
    begun = steps.index("watched")
    for number in range(begun, len(steps)):
        case.reset()
        end_after(case.deploy_and_undo, number)
        swap.recover(case.root)
        assert snapshot(case.root) == case.old, f"killed after {steps[number]!r}"
        assert swap.recover(case.root) is Recovered.NOTHING


def test_killed_at_any_step_of_a_recovery(case: Case) -> None:
    """A recovery that is interrupted, however often, is continued by the next one."""

    def recover(hook: Callable[[str], None]) -> None:
        swap.recover(case.root, hook=hook)

    steps = steps_of(case.deploy)
    for reached in ("journal", "in app", "synced"):
        prefixes = [n for n, step in enumerate(steps) if step.startswith(reached)]
        at = prefixes[len(prefixes) // 2]
        case.reset()
        end_after(case.deploy, at)
        saved = case.root.with_name("saved")
        shutil.copytree(case.root, saved, symlinks=True)
        for number in range(len(steps_of(recover))):
            shutil.rmtree(case.root)
            shutil.copytree(saved, case.root, symlinks=True)
            end_after(recover, number)
            left = steps_of(recover)
            shutil.rmtree(case.root)
            shutil.copytree(saved, case.root, symlinks=True)
            end_after(recover, number)
            if left:
                end_after(recover, len(left) // 2)
            swap.recover(case.root)
            assert snapshot(case.root) == case.old, f"killed at {steps[at]!r}, then {number}"
        shutil.rmtree(saved)


def test_folders_go_as_a_whole_or_by_file(tmp_path: Path) -> None:
    """A folder of the app alone is one move; with data in it each file is one, and data stays."""
    whole, mixed = Case(tmp_path / "a", {}), Case(tmp_path / "b", DATA)
    assert "out app" in steps_of(whole.deploy)
    steps = steps_of(mixed.deploy)
    assert "out app" not in steps
    assert {"out app/__init__.py", "out app/removed/x.py", "in app/added"} <= set(steps)


def test_what_the_app_writes_meanwhile_is_not_lost(tmp_path: Path) -> None:
    """A file that comes into a moved folder is there afterwards, with either version."""

    def write_late(root: Path, at: str) -> Callable[[str], None]:
        def hook(step: str) -> None:
            if step == at:
                folder = root / "app" if (root / "app").exists() else root / swap.WORK / "old/app"
                (folder / "late.db").write_text("late")

        return hook

    for at in ("journal", "out app", "in app", "watched"):
        case = Case(tmp_path / at, {})
        case.deploy(write_late(case.root, at))
        assert snapshot(case.root) == {**case.new, "app/late.db": "late"}
        case.reset()
        case.deploy_and_undo(write_late(case.root, at))
        assert snapshot(case.root) == {**case.old, "app/late.db": "late"}


def test_a_folder_that_appears_between_two_renames(tmp_path: Path) -> None:
    """An app that creates its folder again between two renames stops nothing."""
    for run in (Case.deploy, Case.deploy_and_undo):
        case = Case(tmp_path / run.__name__, {})

        def create_again(step: str, root: Path = case.root) -> None:
            if step in ("out app", "back out app"):
                write(root, {"app/static/x.css": "in the way"})

        run(case, create_again)
        assert snapshot(case.root) == (case.new if run is Case.deploy else case.old)


def test_compiled_code_of_another_version_is_never_run(tmp_path: Path) -> None:
    """A new file with the size and time of the old one runs, though the old one was compiled."""
    root = tmp_path / "live"
    for folder, text in ((root, "A = 1\n"), (tmp_path / "source", "A = 2\n")):
        write(folder, {"run.py": text})
        os.utime(folder / "run.py", (1_000_000, 1_000_000))

    def run() -> str:
        command = [sys.executable, "-c", "import run; print(run.A)"]
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        found = subprocess.run(
            command, cwd=root, env=env, capture_output=True, text=True, check=True, timeout=60
        )
        return found.stdout.strip()

    assert run() == "1"
    assert list((root / "__pycache__").glob("run.*.pyc"))
    staged = swap.prepare(root)
    shutil.copytree(tmp_path / "source", staged, dirs_exist_ok=True)
    swap.begin(root, staged, include=["run.py"], old_paths=["run.py"], new_paths=["run.py"])
    assert run() == "2"
    swap.undo(root)
    assert run() == "1"


def test_what_is_not_to_be_staged_is_dropped(tmp_path: Path) -> None:
    """A database or a repository in the source never gets into the live tree."""
    case = Case(tmp_path, {})
    write(case.new_source, {"app/teams.db": "theirs", "app/.git/HEAD": "x", "README": "x"})
    case.deploy(lambda _step: None)
    assert snapshot(case.root) == case.new


@pytest.mark.root
def test_files_belong_to_whom_the_place_belongs_to(tmp_path: Path) -> None:
    """What root deploys can still be changed by the user who owns the tree."""
    case = Case(tmp_path, {})
    for path in [case.root, *case.root.rglob("*")]:
        os.chown(path, 1000, 1000)
    os.chown(case.root / "run.py", 1001, 1001)
    (case.new_source / "run.py").chmod(0o750)
    case.deploy(lambda _step: None)
    owners: dict[str, Any] = {}
    for path in case.root.rglob("*"):
        owners.setdefault(path.stat().st_uid, []).append(path)
    assert owners.pop(1001) == [case.root / "run.py"]
    assert list(owners) == [1000]
    assert (case.root / "run.py").stat().st_mode & 0o777 == 0o750
