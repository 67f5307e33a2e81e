"""Unpacks a zip archive that is to be deployed; it is hostile until shown otherwise."""

import stat
import zipfile
from collections.abc import Iterable, Iterator
from typing import IO

from supervisor.releases.unpack_writer import NAME_MAX, CountedStream, Writer

_ENTRY = b"PK\x01\x02"  # begins each entry of the central directory (APPNOTE.TXT 4.3.12)
_ENTRY_SIZE = 256  # 46 bytes, the name, times and owners
_END_SIZE = 128 * 1024  # the records at the end, with a comment of 64 KiB


def unpack_zip(stream: IO[bytes], writer: Writer) -> None:
    """Unpack a zip archive; raises `UnpackError`, and what zipfile raises for garbage."""
    guard = _DirectoryGuard(stream, writer)
    with zipfile.ZipFile(guard) as archive:
        guard.is_active = False
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


class _DirectoryGuard:
    """A stream that refuses an archive whose central directory is too large, while it is active.

    zipfile reads the directory at once, whatever its size, and creates an object for each entry:
    an archive of 100 MB with nothing else in it would take more memory than a Raspberry Pi has.
    """

    def __init__(self, stream: IO[bytes], writer: Writer) -> None:
        self._writer = writer
        self._stream = stream
        self._size_max = _END_SIZE + _ENTRY_SIZE * writer.limits.files_max
        self.is_active = True
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable

    def read(self, size: int = -1, /) -> bytes:
        """Read as the stream does, but never too much at once."""
        if not self.is_active:
            return self._stream.read(size)
        data = self._stream.read(self._size_max + 1 if size < 0 else min(size, self._size_max + 1))
        files_max = self._writer.limits.files_max
        if len(data) > self._size_max or data.count(_ENTRY) > files_max:
            self._writer.refuse(f"more than {files_max} files come out of it")
        return data


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
