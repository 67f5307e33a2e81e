"""The files of an app from the first release to a rollback, on real folders and archives."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from app_code_case import (
    OTHERS,
    TARGET,
    WALL,
    deploy,
    files_of,
    make_source,
    prepare,
    snapshot,
)
from importing_case import write
from swap_case import end_after

from supervisor.process import fork
from supervisor.process.throwaway import call_in_child
from supervisor.releases import operations, staging, swap, versions
from supervisor.releases.app_code import AppCode
from supervisor.releases.operations import answer
from supervisor.releases.replacement import Mode


def test_what_was_imported_is_kept(code: AppCode) -> None:
    """What the app imported, with templates and static files, and nothing else."""
    before = versions.stamps(code)
    kept = operations.keep_good(code, before, WALL)
    assert kept["written"]
    [release] = code.store.good("coach")
    assert snapshot(release.files) == files_of(1)
    again = operations.keep_good(code, before, WALL)
    assert (again["name"], again["written"]) == (kept["name"], False)


@pytest.mark.parametrize("path", ["app.py", "templates/index.html", "pkg/new.py"])
def test_a_file_changed_since_the_start(code: AppCode, path: str) -> None:
    """What is on the disk now has not served: it is not kept, and neither is a mixture."""
    before = versions.stamps(code)
    (code.path / path).write_text("changed")
    answered = answer(operations.keep_good, code, before, WALL)
    assert not answered["ok"]
    assert f"{path} has changed since app 'coach' started" in answered["reason"]
    assert not code.store.all_of("coach")
    described = answer(versions.describe, code, before)
    assert not described["ok"]
    assert versions.describe(code, None)["digest"]


def test_it_runs_in_a_child(code: AppCode) -> None:
    """Answers are JSON, errors too: the main process calls them in a child."""
    before = versions.stamps(code)
    assert call_in_child(answer, operations.keep_good, code, before, WALL, timeout_s=60)["ok"]
    (code.path / "app.py").unlink()
    found = call_in_child(answer, operations.keep_good, code, before, WALL, timeout_s=60)
    assert (found["ok"], bool(found["reason"])) == (False, True)


@pytest.mark.parametrize("kind", ["folder", "archive", "wrapped"])
def test_a_deploy_and_the_way_back(tmp_path: Path, code: AppCode, kind: str) -> None:
    """Afterwards the app's files are exactly the source's, and all others are as they were."""
    operations.keep_good(code, None, WALL)
    assert deploy(code, make_source(tmp_path, 2, kind))["ok"]
    assert snapshot(code.path) == {**files_of(2), **OTHERS}
    listed = versions.listing(code)["releases"]
    assert [(r["number"], r["good"], r["live"]) for r in listed] == [(1, True, False)]
    staged = staging.stage_release(code, None)
    assert staged["name"] == listed[0]["name"]
    folder = Path(staged["staged"])
    plan = prepare(code, folder, staged["include"], Mode(is_rollback=True))
    operations.put_in_place(code, folder, plan)
    operations.make_final(code, plan)
    assert snapshot(code.path) == {**files_of(1), **OTHERS}
    listed = versions.listing(code)["releases"]
    assert [(r["number"], r["live"], r["last_good"]) for r in listed] == [
        (2, False, False),
        (1, True, True),
    ]
    assert operations.recover([code.path]) == {"undone": [], "problems": []}


@pytest.mark.root
def test_root_deploys_behind_a_link_of_the_apps_owner(tmp_path: Path, code: AppCode) -> None:
    """``current`` that the app's user turns to a version is no reason to refuse a deploy."""
    for path in (tmp_path, code.path, *code.path.rglob("*")):
        os.chown(path, 1000, 1000)
    (tmp_path / "current").symlink_to(code.path)
    os.lchown(tmp_path / "current", 1000, 1000)
    assert deploy(replace(code, path=tmp_path / "current"), make_source(tmp_path, 2))["ok"]
    assert snapshot(code.path) == {**files_of(2), **OTHERS}
    assert (code.path / "app.py").stat().st_uid == 1000


