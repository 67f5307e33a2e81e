"""The swap of an app's files: at whatever step it ends, the old or the new version is there."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from importing_case import write

from supervisor.releases import swap
from supervisor.releases.swap import Recovered, SwapError
from supervisor.source.file_tree import manifest_of, scan
from supervisor.source.manifest import Manifest

INCLUDE = ["app", "run.py", "gone.py", "fresh.py", "lib/inner"]

OLD = {
    "app/__init__.py": "old",
    "app/views.py": "old views",
    "app/removed/x.py": "old",
    "app/becomes_folder": "a file",
    "app/becomes_file/x.txt": "a folder",
    "run.py": "old run",
    "gone.py": "only in the old version",
    "lib/inner/a.py": "old",
}
NEW = {
    "app/__init__.py": "new",
    "app/views.py": "new views",
    "app/added/y.py": "new",
    "app/becomes_folder/x.txt": "a folder",
    "app/becomes_file": "a file",
    "run.py": "new run",
    "fresh.py": "only in the new version",
    "lib/inner/a.py": "new",
    "lib/inner/deep/b.py": "new",
}
# None of the app's files: whatever happens, they are as they were.
OTHERS = {
    "other.py": "another app's",
    "lib/common.py": "another app's",
    "data/teams.db": "data",
    ".env": "SECRET=1",
}
# Data in the middle of the app, so that its folders can't be moved as a whole.
DATA = {"app/teams.db": "data", "app/removed/log.log": "a log", "lib/inner/env/pyvenv.cfg": ""}

SHAPES = {"whole folders": {}, "with data inside": DATA}


def snapshot(folder: Path) -> dict[str, str]:
    """Give all files below a folder with what is in them, and links with where they lead."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }


def folders(folder: Path) -> set[str]:
    """Give all folders below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_dir()}


def manifest(folder: Path) -> Manifest:
    """Give what the app consists of."""
    return manifest_of(scan(folder, INCLUDE))


def paths(folder: Path) -> list[str]:
    """Give the paths of what the app consists of."""
    return [file.path for file in scan(folder, INCLUDE).files]


class Case:
    """A live tree, and the two versions that it may have."""

    def __init__(self, folder: Path, data: dict[str, str]) -> None:
        self.template, self.root = folder / "template", folder / "live"
        write(self.template, {**OLD, **OTHERS, **data})
        self.new_source = folder / "source"
        write(self.new_source, NEW)
        self.old = {**OLD, **OTHERS, **data}
        self.new = {**NEW, **OTHERS, **data}
        self.reset()

    def reset(self) -> None:
        """Let the live tree be as before the swap."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.template, self.root)

    def begin(self, hook: Callable[[str], None]) -> None:
        """Stage the new version, and put it in place."""
        staged = swap.prepare(self.root)
        shutil.copytree(self.new_source, staged, dirs_exist_ok=True)
        swap.begin(
            self.root,
            staged,
            include=INCLUDE,
            old_paths=paths(self.root),
            new_paths=paths(staged),
            hook=hook,
        )

    def deploy(self, hook: Callable[[str], None]) -> None:
        """Swap and keep the new version."""
        self.begin(hook)
        hook("watched")
        swap.commit(self.root, hook=hook)

    def deploy_and_undo(self, hook: Callable[[str], None]) -> None:
        """Swap and go back."""
        self.begin(hook)
        hook("watched")
        swap.undo(self.root, hook=hook)


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """Give a live tree whose folders can, or can't, be moved as a whole."""
    return Case(tmp_path, request.param)


def steps_of(run: Callable[[Callable[[str], None]], None]) -> list[str]:
    """Give the names of all steps of a run."""
    seen: list[str] = []
    run(seen.append)
    return seen


def end_after(run: Callable[[Callable[[str], None]], object], number: int) -> None:
    """Run it in a child that ends, as by ``kill -9``, after that many steps."""
    pid = os.fork()
    if pid == 0:
        left = [number]

        def hook(_step: str) -> None:
            left[0] -= 1
            if left[0] < 0:
                os._exit(42)

        try:
            run(hook)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 42


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
    """A recovery that is interrupted, as often as it may be, is gone on with."""

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
    """A folder of the app alone is one move; data in it makes it more, and stays."""
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


