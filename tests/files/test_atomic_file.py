"""Atomic writes and copies: complete or not there, with the mode that was asked for."""

import hashlib
import os
import resource
import stat
from pathlib import Path

import pytest

from supervisor.files.atomic_file import copy_file, hash_file, remove, write_whole
from supervisor.process.throwaway import call_in_child


def mode_of(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_replaced(tmp_path: Path) -> None:
    """The new content is in a new file: a reader of the old one isn't disturbed."""
    file = tmp_path / "state"
    write_whole(file, b"old")
    with file.open("rb") as reader:
        write_whole(file, b"new", mode=0o640)
        assert reader.read() == b"old"
    assert (file.read_bytes(), mode_of(file)) == (b"new", 0o640)
    assert os.listdir(tmp_path) == ["state"]


def test_a_leftover_of_the_same_process_is_overwritten(tmp_path: Path) -> None:
    """An incomplete file that a power cut left does not prevent the next write."""
    (tmp_path / f".new-{os.getpid()}-state").write_bytes(b"incomplete")
    write_whole(tmp_path / "state", b"new")
    assert os.listdir(tmp_path) == ["state"]


def write_where_files_may_not_grow(file: Path) -> list[object]:
    """Write as on a full disk; return the error, the content and the files."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        write_whole(file, b"new")
    except OSError as error:
        return [error.strerror, file.read_text(), os.listdir(file.parent)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    return []


def test_the_old_file_remains_after_an_error(tmp_path: Path) -> None:
    """On a full disk the old content stays, and no incomplete file."""
    file = tmp_path / "state"
    write_whole(file, b"old")
    found = call_in_child(write_where_files_may_not_grow, file, timeout_s=30)
    assert found == ["File too large", "old", ["state"]]


def test_a_copy_has_content_times_and_mode(tmp_path: Path) -> None:
    """The digest is that of the copied data, and equal to that of the file."""
    data = os.urandom(3 * 1024 * 1024)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(data)
    os.utime(source, ns=(1, 2))
    digest = copy_file(source, target, mode=0o700)
    assert digest == hash_file(target) == hashlib.sha256(data).hexdigest()
    assert (target.stat().st_mtime_ns, mode_of(target)) == (2, 0o700)


def test_a_copy_overwrites_nothing(tmp_path: Path) -> None:
    """An existing target raises and stays as it is."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        copy_file(source, target, mode=0o600)
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    """A link, a pipe without a writer and a folder raise, and none of them blocks."""
    path = tmp_path / kind
    if kind == "link":
        (tmp_path / "file").write_bytes(b"")
        path.symlink_to("file")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(OSError):
        copy_file(path, tmp_path / "target", mode=0o600)
    with pytest.raises(OSError):
        hash_file(path)
    assert not (tmp_path / "target").exists()


def test_removing(tmp_path: Path) -> None:
    """Files, folders with content and links are removed; the target of a link stays."""
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("folder")
    for name in ("link", "missing", "file"):
        remove(tmp_path / name)
    assert os.listdir(tmp_path) == ["folder"]
    remove(tmp_path / "folder")
    assert os.listdir(tmp_path) == []