def test_modules_that_come_and_go(tmp_path: Path, code: AppCode) -> None:
    """A new module that is imported is deployed, one that the version lacks is removed."""
    source = make_source(tmp_path, 2, "folder", **{"fresh.py": "", "unused.txt": ""})
    (source / "helper.py").unlink()
    write(source, {"app.py": "import fresh\nfrom pkg import inner\ndef app(*_): return []\n"})
    assert deploy(code, source)["ok"]
    found = snapshot(code.path)
    assert "fresh.py" in found
    assert "helper.py" not in found
    assert "unused.txt" not in found


def test_what_another_app_needs_stays(tmp_path: Path, code: AppCode) -> None:
    """A shared module that the new version doesn't bring is not taken from the other app."""
    shared = replace(code, others=("helper.py", "other_app.py"))
    source = make_source(tmp_path, 2)
    (source / "helper.py").unlink()
    write(source, {"app.py": "from pkg import inner\ndef app(*_): return []\n"})
    assert deploy(shared, source)["ok"]
    assert snapshot(code.path)["helper.py"] == files_of(1)["helper.py"]


def test_an_edit_in_the_middle_is_not_lost(tmp_path: Path, code: AppCode) -> None:
    """A file that changed after it was kept is not replaced."""
    staged = Path(staging.stage_source(code, make_source(tmp_path, 2), False)["staged"])
    plan = prepare(code, staged)
    (code.path / "helper.py").write_text("precious")
    answered = answer(operations.put_in_place, code, staged, plan)
    assert "changed while it was being replaced" in answered["reason"]
    operations.take_back(code)
    assert (code.path / "helper.py").read_text() == "precious"


def test_killed_at_any_step(tmp_path: Path, code: AppCode) -> None:
    """Wherever it ends, the next start finds one version; the release kept before is whole."""
    source = make_source(tmp_path, 2)
    saved = tmp_path / "saved"
    shutil.copytree(code.path, saved)

    def run(hook: Any) -> None:
        staged = Path(staging.stage_source(code, source, False)["staged"])
        hook("staged")
        staging.try_staged(code, staged, TARGET, {}, 30.0)
        hook("tried")
        plan = prepare(code, staged)
        hook("kept")
        operations.put_in_place(code, staged, plan, hook)
        hook("in place")
        operations.make_final(code, plan)
        hook("final")

    def in_child(hook: Any) -> None:
        # the threads of pytest-xdist, which count as an emulator's, are not in this process
        fork._EMULATOR_THREADS = 0
        run(hook)

    steps: list[str] = []
    run(steps.append)
    for number, step in enumerate(steps):
        shutil.rmtree(code.path)
        shutil.copytree(saved, code.path)
        shutil.rmtree(code.state_dir, ignore_errors=True)
        end_after(in_child, number)
        found = operations.recover([code.path])
        assert not found["problems"]
        version = 2 if step == "final" else 1
        assert snapshot(code.path) == {**files_of(version), **OTHERS}, step
        for release in code.store.all_of("coach"):
            assert code.store.faults(release) == []


def test_a_broken_file_is_repaired_and_kept(code: AppCode) -> None:
    """A broken file was copied over: the good one comes back, and the broken one isn't lost."""
    operations.keep_good(code, None, WALL)
    (code.path / "app.py").write_text("import field_trainer.settings_manager\n")
    staged = staging.stage_release(code, None)
    folder = Path(staged["staged"])
    plan = prepare(code, folder, staged["include"], Mode(is_rollback=True))
    operations.put_in_place(code, folder, plan)
    operations.make_final(code, plan)
    assert snapshot(code.path) == {**files_of(1), **OTHERS}
    newest = code.store.all_of("coach")[0]
    assert (newest.files / "app.py").read_text() == "import field_trainer.settings_manager\n"
    assert newest.note == "before"


def test_recovering_beside_a_damaged_journal(tmp_path: Path, code: AppCode) -> None:
    """A damaged journal in one folder is reported, and the other folders are restored."""
    staged = Path(staging.stage_source(code, make_source(tmp_path, 2), False)["staged"])
    operations.put_in_place(code, staged, prepare(code, staged))
    bad = tmp_path / "bad"
    (bad / swap.WORK).mkdir(parents=True)
    (bad / swap.WORK / "journal.json").write_text("{")
    found = operations.recover([bad, code.path, tmp_path / "nosuch"])
    assert found["undone"] == [str(code.path)]
    [problem] = found["problems"]
    assert "journal of a deploy is damaged" in problem
    assert snapshot(code.path) == {**files_of(1), **OTHERS}
