"""Unpacks a tar archive that is to be deployed; it is hostile until shown otherwise."""

import tarfile

from supervisor.releases.unpack_writer import CHUNK, CountedStream, Readable, Writer

_HEADER_MAX = 64 * 1024  # long names and the like, which tarfile reads into memory
_TAR_END = 1024  # two blocks of zeros (POSIX pax)


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


class _TarStream(CountedStream):
    """A stream that knows how it ended: a cut between two members looks complete to tarfile."""

    tail = b""

    def read(self, size: int, /) -> bytes:
        """Read as the stream does."""
        part = super().read(size)
        self.tail = (self.tail + part)[-_TAR_END:]
        return part


def unpack_tar(stream: Readable, writer: Writer) -> None:
    """Unpack a tar archive; raises `UnpackError`, and what tarfile raises for garbage."""
    counted = _TarStream(stream, writer)
    with tarfile.open(  # type: ignore[call-overload]  # "r|" does nothing but read
        fileobj=counted, mode="r|", tarinfo=_Member, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        while (member := archive.next()) is not None:
            _unpack_member(archive, member, writer)
            archive.members.clear()  # else it keeps them all
    while counted.read(CHUNK):
        pass  # to the very end: there gzip verifies its checksum
    if counted.tail.strip(b"\0") or len(counted.tail) < _TAR_END:
        writer.refuse("it is damaged, or not complete: its end is missing")
    writer.finish()


def _unpack_member(archive: tarfile.TarFile, member: tarfile.TarInfo, writer: Writer) -> None:
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
