"""Unpacks what somebody wants to deploy: a folder, a tar (gzip or not) or a zip archive.

An archive is hostile until shown otherwise. Nothing is created outside of the target folder, no
link leads out, nothing but files, folders and links is created, no path comes twice, and sizes are
counted as they are written, whatever the archive claims. Any error means: nothing of it is used.
"""

import gzip
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn, Protocol

from supervisor.files import atomic_file
from supervisor.source.manifest import is_safe_path, link_stays_inside
from supervisor.values.errors import SupervisorError

FILES_MAX = 20_000
SIZE_MAX = 256 * 1024 * 1024
RATIO_MAX = 200  # source code packs to a tenth; what packs 200 times better is a bomb
_RATIO_FROM = 16 * 1024 * 1024  # less than that does no harm
_HEADER_MAX = 64 * 1024  # long names and their like, which tarfile reads into memory
_NAME_MAX = 1024
_CHUNK = 256 * 1024
_TAR_END = 1024  # two blocks of zeros (POSIX pax)
# What tarfile and zipfile raise for garbage, beside their own errors.
_UNREADABLE = (
    ValueError,
    OverflowError,
    LookupError,
    RecursionError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    struct.error,
)
_TOPS_IGNORED = ("pax_global_header", "__MACOSX", ".DS_Store")


class ArchiveError(SupervisorError):
    """The source can't be unpacked, or must not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may come out of a source; sizes in bytes."""

    files_max: int = FILES_MAX
    size_max: int = SIZE_MAX
    ratio_max: int = RATIO_MAX


def unpack(
    source: Path,
    target: Path,
    *,
    limits: Limits | None = None,
    only: Collection[str] | None = None,
) -> None:
    """Put what is in ``source`` into the empty folder ``target``; raises `ArchiveError`.

    Of a folder, which may be somebody's whole project, ``only`` these names are taken. What is in
    ``target`` after an error is of no use. Blocks on the disk.
    """
    name = source.name
    try:
        if source.is_dir():
            _unpack_folder(source, _Writer(name, target, limits or Limits(), None), only)
            return
        with source.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            writer = _Writer(name, target, limits or Limits(), size)
            _unpack_stream(stream, writer, stream.read(512))
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else str(source)
        if where.startswith(f"{target}/"):
            where = os.path.relpath(where, target)
        raise ArchiveError(f"cannot unpack {name}: {where}: {error.strerror or error}") from error


def find_root(folder: Path, include: Collection[str]) -> Path:
    """Give the folder in which the names of ``include`` lie: ``folder``, or the only one in it.

    An archive of a project often has one folder at its top. Raises `ArchiveError` when the names
    are in neither.
    """
    wanted = sorted({entry.split("/")[0] for entry in include})
    if any(os.path.lexists(folder / name) for name in wanted):
        return folder
    tops = [name for name in os.listdir(folder) if name not in _TOPS_IGNORED]
    if len(tops) == 1 and (folder / tops[0]).is_dir() and not (folder / tops[0]).is_symlink():
        inner = folder / tops[0]
        if any(os.path.lexists(inner / name) for name in wanted):
            return inner
    raise ArchiveError(
        f"none of the app's files is in it: {', '.join(wanted)}",
        hint=f"at its top there is: {', '.join(sorted(tops)[:8]) or 'nothing'}",
    )


