"""The store of releases on disks that are full, read-only or failing."""

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from release_case import APP, keep, keep_versions, make_app, names, truncate

from supervisor.process.throwaway import call_in_child
from supervisor.releases.release import About, ReleaseError
from supervisor.releases.store import Releases
from supervisor.source.file_tree import manifest_of, scan
from supervisor.source.manifest import Manifest

TMPFS_SIZE = "300k"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return the folder of a file system of its own, which is soon full."""
    folder = tmp_path / "state"
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_SIZE}", "tmpfs", str(folder)], check=True
    )
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.root
def test_a_full_disk(tmp_path: Path, root: Path, store: Releases, small_disk: Path) -> None:
    """The message says so; earlier releases stay whole, and no part of the new one is left."""
    first, _ = keep(store, root)
    (root / "app/large.bin").write_bytes(os.urandom(400_000))
    with pytest.raises(ReleaseError) as raised:
        keep(store, root)
    full = f"the file system of {tmp_path}/state/releases is full"
    assert raised.value.message.endswith(f"No space left on device: {full}")
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
    """What is there can be listed, read and used; the error says why nothing can be kept."""
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
