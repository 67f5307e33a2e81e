"""Folders are opened without links that another user planted: root is not led astray."""

import contextlib
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from operating_case import open_folder

from supervisor.files import safe_folder
from supervisor.files.atomic_file import write_whole
from supervisor.process.throwaway import call_in_child

STRANGER = 1000


def names_in(path: Path) -> list[str]:
    """Return what lies in a folder that is opened safely."""
    with safe_folder.opened(path) as fd:
        return sorted(os.listdir(fd))


def plant(link: Path, target: Path | str, *, owner: int = 0, folder_owner: int = 0) -> None:
    """Create a link that belongs to ``owner``, in a folder of ``folder_owner``."""
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    os.lchown(link, owner, owner)
    os.chown(link.parent, folder_owner, folder_owner)


def test_links_of_our_own_are_followed(tmp_path: Path) -> None:
    """Absolute and relative ones, one after the other, upwards too, as the kernel does."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").touch()
    (tmp_path / "one").symlink_to("a/two")
    (tmp_path / "a/two").symlink_to(tmp_path / "a/three")
    (tmp_path / "a/three").symlink_to("b/../../a/./b")
    assert names_in(tmp_path / "one") == ["file"]
    assert safe_folder.resolve(tmp_path / "one/file") == tmp_path / "a/b/file"
    (tmp_path / "final").symlink_to("one/file")
    assert safe_folder.resolve(tmp_path / "final") == tmp_path / "a/b/file"
    assert safe_folder.resolve(tmp_path / "one/missing") == tmp_path / "a/b/missing"


def test_links_in_a_circle(tmp_path: Path) -> None:
    """They end in an error."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels"):
        names_in(tmp_path / "a")
    with pytest.raises(OSError, match="Too many levels"):
        safe_folder.resolve(tmp_path / "a")


def test_missing_folders(tmp_path: Path) -> None:
    """They are created only if that is asked for; parents can be entered by others."""
    path = tmp_path / "a/b/c"
    with pytest.raises(FileNotFoundError) as raised:
        names_in(path)
    assert raised.value.filename == str(path)
    with safe_folder.opened(path, create_mode=0o700) as fd:
        assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o700
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        names_in(tmp_path / "file")


@pytest.mark.root
@pytest.mark.parametrize(
    ("owner", "folder_owner", "is_followed"),
    [(0, 0, True), (STRANGER, 0, False), (0, STRANGER, False), (STRANGER, STRANGER, False)],
)
def test_root_follows_only_links_that_nobody_else_can_change(
    tmp_path: Path, owner: int, folder_owner: int, is_followed: bool
) -> None:
    """Neither to a folder, nor to a file, nor on the way to one."""
    (tmp_path / "target/inner").mkdir(parents=True)
    plant(tmp_path / "place/link", tmp_path / "target", owner=owner, folder_owner=folder_owner)
    calls: list[Callable[[], object]] = [
        lambda: names_in(tmp_path / "place/link"),
        lambda: names_in(tmp_path / "place/link/inner"),
        lambda: safe_folder.resolve(tmp_path / "place/link"),
        lambda: write_whole(tmp_path / "place/link/file", b"x"),
    ]
    for call in calls:
        with contextlib.nullcontext() if is_followed else pytest.raises(OSError, match="root"):
            call()
    assert (tmp_path / "target/file").exists() is is_followed


@pytest.mark.root
def test_a_folder_that_everybody_may_write_to(tmp_path: Path) -> None:
    """Anybody could have put a link in the place of root's, unless the sticky bit is set."""
    (tmp_path / "target").mkdir()
    plant(tmp_path / "place/link", tmp_path / "target")
    (tmp_path / "place").chmod(0o777)
    with pytest.raises(OSError, match="root follows no link"):
        names_in(tmp_path / "place/link")
    (tmp_path / "place").chmod(0o1777)
    assert names_in(tmp_path / "place/link") == []


@pytest.mark.root
def test_other_users_follow_every_link() -> None:
    """They can do no more than the one who planted it."""
    with open_folder() as folder:
        (folder / "target").mkdir()
        plant(folder / "place/link", folder / "target", owner=STRANGER, folder_owner=STRANGER)

        def as_stranger() -> list[str]:
            os.setuid(STRANGER + 1)
            return names_in(folder / "place/link")

        assert call_in_child(as_stranger, timeout_s=30) == []


@contextlib.contextmanager
def swapping(place: Path, target: Path) -> Iterator[None]:
    """Put a link to ``target`` in the place of a folder, and the folder back, again and again."""
    is_over = threading.Event()

    def swap() -> None:
        while not is_over.wait(0.0003):
            place.rename(place.with_name("away"))
            place.symlink_to(target)
            place.unlink()
            place.with_name("away").rename(place)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.mark.root
def test_a_folder_that_becomes_a_link_meanwhile(tmp_path: Path) -> None:
    """Whenever that happens, nothing is written where the link leads to."""
    place, target = tmp_path / "state/releases", tmp_path / "target"
    place.mkdir(parents=True)
    target.mkdir()
    os.chown(place.parent, STRANGER, STRANGER)
    written = 0
    with swapping(place, target):
        for number in range(400):
            try:
                write_whole(place / f"{number}", b"x")
                written += 1
            except OSError:
                continue
    assert list(target.iterdir()) == []
    assert len(list(place.iterdir())) == written
    assert 0 < written < 400
