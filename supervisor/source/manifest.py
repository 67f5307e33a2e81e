"""What a release consists of, as values: files with their hashes, and what differs between two."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import asdict
from functools import cached_property
from typing import Any, Self

from supervisor.values.records import dataclass

_SHA256 = re.compile(r"[0-9a-f]{64}")
_EXECUTABLE = 0o100
SHORT = 8  # characters of a digest that a person sees


class BadManifest(ValueError):
    """A document is not a manifest, though it stands for one."""


def is_safe_path(path: str) -> bool:
    """Return whether ``path`` is relative, names something, and never leads upwards."""
    parts = path.split("/")
    return "\0" not in path and not {"", ".", ".."} & set(parts)


def link_stays_inside(path: str, target: str) -> bool:
    """Return whether a link at ``path`` to ``target`` leads to a place below the same root.

    Only the text is examined: a link on the way to the target is not followed.
    """
    if not target or target.startswith("/") or "\0" in target:
        return False
    parts = path.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            if not parts:
                return False
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file, or a link (``link`` is its target), or an empty folder (neither hash nor link).

    ``path`` is relative to the app's folder and written with ``/``; ``size`` is in bytes.
    """

    path: str
    mode: int
    size: int = 0
    sha256: str | None = None
    link: str | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is an empty folder."""
        return self.sha256 is None and self.link is None

    @property
    def content(self) -> str:
        """What makes it differ from another entry at the same path."""
        if self.link is not None:
            return f"link {self.link}"
        if self.sha256 is None:
            return "folder"
        return f"file {self.sha256}{' x' if self.mode & _EXECUTABLE else ''}"


@dataclass(frozen=True)
class Manifest:
    """All entries of a release, ordered by path."""

    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Self:
        """Return a manifest of these entries, in order."""
        return cls(tuple(sorted(entries, key=lambda entry: entry.path)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over paths and contents; of the modes only whether a file is executable."""
        digest = hashlib.sha256()
        for entry in self.entries:
            line = f"{entry.path}\0{entry.content}\0"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    @property
    def size(self) -> int:
        """The size of all files in bytes."""
        return sum(entry.size for entry in self.entries)

    def to_json(self) -> list[dict[str, Any]]:
        """Return JSON that `from_json` reads."""
        return [
            {key: value for key, value in asdict(entry).items() if value is not None}
            for entry in self.entries
        ]

    @classmethod
    def from_json(cls, document: Any) -> Self:
        """Return the manifest that `to_json` wrote; raises `BadManifest` for anything else."""
        if not isinstance(document, list):
            raise BadManifest("its list of files is missing")
        entries = [_entry(fields) for fields in document]
        if len({entry.path for entry in entries}) != len(entries):
            raise BadManifest("a file is in it twice")
        return cls.of(entries)


def _entry(fields: Any) -> Entry:
    try:
        entry = Entry(**fields)
    except TypeError as error:
        raise BadManifest("an entry has unknown fields") from error
    numbers = all(type(n) is int and n >= 0 for n in (entry.mode, entry.size))
    if not isinstance(entry.path, str) or not is_safe_path(entry.path) or not numbers:
        raise BadManifest(f"an entry is not sound: {entry.path!r}")
    if entry.link is not None and (not isinstance(entry.link, str) or entry.sha256 is not None):
        raise BadManifest(f"an entry is not sound: {entry.path!r}")
    hashed = isinstance(entry.sha256, str) and _SHA256.fullmatch(entry.sha256) is not None
    if entry.sha256 is not None and not hashed:
        raise BadManifest(f"an entry is not sound: {entry.path!r}")
    return entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The paths in which one manifest differs from another."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def compare(old: Manifest, new: Manifest) -> Difference:
    """Return which paths were added, removed and changed from ``old`` to ``new``."""
    before = {entry.path: entry.content for entry in old.entries}
    after = {entry.path: entry.content for entry in new.entries}
    return Difference(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=tuple(sorted(p for p in before.keys() & after.keys() if before[p] != after[p])),
    )
