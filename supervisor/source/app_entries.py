"""Finds which entries of an app's folder belong to the app, when ``include`` doesn't name them.

An entry is a name right below the folder. Runs in workers too: it needs the standard library alone.
"""

import itertools
import os
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from supervisor.source.file_tree import DATA_SUFFIXES, EXCLUDED_NAMES

BESIDE = ("templates", "static")  # Flask's own names: their files are read, and never imported
_MODULE_SUFFIXES = (".py", ".so")
_ENTRIES_READ = 1000  # of a folder, to find out whether it is a package
_OWN = str(Path(__file__).resolve().parents[1]) + os.sep  # in a checkout, this may lie below `path`


def candidates(root: Path) -> list[str]:
    """Return the entries of ``root`` that an import may need."""
    try:
        names = os.listdir(root)
    except OSError:
        return []
    return sorted(name for name in names if _is_candidate(root, name))


def is_named_like_code(name: str) -> bool:
    """Return whether an entry with this name belongs to an app by default, whatever it is."""
    return name in BESIDE or name.endswith(_MODULE_SUFFIXES)


def _is_candidate(root: Path, name: str) -> bool:
    if name in EXCLUDED_NAMES:
        return False
    if (root / name).is_dir():
        return name in BESIDE or (name.isidentifier() and _has_modules(root / name, 2))
    return name.endswith(_MODULE_SUFFIXES)


def _has_modules(folder: Path, depth: int) -> bool:
    """Return whether a folder may be a package, without reading all of one full of uploads."""
    folders = []
    try:
        with os.scandir(folder) as entries:
            for entry in itertools.islice(entries, _ENTRIES_READ):
                if entry.name.endswith(_MODULE_SUFFIXES):
                    return True
                if depth and entry.name.isidentifier() and entry.is_dir():
                    folders.append(Path(entry.path))
    except OSError:
        return True  # `scan` reports why it can't be read
    return any(_has_modules(inner, depth - 1) for inner in folders)


def newest_module() -> object:
    """Return the module that was loaded last in this process; for `loaded_files`."""
    return next(reversed(sys.modules.values()))


def loaded_files(after: object = None) -> set[str]:
    """Return the files of the modules loaded in this process, or since ``after`` was loaded.

    A worker shares the memory of older ones with the main process until it touches them.
    """
    try:
        modules = [
            *itertools.takewhile(lambda one: one is not after, reversed(sys.modules.values()))
        ]
    except RuntimeError:  # a thread imported something meanwhile
        modules = list(sys.modules.values())
    files = {getattr(module, "__file__", None) for module in modules}
    return {file for file in files if isinstance(file, str) and file}


def imported(root: Path, module_files: Iterable[str]) -> list[str]:
    """Return the entries of ``root`` that the modules with these files came from.

    With them come the folders `BESIDE` them.
    """
    root = Path(os.path.realpath(root))
    names = set()
    for file in module_files:
        real = os.path.realpath(file)
        if real.startswith(_OWN):
            continue
        # a module may have been found through a link: to the folder, or in it
        for path in {Path(os.path.abspath(file)), Path(real)}:
            if path.is_relative_to(root) and path != root:
                names.add(path.relative_to(root).parts[0])
    found = {name for name in names if not _is_excluded(root, name)}
    return sorted(found | {name for name in BESIDE if found and (root / name).is_dir()})


def code_among(files: Iterable[str]) -> list[str]:
    """Return those of ``files`` that may be code: no hidden file, cache, database or log."""
    return [
        file
        for file in files
        if not file.endswith(DATA_SUFFIXES)
        and not any(part in EXCLUDED_NAMES or part.startswith(".") for part in file.split("/"))
    ]


def files_used(
    root: Path, entries: Collection[str], read: Iterable[str], sources: Iterable[str]
) -> list[str]:
    """Return the files that an import has read below ``root``, as far as they may be code.

    Of the ``sources`` only those outside of ``entries``, which modules came from: the app has run
    these by their path, without a module (`runpy`, `exec`, a loader of its own plugins).
    """
    tops = {source.partition("/")[0] for source in sources}
    run = tops.difference(entries, (top for top in tops if _is_excluded(root, top)))
    return code_among([*read, *(one for one in sources if one.partition("/")[0] in run)])


def _is_excluded(root: Path, name: str) -> bool:
    return (
        name in EXCLUDED_NAMES
        or name.endswith(DATA_SUFFIXES)
        or (root / name / "pyvenv.cfg").exists()
    )
