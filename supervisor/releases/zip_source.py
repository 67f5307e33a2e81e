"""Unpacks a zip archive that is to be deployed; it is hostile until shown otherwise."""

import stat
import zipfile
from collections.abc import Iterable, Iterator
from typing import IO

from supervisor.releases.unpack_writer import NAME_MAX, CountedStream, Writer


def unpack_zip(stream: IO[bytes], writer: Writer) -> None:
    """Unpack a zip archive; raises `UnpackError`, and what zipfile raises for garbage."""
    with zipfile.ZipFile(stream) as archive:
        for info in _checked(archive.infolist(), writer):
            path = writer.path(info.filename)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir():
                if path:
                    writer.folder(path)
            elif kind == stat.S_IFLNK:
                writer.link(path, _link_target(archive, info, writer))
            elif kind in (0, stat.S_IFREG):
                with archive.open(info) as content:
                    writer.file(path, CountedStream(content, writer), info.external_attr >> 16)
            else:
                writer.refuse(f"{path} is neither a file nor a folder nor a link")
    writer.finish()


def _checked(members: Iterable[zipfile.ZipInfo], writer: Writer) -> Iterator[zipfile.ZipInfo]:
    """Yield the members; refuses the archive for one whose name or content is unclear."""
    for info in members:
        if info.flag_bits & 0x1:
            writer.refuse("it is encrypted", hint="pack it without a password")
        if not info.flag_bits & 0x800 and not info.filename.isascii():
            writer.refuse(f"the name {info.filename[:80]!r} is not marked as UTF-8")
        if info.orig_filename != info.filename:
            writer.refuse(f"the name {info.orig_filename[:80]!r} can't be used")
        yield info


def _link_target(archive: zipfile.ZipFile, info: zipfile.ZipInfo, writer: Writer) -> str:
    if info.file_size > NAME_MAX:
        writer.refuse(f"the link {info.filename[:80]} is too long")
    with archive.open(info) as content:
        return content.read(NAME_MAX + 1).decode()
