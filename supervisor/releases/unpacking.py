"""Unpacks what is to be deployed: a folder, a tar (gzip or not) or a zip archive.

Any error means: nothing of it is used.
"""

import gzip
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO

from supervisor.releases import source_folder, tar_source, zip_source
from supervisor.releases.unpack_writer import Limits, UnpackError, Writer

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


def unpack(
    source: Path,
    target: Path,
    *,
    limits: Limits | None = None,
    only: Collection[str] | None = None,
) -> None:
    """Put what is in ``source`` into the empty folder ``target``; raises `UnpackError`.

    Of a folder, which may be an operator's whole project, ``only`` these entries are taken. After
    an error, what is in ``target`` must not be used. Blocks on the disk.
    """
    name = source.name
    try:
        if source.is_dir():
            source_folder.copy_folder(source, Writer(name, target, limits or Limits(), None), only)
            return
        with source.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            writer = Writer(name, target, limits or Limits(), size)
            _unpack_stream(stream, writer, stream.read(512))
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else str(source)
        if where.startswith(f"{target}/"):
            where = os.path.relpath(where, target)
        raise UnpackError(f"cannot unpack {name}: {where}: {error.strerror or error}") from error


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
        hint=f"at its top there is: {', '.join(sorted(tops)[:8]) or 'nothing'}",
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
            writer.refuse(
                "it is none of: folder, .tar.gz, .tar, .zip",
                hint="make one with: tar czf app.tar.gz FILES",
            )
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
        writer.refuse(f"it is damaged, or not complete: {error}")
    except _UNREADABLE as error:
        writer.refuse(f"it can't be read: {error}")
