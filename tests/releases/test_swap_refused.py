"""Swaps that are refused or fail: the old version stays."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from importing_case import write
from swap_case import Case, snapshot

from supervisor.releases import swap
from supervisor.releases.swap import Recovered
from supervisor.releases.swap_journal import SwapError
from supervisor.source.file_tree import scan


def refused(root: Path, new: dict[str, str], include: list[str]) -> str:
    """Return the message of a swap that is refused; check that nothing changed or is left."""
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
    """Files behind a link are none of the app's."""
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
    """Return a live tree whose ``app`` is a file system of its own."""
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


@pytest.fixture
def overlay(tmp_path: Path) -> Iterator[Path]:
    """Return a live tree on an overlay whose layers are different disks, as on a Pi's SD card."""
    for name in ("lower", "upper", "live"):
        (tmp_path / name).mkdir()
    tmpfs = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs"]
    for name in ("lower", "upper"):
        subprocess.run([*tmpfs, str(tmp_path / name)], check=True)
    for name in ("files", "work"):
        (tmp_path / "upper" / name).mkdir()
    write(tmp_path / "lower", {"run.py": "old"})
    layers = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper/files"
    options = f"{layers},workdir={tmp_path}/upper/work"
    live = str(tmp_path / "live")
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, live], check=True)
    yield tmp_path / "live"
    for name in ("live", "upper", "lower"):
        subprocess.run(["umount", str(tmp_path / name)], check=True)


@pytest.mark.root
def test_a_file_of_an_overlay_is_replaced(overlay: Path) -> None:
    """Its device number differs from that of its folder, and nothing is mounted on it."""
    assert (overlay / "run.py").stat().st_dev != overlay.stat().st_dev
    staged = swap.prepare(overlay)
    write(staged, {"run.py": "new"})
    swap.begin(overlay, staged, include=["run.py"], old_paths=["run.py"], new_paths=["run.py"])
    assert (overlay / "run.py").read_text() == "new"


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
def test_a_damaged_journal(tmp_path: Path, text: str) -> None:
    """Nothing is touched then, and the message says where the old files are."""
    case = Case(tmp_path, {})
    case.begin(lambda _step: None)
    before = snapshot(case.root / "app")
    (case.root / swap.WORK / "journal.json").write_text(text)
    with pytest.raises(SwapError, match="journal of a deploy is damaged") as raised:
        swap.recover(case.root)
    assert str(case.root / swap.WORK / "old") in str(raised.value.hint)
    assert snapshot(case.root / "app") == before
