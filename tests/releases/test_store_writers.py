"""Several processes that change the releases, and folders that are not what they seem."""

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from operating_case import open_folder
from release_case import APP, keep, make_app, names

from supervisor.process.throwaway import call_in_child
from supervisor.releases.release import ReleaseError
from supervisor.releases.store import Releases

STRANGER = 1000
TIDY = """
import sys
from pathlib import Path
from supervisor.releases.store import Releases
print(Releases(Path(sys.argv[1])).tidy())
"""


def test_tidying_waits_for_a_release_that_is_being_written(
    tmp_path: Path, root: Path, store: Releases
) -> None:
    """A deploy shortly after a start loses no release to the tidying of the start."""
    keep(store, root)
    children = []

    def tidy_meanwhile() -> bool:
        child = subprocess.Popen([sys.executable, "-c", TIDY, tmp_path / "state/releases"])
        children.append(child)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(1)  # without the lock it would be over by then
        return True

    release, written = keep(store, make_app(root, 2), is_unchanged=tidy_meanwhile)
    [child] = children
    assert child.wait(30) == 0
    assert written
    assert store.all_of(APP)[0] == release
    assert store.faults(release) == []


KEEP = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from operating_case import open_folder
from release_case import keep
from supervisor.releases.store import Releases
print("begins", flush=True)
release, written = keep(Releases(Path(sys.argv[1])), Path(sys.argv[2]))
print(release.number, written)
"""


def test_two_that_keep_the_same_version(tmp_path: Path, root: Path, store: Releases) -> None:
    """The second one finds what the first one has written while it waited."""
    keep(store, root)
    children = []

    def keep_meanwhile() -> bool:
        tests = Path(__file__).parents[1]
        command = [sys.executable, "-c", KEEP, tmp_path / "state/releases", root, tests]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "begins\n"
        children.append(child)
        return True

    release, _ = keep(store, make_app(root, 2), is_unchanged=keep_meanwhile)
    assert children[0].communicate(timeout=30)[0] == f"{release.number} False\n"
    assert [one.number for one in store.all_of(APP)] == [2, 1]


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock of the releases, as another process does."""
    with (folder / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_a_writer_that_never_ends(tmp_path: Path, root: Path) -> None:
    """Nobody waits for ever; what is there can be read all the same."""
    store = Releases(tmp_path / "state/releases", wait_s=0.1)
    release, _ = keep(store, root)
    (release.folder.parent / ".new-1").mkdir()
    with held(release.folder.parent.parent):
        with pytest.raises(ReleaseError, match="another process is writing releases"):
            keep(store, make_app(root, 2))
        assert store.tidy() == []
        assert keep(store, make_app(root, 1)) == (release, False)
    assert ".new-1" in names(tmp_path)
    store.tidy()
    assert ".new-1" not in names(tmp_path)


def test_a_lock_that_is_a_link(tmp_path: Path, root: Path, store: Releases) -> None:
    """It is not opened, and its target not created."""
    folder = tmp_path / "state/releases"
    folder.mkdir(parents=True)
    (folder / ".lock").symlink_to(tmp_path / "target")
    with pytest.raises(ReleaseError, match="cannot keep a release of app 'coach'"):
        keep(store, root)
    assert not (tmp_path / "target").exists()


@pytest.mark.root
@pytest.mark.parametrize("name", ["releases", f"releases/{APP}"])
def test_root_writes_through_no_link_of_another_user(
    tmp_path: Path, root: Path, store: Releases, name: str
) -> None:
    """The service's user owns the folder: a link there may lead to any place of the machine."""
    target, state = tmp_path / "target", tmp_path / "state"
    (state / name).parent.mkdir(parents=True)
    (target / ".new-1").mkdir(parents=True)
    (state / name).symlink_to(target)
    for path in (state, *state.rglob("*")):
        os.lchown(path, STRANGER, STRANGER)
    with pytest.raises(ReleaseError, match="root follows no link"):
        keep(store, root)
    with pytest.raises(ReleaseError, match="root follows no link"):
        store.mark_good(APP, "0" * 64)
    store.tidy()
    assert [path.name for path in target.iterdir()] == [".new-1"]


@pytest.mark.root
def test_another_user_may_have_links_there() -> None:
    """Releases on another disk, by a link of the service's own user, work as before."""
    with open_folder() as folder:
        for name in ("state", "disk", "live"):
            (folder / name).mkdir()
            os.chown(folder / name, STRANGER, STRANGER)
        make_app(folder / "live")

        def as_stranger() -> bool:
            os.setuid(STRANGER)
            (folder / "state/releases").symlink_to(folder / "disk")
            release, _ = keep(Releases(folder / "state/releases"), folder / "live")
            return Releases(folder / "disk").all_of(APP)[0].digest == release.digest

        assert call_in_child(as_stranger, timeout_s=60)
