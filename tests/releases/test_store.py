"""The store of releases: whole or not at all, whatever lies in its folder."""

import errno
import json
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.process.throwaway import call_in_child
from supervisor.releases.store import KEPT, About, Release, ReleaseError, Releases
from supervisor.source.file_tree import manifest_of, scan
from supervisor.source.manifest import Manifest

APP = "coach"


def snapshot(folder: Path) -> dict[str, Any]:
    """Give what lies under a folder: paths with content, links and modes."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = "folder"
        else:
            found[name] = (path.read_bytes(), path.stat().st_mode & 0o777)
    return found


def make_app(root: Path, version: int = 1) -> Path:
    """Write an app of one package with all kinds of entries."""
    package = root / "app"
    shutil.rmtree(package, ignore_errors=True)
    (package / "templates").mkdir(parents=True)
    (package / "empty").mkdir()
    (package / "__init__.py").write_text(f"VERSION = {version}\n")
    (package / "templates/index.html").write_text("<h1>")
    (package / "tool.sh").write_text("#!/bin/sh\n")
    (package / "tool.sh").chmod(0o750)
    (package / "default").symlink_to("templates/index.html")
    return root


def keep(
    store: Releases,
    root: Path,
    *,
    is_unchanged: Callable[[], bool] = lambda: True,
    in_use: tuple[Path, ...] = (),
    note: str = "",
) -> tuple[Release, bool]:
    """Keep the app below ``root`` as it is."""
    tree = scan(root, ["app"])
    about = About(created="2026-03-01T12:00:00Z", note=note, include=tree.include)
    return store.keep(APP, root, manifest_of(tree), about, is_unchanged=is_unchanged, in_use=in_use)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give the folder of an app."""
    folder = tmp_path / "live"
    folder.mkdir()
    return make_app(folder)


@pytest.fixture
def store(tmp_path: Path) -> Releases:
    """Give a store whose folder doesn't exist yet."""
    return Releases(tmp_path / "state" / "releases")


def names(tmp_path: Path) -> list[str]:
    """Give what lies in the folder of the app's releases."""
    folder = tmp_path / "state" / "releases" / APP
    return sorted(os.listdir(folder)) if folder.exists() else []


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


def test_what_the_card_has_lost_is_kept_anew(tmp_path: Path, root: Path, store: Releases) -> None:
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


# ---- which stay


def keep_versions(store: Releases, root: Path, versions: range) -> list[Release]:
    """Keep one release of each version."""
    return [keep(store, make_app(root, version))[0] for version in versions]


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
    """Good ones in the order in which they proved it, not in that of their numbers."""
    one, two, _broken = keep_versions(store, root, range(1, 4))
    assert store.good(APP) == []
    store.mark_good(APP, one.digest)
    store.mark_good(APP, two.digest)
    assert store.good(APP) == [two, one]
    store.mark_good(APP, one.digest)  # rolled back to
    assert store.good(APP) == [one, two]


def test_finding_one(root: Path, store: Releases) -> None:
    """By number, by name, by the begin of its digest; else the known ones are said."""
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


# ---- garbage

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


def truncate(file: Path) -> None:
    """Cut a file in half."""
    os.truncate(file, file.stat().st_size // 2)


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
    """What isn't a release is never listed; tidying takes it away, and the others stay."""
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
    """Files and folders that were never ours don't keep anybody from keeping a release."""
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
        store.set_aside(APP, release.folder)
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


def test_copying_out(tmp_path: Path, root: Path, store: Releases) -> None:
    """A release gives its files back; a damaged one says so, and which file it is."""
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


# ---- disks

TMPFS_SIZE = "300k"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of its own that is soon full."""
    folder = tmp_path / "state"
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_SIZE}", "tmpfs", str(folder)], check=True
    )
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.root
def test_a_full_disk(tmp_path: Path, root: Path, store: Releases, small_disk: Path) -> None:
    """The message says so; the releases that were there stay whole, and nothing half is left."""
    first, _ = keep(store, root)
    (root / "app/large.bin").write_bytes(os.urandom(400_000))
    with pytest.raises(ReleaseError, match="No space left on device") as raised:
        keep(store, root)
    assert "free some space" in str(raised.value)
    assert store.all_of(APP) == [first]
    assert names(tmp_path) == [first.folder.name]
    (small_disk / "fill").write_bytes(b"")
    with pytest.raises(OSError, match="No space"), (small_disk / "fill").open("wb") as stream:
        while True:
            stream.write(b"x" * 4096)
            stream.flush()
    assert store.faults(first) == []
    with pytest.raises(ReleaseError, match="No space left on device"):
        store.mark_good(APP, first.digest)


@pytest.mark.root
def test_a_read_only_disk(tmp_path: Path, root: Path, store: Releases, small_disk: Path) -> None:
    """What is there can be listed, read and used; keeping is refused in words."""
    first, second = keep_versions(store, root, range(1, 3))
    truncate(second.folder / "manifest.json")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert store.all_of(APP) == [first]
    assert store.faults(first) == []
    store.tidy()
    with pytest.raises(ReleaseError, match="Read-only file system") as raised:
        keep(store, make_app(root, 3))
    assert "has to be writable" in str(raised.value)


def keep_with_small_files(root: Path, folder: Path) -> list[Any]:
    """Keep a release where no file may grow, as on a disk that is full already."""
    store = Releases(folder)
    tree = scan(root, ["app"])
    manifest = manifest_of(tree)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        store.keep(
            APP,
            root,
            Manifest(manifest.entries),
            About(created="", note="", include=tree.include),
            is_unchanged=lambda: True,
        )
    except ReleaseError as error:
        return [str(error), os.listdir(folder / APP)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    return ["kept"]


def test_files_that_may_not_grow(tmp_path: Path, root: Path) -> None:
    """Any error of the disk is a message, and leaves nothing."""
    found = call_in_child(keep_with_small_files, root, tmp_path / "releases", timeout_s=30)
    said = os.strerror(errno.EFBIG)
    assert found == [f"cannot keep a release of app '{APP}': {said}", []]
