"""The store of releases with damage in its folder: garbage is never a release."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from release_case import APP, keep, keep_versions, make_app, names, truncate

from supervisor.releases.release import ReleaseError
from supervisor.releases.store import Releases

GARBAGE: dict[str, Callable[[Path], object]] = {
    "empty manifest": lambda folder: (folder / "manifest.json").write_bytes(b""),
    "truncated manifest": lambda folder: truncate(folder / "manifest.json"),
    "bytes": lambda folder: (folder / "manifest.json").write_bytes(b"\xff\0" * 99),
    "deep": lambda folder: (folder / "manifest.json").write_text("[" * 100_000),
    "a list": lambda folder: (folder / "manifest.json").write_text("[]"),
    "another format": lambda folder: edit(folder, format=99),
    "no files": lambda folder: edit(folder, files=[]),
    "bad files": lambda folder: edit(folder, files="x"),
    "a path that leads out": lambda folder: edit(folder, files=[{"path": "../x", "mode": 1}]),
    "bad include": lambda folder: edit(folder, include=[1]),
    "manifest is a folder": lambda folder: replace_by_folder(folder / "manifest.json"),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "no folder of files": lambda folder: shutil.rmtree(folder / "files"),
    "another's name": lambda folder: folder.rename(folder.with_name("000007-00000000")),
    "a file in its place": lambda folder: (shutil.rmtree(folder), folder.write_text("x")),
}


def edit(folder: Path, **fields: Any) -> None:
    """Change fields of a manifest."""
    file = folder / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def replace_by_folder(file: Path) -> None:
    """Put a folder where a file is."""
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("spoil", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_left_out_and_set_aside(
    tmp_path: Path, root: Path, store: Releases, spoil: Callable[[Path], object]
) -> None:
    """What isn't a release is never listed; tidying renames it, and the others stay."""
    good, bad = keep_versions(store, root, range(1, 3))
    store.mark_good(APP, bad.digest)
    store.mark_good(APP, good.digest)
    spoil(bad.folder)
    assert store.all_of(APP) == [good]
    assert store.good(APP) == [good]
    [said] = store.tidy()
    assert said.startswith(f"{APP}/0000")
    assert store.tidy() == []
    assert [name for name in names(tmp_path) if ".bad-" in name]
    third, _ = keep(store, make_app(root, 3))
    assert store.all_of(APP) == [third, good]
    assert third.number > 2


def test_a_store_of_garbage_alone(tmp_path: Path, root: Path, store: Releases) -> None:
    """Other files and folders don't prevent that a release is kept."""
    folder = tmp_path / "state" / "releases" / APP
    folder.mkdir(parents=True)
    (folder.parent / "a file").write_text("")
    (folder / "README").write_text("")
    (folder / ".new-000001-12345678" / "files").mkdir(parents=True)
    (folder / "good.json").write_bytes(b"\xff" * 10)
    assert store.all_of(APP) == []
    assert store.good(APP) == []
    store.tidy()
    assert ".new-000001-12345678" not in names(tmp_path)
    release, written = keep(store, root)
    assert written
    store.mark_good(APP, release.digest)
    assert store.good(APP) == [release]


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"good": 1}', '{"good": [1, {}]}', "[" * 100_000]
)
def test_a_damaged_list_of_good_ones(
    tmp_path: Path, root: Path, store: Releases, text: str
) -> None:
    """Nothing is good then; the releases are still there."""
    release, _ = keep(store, root)
    (tmp_path / "state" / "releases" / APP / "good.json").write_text(text)
    assert store.good(APP) == []
    assert store.all_of(APP) == [release]


def test_only_few_of_what_was_set_aside_stay(tmp_path: Path, root: Path, store: Releases) -> None:
    """Damage that comes again and again doesn't fill the disk."""
    for version in range(1, 7):
        release, _ = keep(store, make_app(root, version))
        truncate(release.folder / "manifest.json")
        assert len(store.tidy()) == 1
    assert len([name for name in names(tmp_path) if ".bad-" in name]) == 2


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed": (lambda f: (f / "app/__init__.py").write_text("x"), "app/__init__.py: is not what"),
    "removed": (lambda f: (f / "app/__init__.py").unlink(), "app/__init__.py: No such file"),
    "added": (lambda f: (f / "app/more.py").write_text("x"), "app/more.py: was added"),
    "link": (lambda f: (f / "app/default").unlink(), "app/default: No such file"),
    "folder": (lambda f: (f / "app/empty").rmdir(), "app/empty: is not what"),
    "linked": (
        lambda f: ((f / "app/tool.sh").unlink(), (f / "app/tool.sh").symlink_to("/bin/sh")),
        "app/tool.sh: ",
    ),
}


@pytest.mark.parametrize(("spoil", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_damaged_file_is_found(
    tmp_path: Path, root: Path, store: Releases, spoil: Callable[[Path], object], fault: str
) -> None:
    """Before a release is used, every file is compared with what was kept."""
    release, _ = keep(store, root)
    (release.files / "app/__pycache__").mkdir()
    (release.files / "app/__pycache__/x.pyc").write_text("compiled by a worker")
    assert store.faults(release) == []
    spoil(release.files)
    [found] = store.faults(release)
    assert found.startswith(fault)


def test_a_copy_that_the_disk_damaged(tmp_path: Path, root: Path, store: Releases) -> None:
    """A release is read back before it counts as kept: nothing is left of a wrong one."""
    first, _ = keep(store, root)

    def spoil_the_copy() -> bool:
        [copy] = first.folder.parent.glob(".new-*/files/app/__init__.py")
        copy.write_text("VERSION = 0\n")
        return True

    with pytest.raises(ReleaseError, match=r"read back, app/__init__\.py: is not what") as raised:
        keep(store, make_app(root, 2), is_unchanged=spoil_the_copy)
    assert "the disk may be failing" in str(raised.value.hint)
    assert names(tmp_path) == [first.folder.name]
