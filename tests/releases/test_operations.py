"""The files of an app from the first release to a rollback, on real folders and archives."""

import os
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from importing_case import write

from supervisor.process import fork
from supervisor.process.throwaway import call_in_child
from supervisor.releases import operations, swap
from supervisor.releases.operations import AppCode, answer

WALL = "2026-03-01T12:00:00Z"
TARGET = "app:app"

VERSION = """
import helper
from pkg import inner
VERSION = {number}
def app(environ, start_response):
    return []
"""


def files_of(number: int) -> dict[str, str]:
    """Give the files of a version of the app, with siblings, templates and static files."""
    return {
        "app.py": VERSION.format(number=number),
        "helper.py": f"H = {number}\n",
        "pkg/__init__.py": "",
        "pkg/inner.py": f"I = {number}\n",
        "templates/index.html": f"<p>{number}",
        "static/style.css": f"/* {number} */",
    }


OTHERS = {"other_app.py": "", "notes.txt": "mine", "data/teams.db": "data", "pkg/cache.db": "data"}
INCLUDE = ("app.py", "helper.py", "pkg", "static", "templates")


@pytest.fixture
def code(tmp_path: Path) -> AppCode:
    """Give the code of an app, version 1, in a folder with other things."""
    live = tmp_path / "live"
    write(live, {**files_of(1), **OTHERS})
    return AppCode(app="coach", path=live, include=INCLUDE, state_dir=tmp_path / "state")


