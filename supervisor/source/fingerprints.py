"""Fingerprints of an app's source files, to see that they changed.

A worker takes one before it imports; whoever takes another later and gets a different one knows
that the code on disk is no longer the code that was imported. Only sources and templates count:
an app may write data and logs beside them.
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
_TEMPLATES = "templates"  # what lies in such a folder counts too: Flask keeps templates in memory
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})
LATELY_S = 2.0  # a file that changed within this time may change again in the same second
ENTRIES_MAX = 20_000  # a larger tree is watched in part only: the watch must stay cheap


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What to look at: trees of sources, folders whose names count, and single files.

    ``skip`` are folders in the trees that are no source: where the supervisor and apps write.
    """

    trees: tuple[str, ...]
    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give a JSON object that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Read what `to_json` gave."""
        return cls(**{name: tuple(paths) for name, paths in fields.items()})


def fingerprint(watch: Watch) -> str:
    """Give a digest that changes when a watched source is written, added, moved or removed.

    Blocks on the disk; missing files and folders are part of the digest.
    """
    return look(watch)[0]


def taken(watch: Watch) -> dict[str, Any]:
    """Give a watch with its fingerprint of now, in JSON: one of those that `differs` takes."""
    return {"watch": watch.to_json(), "fingerprint": fingerprint(watch)}


def look(watch: Watch) -> tuple[str, bool]:
    """Give the fingerprint, and whether a watched file has changed in the last `LATELY_S`.

    By the wall clock, which is what files are stamped with; what is stamped in the future counts.
    """
    digest = hashlib.blake2b(digest_size=16)
    newest_ns = 0
    for line, changed_ns in _lines(watch):
        digest.update(line.encode("utf-8", "surrogateescape") + b"\0")
        newest_ns = max(newest_ns, changed_ns)
    return digest.hexdigest(), newest_ns > time.time_ns() - LATELY_S * 1e9


def differs(look: dict[str, Any]) -> bool:
    """Say whether files are not what they were; blocks on the disk.

    ``look`` has, under ``watch``, a list of watches with their fingerprints.
    """
    return any(fingerprint(Watch.from_json(w["watch"])) != w["fingerprint"] for w in look["watch"])


def stamps(watch: Watch) -> frozenset[str]:
    """Give what the fingerprint is made of, for `touched`; blocks on the disk."""
    return frozenset(line for line, _ in _lines(watch))


def touched(before: frozenset[str], after: frozenset[str]) -> set[str]:
    """Give the files that are different in two sets of stamps."""
    return {line.rpartition(": ")[0] for line in before ^ after if not line.endswith("/")}


def renewed(watches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give the same watches with the fingerprints of now; blocks on the disk."""
    return [taken(Watch.from_json(one["watch"])) for one in watches]


def changed(looks: dict[str, Any]) -> list[str]:
    """Give the keys of all looks whose files are not what they were; blocks on the disk."""
    return [key for key, look in looks.items() if differs(look)]


_Line = tuple[str, int]  # of the digest, and when its file changed: nanoseconds, wall clock


def _lines(watch: Watch) -> Iterator[_Line]:
    skip = frozenset(os.path.realpath(folder) for folder in watch.skip)
    for tree in watch.trees:
        left = [ENTRIES_MAX]
        yield from _tree_lines(tree, left, skip, top=True)
    for folder in watch.folders:
        yield f"{folder}: {' '.join(sorted(_names(folder)))}", 0
    for file in watch.files:
        yield _file_line(file)


def _tree_lines(
    folder: str, left: list[int], skip: frozenset[str], *, top: bool = False
) -> Iterator[_Line]:
    folders = []
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield f"{folder}: {error.errno}", 0
        return
    in_templates = f"{os.sep}{_TEMPLATES}{os.sep}" in f"{folder}{os.sep}"
    if not top and any(entry.name == "pyvenv.cfg" for entry in found):
        return  # a virtual environment lies in the tree; it isn't the app's own code
    for entry in found:
        left[0] -= 1
        if left[0] < 0:
            return
        if entry.name.startswith(".") or entry.name in _SKIPPED:
            continue
        if entry.is_dir(follow_symlinks=False):
            if not skip or os.path.realpath(entry.path) not in skip:
                folders.append(entry.path)
        elif entry.name.endswith(_SOURCES) or in_templates:
            yield _file_line(entry.path)
    for path in folders:
        yield f"{path}/", 0  # an empty folder is a namespace package too
        yield from _tree_lines(path, left, skip)


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
    """Give what an import also depends on outside of ``tree``.

    The folders of ``search_path`` by their names (so that installing a package is seen), and the
    files of modules from elsewhere, the standard library left out.
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
