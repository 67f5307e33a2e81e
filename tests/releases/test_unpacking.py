"""Unpacking what is to be deployed: folders and archives."""

import os
import random
import shutil
import socket
import stat
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from archive_case import make_tar, make_zip, unpack_bytes

from supervisor.releases.unpack_writer import UnpackError
from supervisor.releases.unpacking import find_root, unpack

FILES = {"app/__init__.py": "new", "app/static/ä.css": "css", "run.sh": "#!/bin/sh"}


def make_source(folder: Path) -> Path:
    """Write a folder that is to be deployed."""
    for path, text in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / "run.sh").chmod(0o755)
    (folder / "app/empty").mkdir()
    (folder / "app/link").symlink_to("static/ä.css")
    return folder


def packed_by_tar(source: Path, file: Path, *options: str) -> Path:
    """Pack with the tar of the system."""
    subprocess.run(["tar", *options, "-cf", str(file), "-C", str(source), "."], check=True)
    return file


PACKERS: dict[str, Callable[[Path, Path], Path]] = {
    "folder": lambda source, file: source,
    "tar.gz": lambda source, file: packed_by_tar(source, file, "-z"),
    "tar": lambda source, file: packed_by_tar(source, file),
    "posix": lambda source, file: packed_by_tar(source, file, "-z", "--format=posix"),
    "python": lambda source, file: packed_by_python(source, file),
    "zip": lambda source, file: Path(shutil.make_archive(str(file), "zip", source)),
}


def packed_by_python(source: Path, file: Path) -> Path:
    """Pack with Python's tarfile, as `shutil` does."""
    with tarfile.open(file, "w:gz") as archive:
        archive.add(source, ".")
    return file


@pytest.mark.parametrize("packer", PACKERS)
def test_what_was_packed_comes_out(tmp_path: Path, packer: str) -> None:
    """Files, names beyond ASCII, executables, links, empty folders, of every kind of source."""
    source = make_source(tmp_path / "source")
    if packer == "zip":  # Python's writes no links
        (source / "app/link").unlink()
    target = tmp_path / "target"
    target.mkdir()
    unpack(PACKERS[packer](source, tmp_path / "archive"), target)
    found = {
        str(path.relative_to(target)): path.read_text()
        for path in target.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    assert found == FILES
    assert (target / "app/empty").is_dir()
    assert (target / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (target / "app/__init__.py").stat().st_mode & 0o777 == 0o644
    if packer != "zip":
        assert os.readlink(target / "app/link") == "static/ä.css"


def test_a_link_in_a_zip(tmp_path: Path) -> None:
    """The zip program writes links as the target's name with the mode of a link."""
    data = make_zip(("a", {}), ("b", {"mode": stat.S_IFLNK | 0o777, "data": b"a"}))
    assert os.readlink(unpack_bytes(tmp_path, data) / "b") == "a"


def test_special_bits_are_dropped(tmp_path: Path) -> None:
    """No file comes out set-uid or writable for all."""
    target = unpack_bytes(tmp_path, make_tar(("a", {"mode": 0o6777}), ("b", {"mode": 0o666})))
    assert (target / "a").stat().st_mode & 0o7777 == 0o755
    assert (target / "b").stat().st_mode & 0o7777 == 0o644


def test_a_working_folder(tmp_path: Path) -> None:
    """Its repository, environment and caches are not deployed."""
    source = make_source(tmp_path / "source")
    for path in (".git/HEAD", "env/pyvenv.cfg", "app/__pycache__/x.pyc", "node_modules/x/y.js"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text("")
    target = tmp_path / "target"
    target.mkdir()
    unpack(source, target)
    assert {path.name for path in target.iterdir()} - {"env"} == {"app", "run.sh"}
    assert {path.name for path in (target / "app").iterdir()} == {
        "__init__.py",
        "static",
        "empty",
        "link",
    }


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    """The message names it."""
    with pytest.raises(UnpackError, match=r"cannot unpack nosuch: .*No such file"):
        unpack(tmp_path / "nosuch", tmp_path)


@pytest.mark.root
def test_a_full_disk(tmp_path: Path) -> None:
    """The message names the place that is full, not the source."""
    source = tmp_path / "source.tar"
    source.write_bytes(make_tar(("a", {"data": random.Random(1).randbytes(400_000)})))
    target = tmp_path / "target"
    target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(target)], check=True)
    try:
        with pytest.raises(UnpackError) as raised:
            unpack(source, target)
        why = f"No space left on device: the file system of {target} is full"
        assert raised.value.message == f"cannot unpack source.tar: {why}"
    finally:
        subprocess.run(["umount", str(target)], check=True)


# ---- not files, or not the same files any more


SPECIAL: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "socket": lambda path: bind(path),
    "device": lambda path: path.symlink_to("/dev/null"),
}