def snapshot(folder: Path) -> dict[str, str]:
    """Give all files below a folder, without compiled ones."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def deploy(code: AppCode, source: Path, *, explicit: bool = False) -> dict[str, Any]:
    """Do all that a deploy does with files; gives what `put_in_place` answers."""
    staged = Path(operations.stage_source(code, source, explicit)["staged"])
    tried = operations.try_staged(code, staged, TARGET, {}, 30.0)
    kept = operations.keep_live(code, "before a deploy", WALL)
    include = {*code.include, *tried["imported"]}
    answered = answer(operations.put_in_place, code, staged, include, kept["fingerprints"])
    if answered["ok"]:
        operations.make_final(code)
    else:
        operations.take_back(code)
    return answered


def make_source(tmp_path: Path, number: int, kind: str = "folder", **extra: str) -> Path:
    """Make what is to be deployed."""
    folder = tmp_path / f"version-{number}"
    write(folder, {**files_of(number), **extra})
    if kind == "folder":
        return folder
    archive = tmp_path / f"version-{number}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "coach-main" if kind == "wrapped" else ".")
    return archive


# ---- known good


def test_what_was_imported_is_kept(code: AppCode) -> None:
    """What the app imported, with templates and static files, and nothing else."""
    before = operations.fingerprints(code)
    kept = operations.keep_good(code, before, WALL)
    assert kept["written"]
    [release] = code.store.good("coach")
    assert snapshot(release.files) == files_of(1)
    again = operations.keep_good(code, before, WALL)
    assert (again["name"], again["written"]) == (kept["name"], False)


@pytest.mark.parametrize("path", ["app.py", "templates/index.html", "pkg/new.py"])
def test_a_file_changed_since_the_start(code: AppCode, path: str) -> None:
    """What is on the disk now was never shown to work: no release of it, and no mixture."""
    before = operations.fingerprints(code)
    (code.path / path).write_text("changed")
    answered = answer(operations.keep_good, code, before, WALL)
    assert not answered["ok"]
    assert f"{path.split('/')[0]} has changed since app 'coach' started" in answered["reason"]
    assert not code.store.all_of("coach")
    described = answer(operations.describe, code, before)
    assert not described["ok"]
    assert operations.describe(code, None)["digest"]


def test_fingerprints_without_knowing_what_is_imported(code: AppCode) -> None:
    """Before the first import everything that may be imported is looked at."""
    unknown = replace(code, include=())
    before = operations.fingerprints(unknown)
    assert set(INCLUDE) <= set(before)
    assert "notes.txt" not in before
    assert operations.keep_good(code, before, WALL)["written"]


def test_it_runs_in_a_child(code: AppCode) -> None:
    """Answers are JSON, errors too: the main process has them done in a child."""
    before = operations.fingerprints(code)
    assert call_in_child(answer, operations.keep_good, code, before, WALL, timeout_s=60)["ok"]
    (code.path / "app.py").unlink()
    found = call_in_child(answer, operations.keep_good, code, before, WALL, timeout_s=60)
    assert (found["ok"], bool(found["reason"])) == (False, True)


# ---- deploy


@pytest.mark.parametrize("kind", ["folder", "archive", "wrapped"])
def test_a_deploy_and_the_way_back(tmp_path: Path, code: AppCode, kind: str) -> None:
    """Afterwards the app's files are exactly the source's, and all others are as they were."""
    operations.keep_good(code, None, WALL)
    assert deploy(code, make_source(tmp_path, 2, kind))["ok"]
    assert snapshot(code.path) == {**files_of(2), **OTHERS}
    listed = operations.listing(code)["releases"]
    assert [(r["number"], r["good"], r["live"]) for r in listed] == [(1, True, False)]
    staged = operations.stage_release(code, None)
    assert staged["name"] == listed[0]["name"]
    kept = operations.keep_live(code, "before a rollback", WALL)
    operations.put_in_place(code, Path(staged["staged"]), staged["include"], kept["fingerprints"])
    operations.make_final(code)
    assert snapshot(code.path) == {**files_of(1), **OTHERS}
    listed = operations.listing(code)["releases"]
    assert [(r["number"], r["live"], r["last_good"]) for r in listed] == [
        (2, False, False),
        (1, True, True),
    ]
    assert operations.recover([code.path]) == {"undone": [], "problems": []}


def test_modules_that_come_and_go(tmp_path: Path, code: AppCode) -> None:
    """A new module that is imported comes with the version, one that it lacks goes."""
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


def test_only_what_the_configuration_names(tmp_path: Path, code: AppCode) -> None:
    """With `include` set, nothing else of a working folder is looked at."""
    source = make_source(tmp_path, 2, "folder", **{"big/blob.py": "x" * 1000})
    explicit = replace(code, include=("app.py", "helper.py", "pkg"))
    assert deploy(explicit, source, explicit=True)["ok"]
    found = snapshot(code.path)
    assert found["app.py"] == files_of(2)["app.py"]
    assert found["static/style.css"] == files_of(1)["static/style.css"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import nosuch", "No module named 'nosuch'"),
        ("def app(:", "SyntaxError"),
        ("import os; os._exit(3)", "exit code 3"),
        ("import time; time.sleep(60)", "took longer than 0.5 s"),
    ],
)
def test_a_version_that_cannot_be_imported(
    tmp_path: Path, code: AppCode, source: str, reason: str
) -> None:
    """It is refused while it is still beside the app; nothing is in the way of the next one."""
    folder = make_source(tmp_path, 2)
    write(folder, {"app.py": source})
    staged = Path(operations.stage_source(code, folder, False)["staged"])
    answered = answer(operations.try_staged, code, staged, TARGET, {}, 0.5)
    assert not answered["ok"]
    assert reason in answered["reason"]
    assert snapshot(code.path / "pkg") == snapshot(tmp_path / "live/pkg")
    assert operations.take_back(code) == {"found": "scrap"}
    assert snapshot(code.path) == {**files_of(1), **OTHERS}


def test_a_staged_version_finds_what_lies_beside(tmp_path: Path, code: AppCode) -> None:
    """Files that are no part of the release are there for the import, as they will be."""
    reads = "from pathlib import Path\nassert Path('notes.txt').read_text() == 'mine'\n"
    source = make_source(tmp_path, 2)
    write(source, {"app.py": reads + "import other_app\ndef app(*_): return []\n"})
    (code.path / "__pycache__").mkdir(exist_ok=True)
    assert deploy(code, source)["ok"]
    assert snapshot(code.path)["other_app.py"] == ""
    assert not (code.path / "other_app.py").is_symlink()


def test_the_old_version_is_not_found_by_the_new_one(tmp_path: Path, code: AppCode) -> None:
    """A module that the new version forgot is missing in the check, though it is still there."""
    source = make_source(tmp_path, 2)
    (source / "helper.py").unlink()
    staged = Path(operations.stage_source(code, source, False)["staged"])
    answered = answer(operations.try_staged, code, staged, TARGET, {}, 30.0)
    assert "No module named 'helper'" in answered["reason"]
    operations.take_back(code)


def test_an_edit_in_the_middle_is_not_lost(tmp_path: Path, code: AppCode) -> None:
    """What somebody changed after it was kept is not replaced."""
    staged = Path(operations.stage_source(code, make_source(tmp_path, 2), False)["staged"])
    kept = operations.keep_live(code, "before a deploy", WALL)
    (code.path / "helper.py").write_text("precious")
    answered = answer(operations.put_in_place, code, staged, INCLUDE, kept["fingerprints"])
    assert "changed while it was being replaced" in answered["reason"]
    operations.take_back(code)
    assert (code.path / "helper.py").read_text() == "precious"


def test_killed_at_any_step(tmp_path: Path, code: AppCode) -> None:
    """Wherever it ends, the next start finds one version; the release kept before is whole."""
    source = make_source(tmp_path, 2)
    saved = tmp_path / "saved"
    shutil.copytree(code.path, saved)

    def run(hook: Any) -> None:
        staged = Path(operations.stage_source(code, source, False)["staged"])
        hook("staged")
        operations.try_staged(code, staged, TARGET, {}, 30.0)
        hook("tried")
        kept = operations.keep_live(code, "before a deploy", WALL)
        hook("kept")
        operations.put_in_place(code, staged, INCLUDE, kept["fingerprints"], hook)
        hook("in place")
        operations.make_final(code)
        hook("final")

    steps: list[str] = []
    run(steps.append)
    for number, step in enumerate(steps):
        shutil.rmtree(code.path)
        shutil.copytree(saved, code.path)
        shutil.rmtree(code.state_dir, ignore_errors=True)
        pid = os.fork()
        if pid == 0:
            # the threads of pytest-xdist, which count as an emulator's, are not in this process
            fork._EMULATOR_THREADS = 0
            left = [number]

            def hook(_step: str, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] < 0:
                    os._exit(42)

            try:
                run(hook)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42
        found = operations.recover([code.path])
        assert not found["problems"]
        version = 2 if step == "final" else 1
        assert snapshot(code.path) == {**files_of(version), **OTHERS}, step
        for release in code.store.all_of("coach"):
            assert code.store.faults(release) == []


# ---- rollback and comparing


def test_there_is_nothing_to_go_back_to(code: AppCode) -> None:
    """Neither without releases, nor when the only one is in place."""
    for _ in range(2):
        answered = answer(operations.stage_release, code, None)
        assert "there is no release of app 'coach' that differs" in answered["reason"]
        operations.keep_good(code, None, WALL)


def test_a_broken_file_is_repaired_and_kept(code: AppCode) -> None:
    """A broken file was copied over: the good one comes back, and the broken one isn't lost."""
    operations.keep_good(code, None, WALL)
    (code.path / "app.py").write_text("import field_trainer.settings_manager\n")
    staged = operations.stage_release(code, None)
    kept = operations.keep_live(code, "before a rollback", WALL)
    operations.put_in_place(code, Path(staged["staged"]), staged["include"], kept["fingerprints"])
    operations.make_final(code)
    assert snapshot(code.path) == {**files_of(1), **OTHERS}
    newest = code.store.all_of("coach")[0]
    assert (newest.files / "app.py").read_text() == "import field_trainer.settings_manager\n"
    assert newest.note == "before a rollback"


