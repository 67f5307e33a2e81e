"""Creates what comes out of a source that is to be deployed, and nothing else.

Nothing is created outside of the target folder, no link leads out, nothing but files, folders and
links is created, no path comes twice, and sizes are counted as they are written. A link that leads
out is not created but recorded: it matters only if it belongs to the app.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from supervisor.files import atomic_file
from supervisor.source.file_tree import is_in_place
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

    def __init__(
        self, name: str, target: Path, limits: Limits, packed: int | None, home: Path | None
    ) -> None:
        self.name = name
        self.links: dict[str, str] = {}  # with their targets
        self.leading_out: dict[str, str] = {}  # links that are not created
        self._target = target
        self._home = home  # the app's own folder: an absolute link may lead into it
        self.limits = limits
        self._packed = packed  # the size of the archive; None for a folder
        self._kinds: dict[str, str] = {}
        self._size = 0

    def refuse(self, why: str, *, hint: str | None = None) -> NoReturn:
        """Raise the error that says why the source is not used."""
        raise UnpackError(f"cannot unpack {self.name}: {why}", hint=hint)

    def refuse_changed(self, what: str) -> NoReturn:
        """Raise the error that says that the source changed while it was read."""
        self.refuse(
            f"{what} changed while it was read",
            hint="repeat it when nothing writes there any more",
        )

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
        self.insist_on_count(len(self._kinds))
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
        self._new(path, "link")
        if link_stays_inside(path, leads_to) or self._leads_home(leads_to):
            self.links[path] = leads_to
        else:
            self.leading_out[path] = leads_to

    def _leads_home(self, leads_to: str) -> bool:
        if self._home is None or ".." in leads_to.split("/"):
            return False
        return any(
            Path(leads_to).is_relative_to(home)
            for home in (self._home, os.path.realpath(self._home))
        )

    def copy(self, path: str, source: Path, mode: int) -> None:
        """Copy a file of a folder with its times."""
        self._new(path, "file")
        atomic_file.copy_file(source, self._target / path, mode=mode & 0o777 | 0o600)

    def finish(self) -> None:
        """Create the links but those that lead out by way of another one."""
        absolute = {path for path, leads_to in self.links.items() if leads_to.startswith("/")}
        relative = self.links.keys() - absolute
        self._create(relative)
        out = {path for path in relative if not self._is_inside(path)}
        self._create(absolute)
        out |= {path for path in relative if not self._is_inside(path, or_home=True)}
        for path in out:
            os.unlink(self._target / path)
            self.leading_out[path] = self.links.pop(path)
        if not any(kind != "folder" for kind in self._kinds.values()):
            self.refuse("there is no file in it")

    def _create(self, links: Iterable[str]) -> None:
        for path in links:
            os.symlink(self.links[path], self._target / path)

    def _is_inside(self, path: str, *, or_home: bool = False) -> bool:
        real = Path(os.path.realpath(self._target / path))
        home = self._home if or_home else None
        return real.is_relative_to(os.path.realpath(self._target)) or (
            home is not None and is_in_place(real, Path(os.path.realpath(home)))
        )

    def grow(self, size: int) -> None:
        """Count bytes that come out of the source."""
        self._size += size
        if self._size > self.limits.size_max:
            self.refuse(f"more than {self.limits.size_max // 2**20} MiB come out of it")
        packed = self._packed
        if packed is not None and self._size > max(_RATIO_FROM, self.limits.ratio_max * packed):
            self.refuse(f"it grows more than {self.limits.ratio_max} times: it is no source code")

    def insist_on_count(self, files: int) -> None:
        """Refuse a source that more files come out of than are allowed."""
        if files > self.limits.files_max:
            self.refuse(f"more than {self.limits.files_max} files come out of it")

    def _new(self, path: str, kind: str) -> None:
        if not path:
            self.refuse("its top is no folder")
        self._parents(path)
        if path in self._kinds:
            self.refuse(f"{path} is in it twice")
        self._kinds[path] = kind
        self.insist_on_count(len(self._kinds))

    def _parents(self, path: str) -> None:
        parts = path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            parent = "/".join(parts[:depth])
            if self._kinds.setdefault(parent, "folder") != "folder":
                self.refuse(f"{parent} is in it as a folder, and as something else")
            self.insist_on_count(len(self._kinds))
            (self._target / parent).mkdir(exist_ok=True)


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
