"""What is known of an app's files beside its releases, in a small file beside the store."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

NAMES_MAX = 10_000
IN_FOLDER_MAX = 50  # files of one folder, beyond which the folder stands for them


@dataclass(frozen=True, slots=True, kw_only=True)
class AppNotes:
    """Paths below the app's folder: ``written`` by the app itself, ``created`` by deploys."""

    written: frozenset[str] = frozenset()
    created: frozenset[str] = frozenset()

    @classmethod
    def read(cls, file: Path) -> Self:
        """Return what is noted in a file; nothing where there is none, or where it is damaged."""
        try:
            document = json.loads(file.read_bytes())
            written = frozenset(map(str, document["written"]))
            created = frozenset(map(str, document["created"]))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return cls()
        return cls(written=written, created=created)

    def to_bytes(self) -> bytes:
        """Return the text that `read` reads."""
        document = {"written": sorted(self.written), "created": sorted(self.created)}
        return json.dumps(document, indent=0).encode() + b"\n"

    def with_written(self, paths: Iterable[str]) -> Self:
        """Return the notes with more files that the app has written."""
        return type(self)(written=_bounded({*self.written, *paths}), created=self.created)

    def with_created(self, added: Iterable[str], removed: Iterable[str]) -> Self:
        """Return the notes after a deploy has ``added`` and ``removed`` files."""
        created = frozenset({*self.created, *added} - {*removed})
        return type(self)(written=self.written, created=created)


def _bounded(paths: set[str]) -> frozenset[str]:
    """Return the paths, with a folder in place of its files where they are many."""
    of: dict[str, set[str]] = {}
    for path in paths:
        of.setdefault(path.rpartition("/")[0], set()).add(path)
    for folder, files in of.items():
        if folder and len(files) > IN_FOLDER_MAX:
            paths = (paths - files) | {f"{folder}/"}
    folders = tuple(path for path in paths if path.endswith("/"))
    found = {
        path
        for path in paths
        if not any(path.startswith(folder) and path != folder for folder in folders)
    }
    return frozenset(sorted(found)[:NAMES_MAX])