def test_what_differs(tmp_path: Path, code: AppCode) -> None:
    """Between two releases, or what is in place and one."""
    operations.keep_good(code, None, WALL)
    assert operations.difference(code, "1", "live") == {"added": [], "removed": [], "changed": []}
    (code.path / "helper.py").unlink()
    (code.path / "app.py").write_text("")
    (code.path / "pkg/new.py").write_text("")
    expected = {"added": ["pkg/new.py"], "removed": ["helper.py"], "changed": ["app.py"]}
    assert operations.difference(code, "1", "live") == expected
    operations.keep_live(code, "", WALL)
    assert operations.difference(code, "1", "2") == expected
    back = operations.difference(code, "live", "1")
    assert (back["added"], back["removed"]) == (expected["removed"], expected["added"])
    answered = answer(operations.difference, code, "1", "nosuch")
    assert "there is no release 'nosuch'" in answered["reason"]


def test_a_version_with_a_commit(tmp_path: Path, code: AppCode) -> None:
    """The release knows the commit, and that the code was as committed."""

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
    assert operations.describe(code, None)["dirty"] is True


def test_recovering_where_nothing_can_be_done(tmp_path: Path, code: AppCode) -> None:
    """A damaged journal in one folder is told, and the other folders are put in order."""
    staged = Path(operations.stage_source(code, make_source(tmp_path, 2), False)["staged"])
    operations.put_in_place(code, staged, INCLUDE, {})
    bad = tmp_path / "bad"
    (bad / swap.WORK).mkdir(parents=True)
    (bad / swap.WORK / "journal.json").write_text("{")
    found = operations.recover([bad, code.path, tmp_path / "nosuch"])
    assert found["undone"] == [str(code.path)]
    [problem] = found["problems"]
    assert "journal of a deploy is damaged" in problem
    assert snapshot(code.path) == {**files_of(1), **OTHERS}


def test_the_check_leaves_no_compiled_code(tmp_path: Path, code: AppCode) -> None:
    """What was compiled in the staged folder would be compiled for another place."""
    staged = Path(operations.stage_source(code, make_source(tmp_path, 2), False)["staged"])
    operations.try_staged(code, staged, TARGET, {}, 30.0)
    assert not list(staged.rglob("*.pyc"))
    operations.take_back(code)
