"""Whether a module is there, without importing it. Needs the standard library alone."""

import importlib.machinery
import sys
from collections.abc import Sequence
from pathlib import Path

_LOADERS = (
    (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
    (importlib.machinery.SourceFileLoader, importlib.machinery.SOURCE_SUFFIXES),
    (importlib.machinery.SourcelessFileLoader, importlib.machinery.BYTECODE_SUFFIXES),
)


def has_source(folder: Path, module: str) -> bool:
    """Return whether ``folder`` has the source of a module or package; False if none may look."""
    try:
        return (folder / f"{module}.py").is_file() or (folder / module / "__init__.py").is_file()
    except OSError:
        return False


def missing_module(name: str, search_path: Sequence[str]) -> str | None:
    """Return the module, or the package on the way to it, that this interpreter can't find.

    None when it finds all.
    """
    folders = search_path
    for depth in range(1, name.count(".") + 2):
        inner = ".".join(name.split(".")[:depth])
        found = _find_top(inner, folders) if depth == 1 else _find_inner(inner, folders)
        if found is None:
            return inner
        folders = found
    return None


def _find_top(name: str, search_path: Sequence[str]) -> list[str] | None:
    """Return the folders of a package (of a module: none), or None when it can't be found.

    It asks the finders of an import, so built-in modules and editable installs are found too.
    """
    for finder in sys.meta_path:
        is_path_finder = finder is importlib.machinery.PathFinder
        found = finder.find_spec(name, search_path if is_path_finder else None)
        if found is not None:
            return list(found.submodule_search_locations or [])
    return None


def _find_inner(name: str, folders: Sequence[str]) -> list[str] | None:
    """Return the same for a module in a package, without importing that as an import would."""
    parts: list[str] = []
    for folder in folders:
        found = importlib.machinery.FileFinder(folder, *_LOADERS).find_spec(name)
        if found is not None and found.loader is not None:
            return list(found.submodule_search_locations or [])
        if found is not None:  # a namespace package, of which there may be several folders
            parts += found.submodule_search_locations or []
    return parts or None
