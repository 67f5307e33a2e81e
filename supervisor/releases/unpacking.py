"""Unpacks what is to be deployed: a folder, a tar (gzip or not) or a zip archive.

Any error means: nothing of it is used.
"""

import gzip
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import IO, NamedTuple

from supervisor.releases import disk_errors, source_folder, tar_source, zip_source
from supervisor.releases.unpack_writer import Limits, UnpackError, Writer
from supervisor.source.manifest import link_stays_inside

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
_KINDS = "it is none of: folder, .tar.gz, .tar, .zip"
_PACK = "make one with: tar czf app.tar.gz FILES"
_TOPS_IGNORED = ("pax_global_header", "__MACOSX", ".DS_Store")


class Links(NamedTuple):
    """The links of a source with their targets; those that lead out of it are not created."""

    created: dict[str, str]
    leading_out: dict[str, str]


def unpack(
    source: Path,
    target: Path,
    *,
    limits: Limits | None = None,
    only: Collection[str] | None = None,
    home: Path | None = None,
) -> Links:
    """Put what is in ``source`` into the empty folder ``target``; raises `UnpackError`.

    Of a folder, which may be an operator's whole project, ``only`` these entries are taken. Links
    may lead into ``home``, the app's own folder; those that lead elsewhere are not created. After
    an error, what is in ``target`` must not be used. Blocks on the disk.
    """
    name, limits = source.name, limits or Limits()
    try:
        if source.is_dir():
            writer = Writer(name, target, limits, None, home)
            source_folder.copy_folder(source, writer, only)
            return Links(writer.links, writer.leading_out)
        with _open(source) as stream:
            before = os.fstat(stream.fileno())
            writer = Writer(name, target, limits, before.st_size, home)
            _unpack_stream(stream, writer, stream.read(512))
            if _stamp(os.fstat(stream.fileno())) != _stamp(before):
                writer.refuse_changed(name)
            return Links(writer.links, writer.leading_out)
    except OSError as error:
        raise _cannot(source, target, home, error) from error


def _open(source: Path) -> IO[bytes]:
    """Open an archive; raises `UnpackError` for what is no file, and does not open it."""
    fd = -1
    status = source.stat()
    if stat.S_ISREG(status.st_mode):  # opening a device may do something, a pipe waits
        fd = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        status = os.fstat(fd)  # of what was opened: it may be another one by now
    if not stat.S_ISREG(status.st_mode):
        if fd >= 0:
            os.close(fd)
        raise UnpackError(f"cannot unpack {source.name}: {_KINDS}", hint=_PACK)
    return os.fdopen(fd, "rb")


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _cannot(source: Path, target: Path, home: Path | None, error: OSError) -> UnpackError:
    why = disk_errors.reason(error, home or target)
    if not disk_errors.is_full(error):
        where = error.filename if isinstance(error.filename, str) else str(source)
        place = os.path.relpath(where, target) if where.startswith(f"{target}/") else where
        why = f"{place}: {why}"
    return UnpackError(f"cannot unpack {source.name}: {why}")


def refuse_links(source: Path, links: Links, root: str, include: Iterable[str]) -> None:
    """Raise `UnpackError` if a link in the entries ``include`` of ``root`` leads out of ``root``.

    ``root`` is a folder in the source. Links elsewhere don't matter.
    """
    for path, leads_to in sorted({**links.created, **links.leading_out}.items()):
        inside = os.path.relpath(path, root)
        is_inside = leads_to.startswith("/") or link_stays_inside(inside, leads_to)
        if path in links.created and is_inside:
            continue
        for entry in include:
            if f"{inside}/".startswith(f"{entry}/") or entry.startswith(f"{inside}/"):
                raise UnpackError(
                    f"cannot unpack {source.name}: the link {path} leads out of it, "
                    f"to {leads_to[:80]!r}",
                    hint="replace it by what it leads to, or leave it out of `include`",
                )


def find_root(folder: Path, include: Collection[str]) -> Path:
    """Return the folder that holds the entries of ``include``: ``folder``, or the only one in it.

    An archive of a project often has one folder at its top. Raises `UnpackError` when neither
    holds any of them.
    """
    wanted = sorted({entry.split("/")[0] for entry in include})
    if any(os.path.lexists(folder / name) for name in wanted):
        return folder
    tops = [name for name in os.listdir(folder) if name not in _TOPS_IGNORED]
    if len(tops) == 1 and (folder / tops[0]).is_dir() and not (folder / tops[0]).is_symlink():
        inner = folder / tops[0]
        if any(os.path.lexists(inner / name) for name in wanted):
            return inner
    raise UnpackError(
        f"none of the app's files is in it: {', '.join(wanted)}",
        hint="SOURCE has to have the files of the app's `path` at its top, where there is: "
        f"{', '.join(sorted(tops)[:8]) or 'nothing'}",
    )


def _unpack_stream(stream: IO[bytes], writer: Writer, head: bytes) -> None:
    stream.seek(0)
    try:
        if head.startswith(b"PK"):
            zip_source.unpack_zip(stream, writer)
        elif head.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=stream) as plain:
                tar_source.unpack_tar(plain, writer)
        elif head[257:262] == b"ustar":
            tar_source.unpack_tar(stream, writer)
        else:
            writer.refuse(_KINDS, hint=_PACK)
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
        writer.refuse(f"it is damaged, or not complete: {error}")
    except _UNREADABLE as error:
        writer.refuse(f"it can't be read: {error}")