def bind(path: Path) -> None:
    """Create a socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


@pytest.mark.parametrize("create", SPECIAL.values(), ids=SPECIAL)
@pytest.mark.timeout(20)
def test_a_source_that_is_no_file(tmp_path: Path, create: Callable[[Path], object]) -> None:
    """It is refused at once: a pipe without a writer would wait for ever."""
    create(tmp_path / "source")
    (tmp_path / "target").mkdir()
    with pytest.raises(UnpackError, match="it is none of: folder"):
        unpack(tmp_path / "source", tmp_path / "target")


@pytest.mark.parametrize("create", [os.mkfifo, bind], ids=["pipe", "socket"])
@pytest.mark.timeout(20)
def test_a_folder_with_something_else_in_it(
    tmp_path: Path, create: Callable[[Path], object]
) -> None:
    """It is named before anything is copied; outside of what is deployed it doesn't matter."""
    source = make_source(tmp_path / "source")
    create(source / "app/odd")
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(UnpackError, match="app/odd is neither a file nor a folder nor a link"):
        unpack(source, target)
    assert not list(target.iterdir())
    unpack(source, target, only=["run.sh"])


def while_it_is_copied(target: Path, change: Callable[[], object]) -> threading.Thread:
    """Start a thread that makes a change as soon as something lies in ``target``."""

    def wait() -> None:
        deadline = time.monotonic() + 30
        while not any(path.is_file() for path in target.rglob("*")):
            assert time.monotonic() < deadline
        change()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def rewrite(folder: Path) -> None:
    """Write the next version of every file in a folder, as a checkout would."""
    for file in sorted(folder.iterdir()):
        file.write_text("2")


CHANGES: dict[str, Callable[[Path], object]] = {
    "written": rewrite,
    "last one written": lambda folder: (folder / "2999").write_text("2"),
    "removed": lambda folder: (folder / "0000").unlink(),
    "added": lambda folder: (folder / "new").write_text("2"),
    "replaced": lambda folder: (folder / "2998").rename(folder / "2999"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_folder_that_changes_while_it_is_copied(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    """A mixture of two versions is never deployed."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "app").mkdir(parents=True)
    target.mkdir()
    for number in range(3000):
        (source / f"app/{number:04}").write_text("1")
    thread = while_it_is_copied(target, lambda: change(source / "app"))
    try:
        with pytest.raises(
            UnpackError, match=r"app/\w+(: No such file| changed while it was read)"
        ):
            unpack(source, target)
    finally:
        thread.join()


def test_an_archive_that_changes_while_it_is_read(tmp_path: Path) -> None:
    """It may be half written when it is read: the next attempt reads it whole."""
    source, target = tmp_path / "source.tar", tmp_path / "target"
    noise = random.Random(1).randbytes(40_000_000)
    source.write_bytes(make_tar(("a", {}), ("b", {"data": noise}), compress=False))
    target.mkdir()

    def touch() -> None:
        with source.open("r+b") as stream:
            stream.write(b"a")

    thread = while_it_is_copied(target, touch)
    try:
        with pytest.raises(UnpackError, match=r"source\.tar changed while it was read"):
            unpack(source, target)
    finally:
        thread.join()
    shutil.rmtree(target)
    target.mkdir()
    unpack(source, target)


# ---- where the app is in it


@pytest.mark.parametrize(
    ("names", "root"),
    [
        (["app/x.py"], "."),
        (["run.py"], "."),
        (["app/x.py", "README"], "."),
        (["coach-main/app/x.py", "coach-main/README"], "coach-main"),
        (["coach-main/run.py", "pax_global_header", "__MACOSX/x"], "coach-main"),
        (["app/app/x.py"], "."),
    ],
)
def test_where_the_app_lies(tmp_path: Path, names: list[str], root: str) -> None:
    """At the top, or in the one folder that the archive of a project has there."""
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert find_root(tmp_path, ["app", "run.py", "static/css"]) == tmp_path / root


@pytest.mark.parametrize("names", [["x.py"], ["a/x.py"], ["a/app/x.py", "b/x.py"], ["a/b/app/x"]])
def test_an_app_that_is_not_in_it(tmp_path: Path, names: list[str]) -> None:
    """The message names what was expected, and the hint what is there."""
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    with pytest.raises(UnpackError, match=r"none of the app's files is in it: app, run\.py") as e:
        find_root(tmp_path, ["app", "run.py"])
    assert names[0].split("/")[0] in str(e.value.hint)