class _Writer:
    """Creates what comes out of a source below ``target``, and nothing else."""

    def __init__(self, name: str, target: Path, limits: Limits, packed: int | None) -> None:
        self.name = name
        self._target = target
        self._limits = limits
        self._packed = packed  # the size of the archive; None for a folder
        self._kinds: dict[str, str] = {}
        self._links: list[tuple[str, str]] = []
        self._size = 0

    def refuse(self, why: str, *, hint: str | None = None) -> NoReturn:
        """Raise the error that says why the source is not used."""
        raise ArchiveError(f"cannot unpack {self.name}: {why}", hint=hint)

    def path(self, name: str) -> str:
        """Give the path that a name in the source stands for; empty for the top itself."""
        path = name.removesuffix("/")
        while path.startswith("./"):
            path = path[2:].lstrip("/")
        if path in ("", "."):
            return ""
        # a surrogate, from a name that is no UTF-8, is not printable either
        if len(path) > _NAME_MAX or not path.isprintable() or "\\" in path:
            self.refuse(f"the name {path[:80]!r} can't be used")
        if not is_safe_path(path):
            self.refuse(f"the path {path!r} leads out of it, or isn't plain")
        return path

    def folder(self, path: str) -> None:
        """Create a folder; one that is there already is fine."""
        self._parents(path)
        if self._kinds.setdefault(path, "folder") != "folder":
            self.refuse(f"{path} is in it as a folder, and as something else")
        self._count()
        (self._target / path).mkdir(exist_ok=True)

    def file(self, path: str, stream: "_Readable", mode: int) -> None:
        """Create a file; of ``mode`` only whether it is executable counts."""
        self._new(path, "file")
        fd = os.open(self._target / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)
        with os.fdopen(fd, "wb") as out:
            while part := stream.read(_CHUNK):
                out.write(part)
            os.fchmod(out.fileno(), 0o755 if mode & 0o100 else 0o644)

    def link(self, path: str, leads_to: str) -> None:
        """Note a symbolic link; it is created last, so that nothing is written through it."""
        if not link_stays_inside(path, leads_to):
            self.refuse(f"the link {path} leads out of it, to {leads_to[:80]!r}")
        self._new(path, "link")
        self._links.append((path, leads_to))

    def copied(self, path: str, source: Path, mode: int) -> None:
        """Copy a file of a folder with its times."""
        self._new(path, "file")
        atomic_file.copy_file(source, self._target / path, mode=mode & 0o777 | 0o600)

    def finish(self) -> None:
        """Create the links; one that leads out by way of another one is refused."""
        for path, leads_to in self._links:
            os.symlink(leads_to, self._target / path)
        root = Path(os.path.realpath(self._target))
        for path, leads_to in self._links:
            if not Path(os.path.realpath(self._target / path)).is_relative_to(root):
                self.refuse(f"the link {path} leads out of it, to {leads_to[:80]!r}")
        if not any(kind != "folder" for kind in self._kinds.values()):
            self.refuse("there is no file in it")

    def grow(self, size: int) -> None:
        """Count bytes that come out of the source."""
        self._size += size
        if self._size > self._limits.size_max:
            self.refuse(f"more than {self._limits.size_max // 2**20} MiB come out of it")
        packed = self._packed
        if packed is not None and self._size > max(_RATIO_FROM, self._limits.ratio_max * packed):
            self.refuse(f"it grows more than {self._limits.ratio_max} times: it is no source code")

    def _new(self, path: str, kind: str) -> None:
        if not path:
            self.refuse("its top is no folder")
        self._parents(path)
        if path in self._kinds:
            self.refuse(f"{path} is in it twice")
        self._kinds[path] = kind
        self._count()

    def _parents(self, path: str) -> None:
        parts = path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            parent = "/".join(parts[:depth])
            if self._kinds.setdefault(parent, "folder") != "folder":
                self.refuse(f"{parent} is in it as a folder, and as something else")
            self._count()
            (self._target / parent).mkdir(exist_ok=True)

    def _count(self) -> None:
        if len(self._kinds) > self._limits.files_max:
            self.refuse(f"more than {self._limits.files_max} files come out of it")


# ---- folders


def _unpack_folder(source: Path, writer: _Writer, only: Collection[str] | None) -> None:
    root = Path(os.path.realpath(source))
    for path, entry in _walk(root, "", only):
        if entry.is_symlink():
            leads_to = os.readlink(entry.path)
            if link_stays_inside(path, leads_to):
                writer.link(path, leads_to)
            else:
                writer.refuse(f"the link {path} leads out of it, to {leads_to[:80]!r}")
        elif entry.is_dir(follow_symlinks=False):
            writer.folder(path)
        elif entry.is_file(follow_symlinks=False):
            status = entry.stat(follow_symlinks=False)
            writer.grow(status.st_size)
            writer.copied(path, Path(entry.path), status.st_mode)
        # sockets, pipes and devices of a working folder are no part of what is deployed
    writer.finish()


