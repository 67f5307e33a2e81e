"""Archives are hostile until shown otherwise: names, links, bombs, damage."""

import gzip
import io
import os
import random
import stat
import struct
import subprocess
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from archive_case import PROPERTY, Member, make_tar, make_zip, refusal, unpack_bytes
from hypothesis import given
from hypothesis import strategies as st

from supervisor.releases.unpack_writer import Limits, UnpackError
from supervisor.releases.unpacking import unpack

DIRECTORY = {"type": tarfile.DIRTYPE}


def link(leads_to: str) -> dict[str, object]:
    """Return the fields of a symbolic link."""
    return {"type": tarfile.SYMTYPE, "linkname": leads_to}


HOSTILE: dict[str, tuple[bytes, str]] = {
    "upwards": (make_tar(("../evil", {})), "leads out"),
    "upwards inside": (make_tar(("a/../../evil", {})), "leads out"),
    "absolute": (make_tar(("/tmp/evil", {})), "leads out"),
    "absolute folder": (make_tar(("/etc", DIRECTORY)), "leads out"),
    "link upwards": (make_tar(("a", link("../x"))), "the link a leads out"),
    "link absolute": (make_tar(("a", link("/etc/passwd"))), "the link a leads out"),
    "through a link": (make_tar(("a", link("b")), ("a/x", {})), "a is in it as a folder, and"),
    "link over a folder": (make_tar(("a/x", {}), ("a", link("b"))), "a is in it twice"),
    "link by a link": (
        make_tar(("d/e", DIRECTORY), ("d/l", link("e/..")), ("x", link("d/l/../.."))),
        "leads out",
    ),
    "link in circles": (
        make_tar(("l1", link("l2/../..")), ("l2", link("d/e")), ("d/e", DIRECTORY), ("f", {})),
        "leads out",
    ),
    "hard link": (
        make_tar(("a", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"})),
        "a is a hard link",
    ),
    "device": (make_tar(("a", {"type": tarfile.CHRTYPE})), "neither a file"),
    "block device": (make_tar(("a", {"type": tarfile.BLKTYPE})), "neither a file"),
    "pipe": (make_tar(("a", {"type": tarfile.FIFOTYPE})), "neither a file"),
    "twice": (make_tar(("a", {}), ("a", {})), "a is in it twice"),
    "twice, written differently": (make_tar(("a", {}), ("./a", {})), "a is in it twice"),
    "file and folder": (make_tar(("a", {}), ("a/b", {})), "a is in it as a folder, and"),
    "folder and file": (make_tar(("a/b", {}), ("a", {})), "a is in it twice"),
    "folder over file": (make_tar(("a", {}), ("a/", DIRECTORY)), "a is in it as a folder, and"),
    "control character": (make_tar(("a\nb", {})), "can't be used"),
    "escape": (make_tar(("a\x1b[2Jb", {})), "can't be used"),
    "backslash": (make_tar(("..\\evil", {})), "can't be used"),
    "not UTF-8": (make_tar(("a\udcff", {})), "can't be used"),
    "very long": (make_tar(("a/" * 2000 + "b", {})), "can't be used"),
    "the top is a file": (make_tar(("./", {})), "its top is no folder"),
    "no file": (make_tar(("a", DIRECTORY)), "there is no file in it"),
    "nothing": (make_tar(), "there is no file in it"),
    "zip upwards": (make_zip(("../evil", {})), "leads out"),
    "zip absolute": (make_zip(("/tmp/evil", {})), "leads out"),
    "zip backslash": (make_zip(("..\\evil", {})), "can't be used"),
    "zip link": (
        make_zip(("a", {"mode": stat.S_IFLNK | 0o777, "data": b"/etc/passwd"})),
        "the link a leads out",
    ),
    "zip device": (make_zip(("a", {"mode": stat.S_IFCHR})), "neither a file"),
    "zip through a link": (
        make_zip(("a", {"mode": stat.S_IFLNK | 0o777, "data": b"b"}), ("a/x", {})),
        "a is in it as a folder, and",
    ),
    "no archive": (b"#!/bin/sh\nrm -rf /\n", "it is none of: folder, .tar.gz, .tar, .zip"),
    "empty file": (b"", "it is none of"),
    "gzip of something else": (gzip.compress(b"hello"), "damaged"),
    "zip by its begin": (b"PK\x03\x04 and nothing else", "damaged"),
}


@pytest.mark.parametrize(("data", "why"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_refused(tmp_path: Path, data: bytes, why: str) -> None:
    """The message says why, and nothing outside of the target has changed."""
    assert why in refusal(tmp_path, data)


def test_a_zip_with_a_name_twice(tmp_path: Path) -> None:
    """Python warns when such an archive is made; unpacking refuses it."""
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = make_zip(("a", {}), ("a", {}))
    assert "a is in it twice" in refusal(tmp_path, data)


def test_a_zip_with_a_zero_byte_in_a_name(tmp_path: Path) -> None:
    """zipfile would cut the name off there; the archive is refused."""
    data = make_zip(("good.py_evil", {})).replace(b"good.py_evil", b"good.py\0evil")
    assert "can't be used" in refusal(tmp_path, data)


def test_a_zip_with_a_name_in_an_old_encoding(tmp_path: Path) -> None:
    """A name that is neither ASCII nor marked as UTF-8 could be anything."""
    data = make_zip(("xx.css", {})).replace(b"xx.css", b"\x84x.css")
    assert "is not marked as UTF-8" in refusal(tmp_path, data)


def test_an_encrypted_zip(tmp_path: Path) -> None:
    """The message says that it is encrypted."""
    data = bytearray(make_zip(("a", {})))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    assert refusal(tmp_path, bytes(data)) == "it is encrypted"


def test_a_bomb_of_zeros(tmp_path: Path) -> None:
    """What unpacks to 1000 times its size is stopped long before."""
    zeros = bytes(40 * 1024 * 1024)
    for data in (make_tar(("a", {"data": zeros})), make_zip(("a", {"data": zeros}))):
        assert "it grows more than 200 times" in refusal(tmp_path, data)
        target = tmp_path / "a/b/target"
        assert sum(path.stat().st_size for path in target.rglob("*")) < 20 * 1024 * 1024


def test_too_much(tmp_path: Path) -> None:
    """The sum of all files counts, whatever the archive says of their sizes."""
    noise = random.Random(1).randbytes(600_000)
    limits = Limits(size_max=2**20)
    members: list[Member] = [("a", {"data": noise}), ("b", {"data": noise})]
    assert "more than 1 MiB" in refusal(tmp_path, make_tar(*members), limits)
    assert "more than 1 MiB" in refusal(tmp_path, make_tar(*members, compress=False), limits)
    assert "more than 1 MiB" in refusal(tmp_path, make_zip(*members), limits)
    source = tmp_path / "folder"
    source.mkdir()
    (source / "a").write_bytes(noise)
    (source / "b").write_bytes(noise)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(UnpackError, match="more than 1 MiB"):
        unpack(source, target, limits=limits)


def test_too_many(tmp_path: Path) -> None:
    """Folders count as well, and so do those that only a path names."""
    limits = Limits(files_max=10)
    members: list[Member] = [(f"{n}", {}) for n in range(11)]
    assert "more than 10 files" in refusal(tmp_path, make_tar(*members), limits)
    assert "more than 10 files" in refusal(tmp_path, make_zip(*members), limits)
    deep = make_tar(("a/b/c/d/e/f/g/h/i/j/k/l", {}))
    assert "more than 10 files" in refusal(tmp_path, deep, limits)


def zip_directory(entries: int, claimed: int) -> bytes:
    """Return a zip archive with nothing but a central directory, which claims another length."""
    name = b"x" * 50
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", *[0] * 9, len(name), *[0] * 6) + name
    size = entries * len(entry)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, claimed, claimed, size, 0, 0)
    return entry * entries + end


@pytest.mark.parametrize("claimed", [1, 65535])
def test_a_zip_with_a_huge_directory(tmp_path: Path, claimed: int) -> None:
    """It is refused before zipfile creates an object for each of its entries."""
    data = zip_directory(300_000, claimed)
    tracemalloc.start()
    try:
        assert "more than 20000 files" in refusal(tmp_path, data)
        assert tracemalloc.get_traced_memory()[1] < 15 * 2**20  # zipfile alone takes 100 MiB
    finally:
        tracemalloc.stop()


def test_a_zip_with_many_entries(tmp_path: Path) -> None:
    """As many as are allowed are read, one more is not."""
    members: list[Member] = [(f"{n:04}", {}) for n in range(500)]
    assert len(list(unpack_bytes(tmp_path, make_zip(*members)).iterdir())) == 500
    limits = Limits(files_max=499)
    assert "more than 499 files" in refusal(tmp_path, make_zip(*members), limits)


def test_a_huge_header(tmp_path: Path) -> None:
    """A name of 100 MiB is not read into memory."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("a" * 200_000))
    assert "one of its headers is too large" in refusal(tmp_path, stream.getvalue())
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a")
        info.pax_headers = {"comment": "x" * 200_000}
        archive.addfile(info)
    assert "one of its headers is too large" in refusal(tmp_path, stream.getvalue())


def test_a_sparse_file(tmp_path: Path) -> None:
    """A file that claims to be a terabyte of nothing is refused."""
    file = tmp_path / "sparse"
    with file.open("wb") as stream:
        stream.truncate(2**40)
    archive = tmp_path / "sparse.tar"
    subprocess.run(
        ["tar", "--sparse", "-cf", str(archive), "-C", str(tmp_path), "sparse"], check=True
    )
    assert "neither a file" in refusal(tmp_path, archive.read_bytes())


GOOD: list[Member] = [(name, {"data": (name * 999).encode()}) for name in ("a", "d/b", "d/c")]


WHOLE = {
    "tar": make_tar(*GOOD, compress=False),
    "tar.gz": make_tar(*GOOD),
    "zip": make_zip(*GOOD),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_an_archive_that_ends_too_early(tmp_path: Path, kind: str) -> None:
    """Wherever it was cut, even between two files, it is refused."""
    data = WHOLE[kind]
    for end in {*range(1, len(data) - 1, max(1, len(data) // 60)), 512, 2048, 4096}:
        if end < len(data) - (9000 if kind == "tar" else 0):  # a tar ends in 10 KiB of zeros
            refusal(tmp_path, data[:end])


@given(kind=st.sampled_from(["tar.gz", "zip"]), data=st.data())
@PROPERTY
def test_an_archive_with_a_wrong_byte(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    """A flipped bit is either found, or changes nothing of the contents."""
    archive = bytearray(WHOLE[kind])
    archive[data.draw(st.integers(0, len(archive) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        target = unpack_bytes(tmp_path, bytes(archive))
    except UnpackError:
        return
    contents = {file.read_bytes() for file in target.rglob("*") if file.is_file()}
    assert contents <= {fields["data"] for _name, fields in GOOD}


PARTS = st.sampled_from(["a", "b", "..", ".", "", "c\\d", "ü"])


NAMES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)


KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])


MEMBERS = st.lists(st.tuples(NAMES, KINDS, NAMES), max_size=5)


@given(MEMBERS)
@PROPERTY
def test_whatever_the_names_nothing_leaves_the_target(
    tmp_path: Path, members: list[tuple[str, bytes, str]]
) -> None:
    """Any mixture of files, folders and links is refused, or unpacked with nothing leading out."""
    data = make_tar(
        *[(name, {"type": kind, "linkname": leads_to}) for name, kind, leads_to in members]
    )
    try:
        target = unpack_bytes(tmp_path, data)
    except UnpackError:
        return
    for path in target.rglob("*"):
        assert Path(os.path.realpath(path)).is_relative_to(target)
    files = [name for name, kind, _ in members if kind == tarfile.REGTYPE]
    assert len([p for p in target.rglob("*") if p.is_file() and not p.is_symlink()]) == len(files)


@given(st.binary(max_size=2000), st.sampled_from([b"", b"PK\x03\x04", b"\x1f\x8b\x08\0"]))
@PROPERTY
def test_garbage(tmp_path: Path, garbage: bytes, begin: bytes) -> None:
    """Whatever the bytes, the error is one that an operator can read."""
    refusal(tmp_path, begin + garbage)


@given(st.binary(min_size=512, max_size=4000))
@PROPERTY
def test_garbage_that_looks_like_tar(tmp_path: Path, garbage: bytes) -> None:
    """The same with the magic number of tar."""
    refusal(tmp_path, garbage[:257] + b"ustar" + garbage[257:])
