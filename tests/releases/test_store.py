"""The store of releases: each is there whole, or not at all."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from release_case import APP, keep, keep_versions, make_app, names, snapshot

from supervisor.releases.release import About, ReleaseError
from supervisor.releases.store import KEPT, Releases
from supervisor.source.file_tree import manifest_of, scan


def test_a_release_holds_the_same_files(tmp_path: Path, root: Path, store: Releases) -> None:
    """Contents, links, empty folders, modes and times are those of the app; nothing is at fault."""
    release, written = keep(store, root, note="known good")
    assert written
    assert snapshot(release.files) == snapshot(root)
    source, copy = root / "app/__init__.py", release.files / "app/__init__.py"
    assert copy.stat().st_mtime_ns == source.stat().st_mtime_ns
    assert re.fullmatch(r"000001-[0-9a-f]{8}", release.folder.name)
    assert store.all_of(APP) == [release]
    assert (release.note, release.created) == ("known good", "2026-03-01T12:00:00Z")
    assert store.faults(release) == []
    assert release.folder.stat().st_mode & 0o777 == 0o700


def test_nothing_is_written_when_nothing_changed(
    tmp_path: Path, root: Path, store: Releases
) -> None:
    """The same files again are the same release: not a byte is written."""
    first, _ = keep(store, root)
    folder = tmp_path / "state"
    before = {path: path.lstat().st_mtime_ns for path in [folder, *folder.rglob("*")]}
    again, written = keep(store, root)
    assert (again, written) == (first, False)
    store.mark_good(APP, first.digest)
    store.mark_good(APP, first.digest)
    after = {path: path.lstat().st_mtime_ns for path in [folder, *folder.rglob("*")]}
    assert set(after) - set(before) == {folder / "releases" / APP / "good.json"}
    del before[folder / "releases" / APP]
    assert all(after[path] == time for path, time in before.items())


def test_a_damaged_release_is_kept_again(tmp_path: Path, root: Path, store: Releases) -> None:
    """A damaged release of the same digest doesn't count as being there."""
    first, _ = keep(store, root)
    (first.files / "app/__init__.py").write_text("damaged")
    second, written = keep(store, root)
    assert written
    assert second.number == 2
    assert store.all_of(APP) == [second]
    assert store.faults(second) == []


def test_a_tree_that_changes_meanwhile_gives_no_release(
    tmp_path: Path, root: Path, store: Releases
) -> None:
    """Neither a mixture nor a temporary folder is left."""
    with pytest.raises(ReleaseError, match="one of its files changed meanwhile"):
        keep(store, root, is_unchanged=lambda: False)
    assert names(tmp_path) == []
    tree = scan(root, ["app"])
    manifest = manifest_of(tree)
    about = About(created="", note="", include=tree.include)
    changes: list[Callable[[Path], object]] = [
        lambda file: file.write_text("VERSION = 2\n"),
        lambda file: file.unlink(),
        lambda file: file.symlink_to("/etc/passwd"),
        lambda file: (file.unlink(), os.mkfifo(file)),
    ]
    for change in changes:
        change(root / "app/__init__.py")
        with pytest.raises(ReleaseError, match=r"app/__init__\.py changed meanwhile"):
            store.keep(APP, root, manifest, about, is_unchanged=lambda: True)
        assert names(tmp_path) == []


def test_the_newest_five_stay(root: Path, store: Releases) -> None:
    """The oldest goes when a sixth comes; numbers go on."""
    keep_versions(store, root, range(1, 9))
    assert [release.number for release in store.all_of(APP)] == [8, 7, 6, 5, 4]
    assert KEPT == 5


def test_what_is_in_use_stays(root: Path, store: Releases) -> None:
    """The release that a worker runs from, and the last good one, aren't removed."""
    used, good = keep_versions(store, root, range(1, 3))
    store.mark_good(APP, good.digest)
    for version in range(3, 10):
        keep(store, make_app(root, version), in_use=(used.folder,))
    assert [release.number for release in store.all_of(APP)] == [9, 8, 7, 6, 5, 2, 1]


def test_the_last_good_one_comes_first(root: Path, store: Releases) -> None:
    """Good ones are in the order in which they proved good, not in that of their numbers."""
    one, two, _broken = keep_versions(store, root, range(1, 4))
    assert store.good(APP) == []
    store.mark_good(APP, one.digest)
    store.mark_good(APP, two.digest)
    assert store.good(APP) == [two, one]
    store.mark_good(APP, one.digest)  # rolled back to
    assert store.good(APP) == [one, two]


def test_finding_one(root: Path, store: Releases) -> None:
    """By number, name or first characters of the digest; the error names the known ones."""
    one, two = keep_versions(store, root, range(1, 3))
    for wanted in ("1", one.name, one.folder.name, one.digest[:6], one.digest):
        assert store.find(APP, wanted) == one
    for wanted in ("3", "", one.digest[:3], "zzzz", "../000001"):
        with pytest.raises(ReleaseError, match="there is no release") as raised:
            store.find(APP, wanted)
        assert raised.value.hint == f"known: {two.name}, {one.name}"
    with pytest.raises(ReleaseError) as raised:
        store.find("nosuch", "1")
    assert raised.value.hint == "known: none"


def test_copying_out(tmp_path: Path, root: Path, store: Releases) -> None:
    """All files of a release come out; the error names the file that is damaged."""
    release, _ = keep(store, root)
    target = tmp_path / "out"
    target.mkdir()
    store.copy_out(release, target)
    assert snapshot(target) == snapshot(root)
    (release.files / "app/tool.sh").write_text("damaged")
    again = tmp_path / "again"
    again.mkdir()
    with pytest.raises(ReleaseError, match=r"app/tool\.sh is damaged"):
        store.copy_out(release, again)
