"""Creates what comes out of a source that is to be deployed, and nothing else.

Nothing is created outside of the target folder, no link leads out, nothing but files, folders and
links is created, no path comes twice, and sizes are counted as they are written.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from supervisor.files import atomic_file
from supervisor.source.manifest import is_safe_path, link_stays_inside
from supervisor.values.errors import SupervisorError

FILES_MAX = 20_000
SIZE_MAX = 256 * 1024 * 1024
RATIO_MAX = 200  # source code packs to a tenth; what packs 200 times better is a bomb
NAME_MAX = 1024
CHUNK = 256 * 1024
_RATIO_FROM = 16 * 1024 * 1024  # less than that does no harm


class UnpackError(SupervisorError):
    """A source can't be unpacked, or must not be."""


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes, none at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may come out of a source; sizes in bytes."""

    files_max: int = FILES_MAX
    size_max: int = SIZE_MAX
    ratio_max: int = RATIO_MAX


class Writer:
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
        raise UnpackError(f"cannot unpack {self.name}: {why}", hint=hint)

    def path(self, name: str) -> str:
        """Return the path that a name in the source stands for; empty for the top itself."""
        path = name.removesuffix("/")
        while path.startswith("./"):
            path = path[2:].lstrip("/")
        if path in ("", "."):
            return ""
        # a surrogate, from a name that is no UTF-8, is not printable either
        if len(path) > NAME_MAX or not path.isprintable() or "\\" in path:
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

    def file(self, path: str, stream: Readable, mode: int) -> None:
        """Create a file; of ``mode`` only "executable" counts."""
        self._new(path, "file")
        fd = os.open(self._target / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)
        with os.fdopen(fd, "wb") as out:
            while part := stream.read(CHUNK):
                out.write(part)
            os.fchmod(out.fileno(), 0o755 if mode & 0o100 else 0o644)

    def link(self, path: str, leads_to: str) -> None:
        """Record a symbolic link; it is created last, so that nothing is written through it."""
        if not link_stays_inside(path, leads_to):
            self.refuse(f"the link {path} leads out of it, to {leads_to[:80]!r}")
        self._new(path, "link")
        self._links.append((path, leads_to))

    def copy(self, path: str, source: Path, mode: int) -> None:
        """Copy a file of a folder with its times."""
        self._new(path, "file")
        atomic_file.copy_file(source, self._target / path, mode=mode & 0o777 | 0o600)

    def finish(self) -> None:
        """Create the links; refuses one that leads out by way of another one."""
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


class CountedStream:
    """A stream whose bytes are counted as they come out of a source."""

    def __init__(self, stream: Readable, writer: Writer) -> None:
        self._stream = stream
        self._writer = writer

    def read(self, size: int, /) -> bytes:
        """Read as the stream does, but never more than a chunk at once."""
        part = self._stream.read(min(size, CHUNK))
        self._writer.grow(len(part))
        return part