def test_what_comes_into_the_way(tmp_path: Path) -> None:
    """An app that makes its folder anew in the moment between two renames stops nothing."""
    for run in (Case.deploy, Case.deploy_and_undo):
        case = Case(tmp_path / run.__name__, {})

        def get_into_the_way(step: str, root: Path = case.root) -> None:
            if step in ("out app", "back out app"):
                write(root, {"app/static/x.css": "in the way"})

        run(case, get_into_the_way)
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


# ---- what can't be


def refused(root: Path, new: dict[str, str], include: list[str]) -> str:
    """Give the message of a swap that is refused; nothing has changed, nothing is left."""
    before = snapshot(root)
    staged = swap.prepare(root)
    write(staged, new)
    with pytest.raises(SwapError) as raised:
        swap.begin(
            root,
            staged,
            include=include,
            old_paths=[file.path for file in scan(root, include).files],
            new_paths=list(new),
        )
    assert snapshot(root) == before
    assert swap.recover(root) is Recovered.NOTHING
    return raised.value.message


def test_data_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    """A file in the place of a folder with data in it is refused."""
    write(tmp_path, {"app/x.py": "", "app/teams.db": "data"})
    message = refused(tmp_path, {"app": "a file"}, ["app"])
    assert "holds app/teams.db" in message


def test_a_link_on_the_way_is_refused(tmp_path: Path) -> None:
    """Files elsewhere, reached by a link, are none of the app's."""
    write(tmp_path, {"elsewhere/app/x.py": "", "live/y.py": ""})
    (tmp_path / "live/web").symlink_to("../elsewhere")
    root = tmp_path / "live"
    staged = swap.prepare(root)
    write(staged, {"web/app/x.py": "new"})
    with pytest.raises(SwapError, match="a folder on the way to it is a link"):
        swap.begin(root, staged, include=["web/app"], old_paths=[], new_paths=["web/app/x.py"])
    assert snapshot(tmp_path / "elsewhere") == {"app/x.py": ""}


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """Give a live tree whose ``app`` is a file system of its own."""
    (tmp_path / "live/app").mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs"]
    subprocess.run([*mount, str(tmp_path / "live/app")], check=True)
    yield tmp_path / "live"
    subprocess.run(["umount", str(tmp_path / "live/app")], check=True)


@pytest.mark.root
def test_a_mounted_folder_is_refused(mounted: Path) -> None:
    """Renames don't reach another file system."""
    write(mounted, {"app/x.py": "old"})
    message = refused(mounted, {"app/x.py": "new"}, ["app"])
    assert message == "cannot replace app: another file system is mounted there"


@pytest.mark.root
def test_a_read_only_tree(tmp_path: Path) -> None:
    """The message says so, before anything has changed."""
    root = tmp_path / "live"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(root)], check=True)
    try:
        write(root, {"run.py": "old"})
        subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
        with pytest.raises(SwapError, match="cannot prepare the deploy: Read-only file system"):
            swap.prepare(root)
    finally:
        subprocess.run(["umount", str(root)], check=True)


def test_one_at_a_time(tmp_path: Path) -> None:
    """While a swap is under way, another one is refused."""
    case = Case(tmp_path, {})
    case.begin(lambda _step: None)
    with pytest.raises(SwapError, match="another deploy is under way"):
        swap.prepare(case.root)
    swap.undo(case.root)
    assert snapshot(case.root) == case.old


def test_a_failing_disk_undoes(tmp_path: Path) -> None:
    """An error in the middle puts the old version back."""
    case = Case(tmp_path, {})

    def fail(step: str) -> None:
        if step == "in run.py":
            raise OSError(5, "Input/output error")

    with pytest.raises(SwapError, match="Input/output error"):
        case.begin(fail)
    assert snapshot(case.root) == case.old
    assert swap.recover(case.root) is Recovered.NOTHING


JOURNALS = [
    "",
    "[]",
    "{}",
    '{"staged": "../x", "moves": [], "made": [], "old_paths": []}',
    "[" * 9999,
]


@pytest.mark.parametrize("text", JOURNALS)
def test_a_damaged_journal_is_said(tmp_path: Path, text: str) -> None:
    """Nothing is touched then, and the message says where the old files are."""
    case = Case(tmp_path, {})
    case.begin(lambda _step: None)
    before = snapshot(case.root / "app")
    (case.root / swap.WORK / "journal.json").write_text(text)
    with pytest.raises(SwapError, match="journal of a deploy is damaged") as raised:
        swap.recover(case.root)
    assert str(case.root / swap.WORK / "old") in str(raised.value.hint)
    assert snapshot(case.root / "app") == before


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