def _walk(
    folder: Path, path: str, only: Collection[str] | None = None
) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """Give all that lies in a folder, without what never belongs to a deploy."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    if path and any(entry.name == "pyvenv.cfg" for entry in found):
        return
    for entry in found:
        inner = f"{path}/{entry.name}" if path else entry.name
        if entry.name in (".git", "__pycache__", "node_modules") or entry.name.startswith(
            ".flask-supervisor"
        ):
            continue
        if only is not None and entry.name not in only:
            continue
        yield inner, entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), inner)


# ---- archives


def _unpack_stream(stream: IO[bytes], writer: _Writer, head: bytes) -> None:
    stream.seek(0)
    try:
        if head.startswith(b"PK"):
            _unpack_zip(stream, writer)
        elif head.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=stream) as plain:
                _unpack_tar(plain, writer)
        elif head[257:262] == b"ustar":
            _unpack_tar(stream, writer)
        else:
            writer.refuse(
                "it is none of: folder, .tar.gz, .tar, .zip",
                hint="make one with: tar czf app.tar.gz FILES",
            )
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
        writer.refuse(f"it is damaged, or not complete: {error}")
    except _UNREADABLE as error:
        writer.refuse(f"it can't be read: {error}")


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Counted:
    """A stream whose bytes are counted as they come, and that knows how it ended."""

    def __init__(self, stream: _Readable, writer: _Writer) -> None:
        self._stream = stream
        self._writer = writer
        self.tail = b""

    def read(self, size: int, /) -> bytes:
        """Read as the stream does, but never more than a chunk at once."""
        part = self._stream.read(min(size, _CHUNK))
        self._writer.grow(len(part))
        self.tail = (self.tail + part)[-_TAR_END:]
        return part


class _Member(tarfile.TarInfo):
    """A member whose extra headers are small: tarfile reads them into memory as a whole."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        is_header = self.type in (
            tarfile.XHDTYPE,
            tarfile.XGLTYPE,
            tarfile.SOLARIS_XHDTYPE,
            tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
        )
        if is_header and not 0 <= self.size <= _HEADER_MAX:
            raise tarfile.ReadError("one of its headers is too large")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]


def _unpack_tar(stream: _Readable, writer: _Writer) -> None:
    counted = _Counted(stream, writer)
    with tarfile.open(  # type: ignore[call-overload]  # "r|" does nothing but read
        fileobj=counted, mode="r|", tarinfo=_Member, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        while (member := archive.next()) is not None:
            _unpack_member(archive, member, writer)
            archive.members.clear()  # else it remembers them all
    while counted.read(_CHUNK):
        pass  # to the very end: that is where gzip tells whether all of it was right
    if counted.tail.strip(b"\0") or len(counted.tail) < _TAR_END:
        writer.refuse("it is damaged, or not complete: its end is missing")
    writer.finish()


def _unpack_member(archive: tarfile.TarFile, member: tarfile.TarInfo, writer: _Writer) -> None:
    path = writer.path(member.name)
    if member.isdir():
        if path:
            writer.folder(path)
    elif member.issym():
        writer.link(path, member.linkname)
    elif member.islnk():
        writer.refuse(
            f"{path} is a hard link",
            hint="pack it with: tar --hard-dereference -czf app.tar.gz FILES",
        )
    elif member.isreg() and not member.issparse():
        content = archive.extractfile(member)
        assert content is not None
        writer.file(path, content, member.mode)  # counted as a part of the archive
    else:
        writer.refuse(f"{path} is neither a file nor a folder nor a link")


def _unpack_zip(stream: IO[bytes], writer: _Writer) -> None:
    with zipfile.ZipFile(stream) as archive:
        for info in _sound(archive.infolist(), writer):
            path = writer.path(info.filename)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir():
                if path:
                    writer.folder(path)
            elif kind == stat.S_IFLNK:
                writer.link(path, _link_target(archive, info, writer))
            elif kind in (0, stat.S_IFREG):
                with archive.open(info) as content:
                    writer.file(path, _Counted(content, writer), info.external_attr >> 16)
            else:
                writer.refuse(f"{path} is neither a file nor a folder nor a link")
    writer.finish()


def _sound(members: Iterable[zipfile.ZipInfo], writer: _Writer) -> Iterator[zipfile.ZipInfo]:
    for info in members:
        if info.flag_bits & 0x1:
            writer.refuse("it is encrypted", hint="pack it without a password")
        if not info.flag_bits & 0x800 and not info.filename.isascii():
            writer.refuse(f"the name {info.filename[:80]!r} is not marked as UTF-8")
        if info.orig_filename != info.filename:
            writer.refuse(f"the name {info.orig_filename[:80]!r} can't be used")
        yield info


def _link_target(archive: zipfile.ZipFile, info: zipfile.ZipInfo, writer: _Writer) -> str:
    if info.file_size > _NAME_MAX:
        writer.refuse(f"the link {info.filename[:80]} is too long")
    with archive.open(info) as content:
        return content.read(_NAME_MAX + 1).decode()
