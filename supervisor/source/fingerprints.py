"""Fingerprints of an app's source files, which change with the files.

A worker takes one before it imports: a different one later means that the code on disk is no
longer the code that was imported. Only sources and templates count: an app may write data and
logs beside them.
"""

import hashlib
import os
import sysconfig
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from supervisor.values.records import dataclass

_SOURCES = (".py", ".pyi", ".so", ".pth")
TEMPLATES = "templates"  # files in such a folder count too: Flask keeps templates in memory
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})
_BACKUPS = ("~", "#", ".bak", ".orig", ".tmp")  # what editors leave; hidden files never count
_LIBRARY = os.path.join(os.path.dirname(os.__file__), "")
_OWN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
_INSTALLED = frozenset({"site-packages", "dist-packages"})
LATELY_S = 2.0  # a file that changed within this time may change again in the same second
ENTRIES_MAX = 20_000  # sources and folders; of a larger tree only so many are watched


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is watched: trees of sources, folders by the names in them, and single files.

    In the trees of ``templates`` every file counts. ``skip`` are folders in the trees that hold no
    sources: the supervisor and apps write there.
    """

    trees: tuple[str, ...]
    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Return the watch that `to_json` wrote."""
        return cls(**{name: tuple(paths) for name, paths in fields.items()})


def fingerprint(watch: Watch) -> str:
    """Return a digest that changes when a watched source is written, added, moved or removed.

    Missing files and folders are part of it. Blocks on the disk.
    """
    return read_watch(watch)[0]


def taken(watch: Watch) -> dict[str, Any]:
    """Return a watch with its present fingerprint, as JSON that `differs` takes."""
    return {"watch": watch.to_json(), "fingerprint": fingerprint(watch)}


def read_watch(watch: Watch) -> tuple[str, frozenset[str], bool]:
    """Return the fingerprint, its `stamps`, and whether a file changed in the last `LATELY_S`.

    By the wall clock, as the times of files are; a time in the future counts as a change.
    """
    digest = hashlib.blake2b(digest_size=16)
    newest_ns = 0
    lines = []
    for line, changed_ns in _lines(watch):
        digest.update(line.encode("utf-8", "surrogateescape") + b"\0")
        newest_ns = max(newest_ns, changed_ns)
        lines.append(line)
    return digest.hexdigest(), frozenset(lines), newest_ns > time.time_ns() - LATELY_S * 1e9


def differs(watched: dict[str, Any]) -> bool:
    """Return whether files changed since their fingerprints were taken; blocks on the disk.

    ``watched`` has, under ``watch``, a list of what `taken` returned.
    """
    return present(watched) != [one["fingerprint"] for one in watched["watch"]]


def present(watched: dict[str, Any]) -> list[str]:
    """Return the fingerprints that files have now; blocks on the disk. ``watched`` as `differs`."""
    return [fingerprint(Watch.from_json(one["watch"])) for one in watched["watch"]]


def stamps(watch: Watch) -> frozenset[str]:
    """Return the lines that the fingerprint is made of, for `touched`; blocks on the disk."""
    return frozenset(line for line, _ in _lines(watch))


def contents(watch: Watch, before: frozenset[str]) -> dict[str, str]:
    """Return a digest of what is in each watched file whose stamp is in ``before``, by path.

    Reads all these files.
    """
    found = {}
    for line in stamps(watch) & before:
        path = line.rpartition(": ")[0]
        digest = None if line.endswith("/") else content_digest(path)
        if digest is not None and _file_line(path)[0] == line:  # not written meanwhile
            found[path] = digest
    return found


def content_digest(path: str) -> str | None:
    """Return a digest of what is in a file, None where there is none that can be read."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def files_of(watch: Watch) -> set[str]:
    """Return the watched files that exist; blocks on the disk."""
    lines = (line for line in stamps(watch) if not line.endswith("/"))
    return {path for line in lines if os.path.isfile(path := line.rpartition(": ")[0])}


def touched(before: frozenset[str], after: frozenset[str]) -> set[str]:
    """Return the files that differ between two sets of stamps."""
    return {line.rpartition(": ")[0] for line in before ^ after if not line.endswith("/")}


def is_installed(path: str) -> bool:
    """Return whether a file is of Python, an installed package or the supervisor."""
    parts = path.split(os.sep)
    return path.startswith((_LIBRARY, _OWN)) or not _INSTALLED.isdisjoint(parts)


def renewed(watches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the same watches with their present fingerprints; blocks on the disk."""
    return [taken(Watch.from_json(one["watch"])) for one in watches]


def changed(watched: dict[str, Any]) -> list[str]:
    """Return the keys of those whose files changed; see `differs`. Blocks on the disk."""
    return [key for key, one in watched.items() if differs(one)]


_Line = tuple[str, int]  # of the digest, and the time of its file: nanoseconds, wall clock


def _lines(watch: Watch) -> Iterator[_Line]:
    skip = frozenset(os.path.realpath(folder) for folder in watch.skip)
    for tree in watch.trees:
        yield from _tree_lines(tree, [ENTRIES_MAX], skip, top=True)
    for tree in watch.templates:
        yield from _tree_lines(tree, [ENTRIES_MAX], skip, top=True, whole=True)
    for folder in watch.folders:
        yield f"{folder}: {' '.join(sorted(_names(folder)))}", 0
    for file in watch.files:
        yield _file_line(file)


def _tree_lines(
    folder: str, left: list[int], skip: frozenset[str], *, top: bool = False, whole: bool = False
) -> Iterator[_Line]:
    files, folders = [], []
    whole = whole or f"{os.sep}{TEMPLATES}{os.sep}" in f"{folder}{os.sep}"
    try:
        with os.scandir(folder) as entries:
            for entry in entries:  # among thousands of photos, perhaps
                name = entry.name
                if name.startswith(".") or name in _SKIPPED:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if not skip or os.path.realpath(entry.path) not in skip:
                        folders.append(entry.path)
                elif name.endswith(_SOURCES) or (whole and not name.endswith(_BACKUPS)):
                    files.append(entry.path)
                elif name == "pyvenv.cfg" and not top:
                    return  # a virtual environment in the tree isn't the app's own code
    except OSError as error:
        yield f"{folder}: {error.errno}", 0
        return
    left[0] -= len(files) + len(folders)
    if left[0] < 0:
        return
    for path in sorted(files):
        yield _file_line(path)
    for path in sorted(folders):
        yield f"{path}/", 0  # an empty folder is a namespace package too
        yield from _tree_lines(path, left, skip, whole=whole)


def _file_line(path: str) -> _Line:
    try:
        found = os.stat(path)
    except OSError as error:
        return f"{path}: {error.errno}", 0
    return f"{path}: {found.st_size} {found.st_mtime_ns} {found.st_ino}", found.st_mtime_ns


def _names(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name not in _SKIPPED]
    except OSError:
        return []


def beyond_tree(tree: Path, search_path: Iterable[str], module_files: Iterable[str]) -> Watch:
    """Return a watch of what an import depends on outside of ``tree``.

    That is the folders of ``search_path`` by the names in them (so that an installation counts as
    a change), and the files of other modules but those of the standard library.
    """
    inside = str(tree) + os.sep
    library = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    folders = {
        path
        for path in search_path
        if path and path not in library and not (path + os.sep).startswith(inside)
    }
    installed = tuple(path.rstrip(os.sep) + os.sep for path in folders | library if path)
    files = {
        file
        for file in module_files
        if not file.startswith(inside) and not file.startswith(installed)
    }
    return Watch(trees=(), folders=tuple(sorted(folders)), files=tuple(sorted(files)))
