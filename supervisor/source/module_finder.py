"""Finds modules where an import would, for one search path, without importing anything."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from importlib.machinery import PathFinder, SourceFileLoader
from itertools import accumulate
from typing import NamedTuple

from supervisor.source.built_in import is_built_in
from supervisor.source.import_statements import Unreadable, makes_modules

_SIZE_MAX = 2 * 1024 * 1024  # a larger file is data, or made to hurt
_STDLIB = os.path.dirname(os.__file__) + os.sep
_INSTALLED = frozenset({"site-packages", "dist-packages", "node_modules", "__pycache__"})


class FoundModule(NamedTuple):
    """A module that exists. With neither a ``file`` nor ``folders`` no more is known of it."""

    file: str | None = None
    folders: tuple[str, ...] | None = None
    is_own: bool = False  # it belongs to the app


def prefixes(module: str) -> list[str]:
    """Return ``a``, ``a.b`` and ``a.b.c`` for ``a.b.c``."""
    return list(accumulate(module.split("."), lambda parent, name: f"{parent}.{name}"))


def read_file(file: str) -> bytes:
    """Return what is in a source; raises `Unreadable`."""
    try:
        with open(file, "rb") as stream:
            text = stream.read(_SIZE_MAX + 1)
    except OSError as error:
        raise Unreadable(f"{type(error).__name__}: {error.strerror}") from error
    if len(text) > _SIZE_MAX:
        raise Unreadable(f"it is larger than {_SIZE_MAX // 1024**2} MB", skipped=True)
    return text


class ModuleFinder:
    """Finds modules in ``folders``; those below ``root`` belong to the app. Remembers all."""

    def __init__(self, root: str, folders: Sequence[str]) -> None:
        self._root = os.path.join(root, "")
        self._folders = folders
        self._found: dict[str, FoundModule | None] = {}

    def find(self, name: str) -> FoundModule | None:
        """Return the module, None if it does not exist; its parents have to be found before."""
        if name not in self._found:
            self._found[name] = self._look_for(name)
        return self._found[name]

    def hidden_file(self, name: str) -> str | None:
        """Return the app's own file for a module that Python has in itself, None without one."""
        if "." in name or not is_built_in(name):
            return None
        spec = PathFinder.find_spec(name, [self._root])
        return spec.origin if spec is not None else None

    def is_own(self, name: str) -> bool:
        """Return whether a module exists and belongs to the app."""
        return (self.find(name) or FoundModule()).is_own

    def _look_for(self, name: str) -> FoundModule | None:
        parent_name, _, tail = name.rpartition(".")
        folders: Sequence[str] | None = self._folders
        if parent_name:
            parent = self._found[parent_name] or FoundModule()
            folders = parent.folders
            if folders is None and not parent.is_own:
                return FoundModule()  # of an installed module that is no package, such as os.path
        elif is_built_in(name):
            return FoundModule()
        # asked for the last part only, PathFinder does not search the parent in sys.modules
        spec = PathFinder.find_spec(tail, folders) if tail and folders else None
        if spec is None:
            return FoundModule() if self._may_appear(name) else None
        if spec.origin is not None and not isinstance(spec.loader, SourceFileLoader):
            return FoundModule()  # an extension, or in an archive
        places = spec.submodule_search_locations
        inside = None if places is None else tuple(places)
        is_own = any(map(self._belongs, (spec.origin, *(inside or ()))))
        return FoundModule(spec.origin, inside, is_own)

    def _may_appear(self, name: str) -> bool:
        """Return whether something may provide this module without a file at its place."""
        *parents, _ = prefixes(name)
        if not parents:
            quoted = re.compile(rb"""['"]%s['"]""" % re.escape(os.fsencode(name)))
            return any(quoted.search(text) for text in self._hooks())
        files = [found.file for p in parents if (found := self._found[p]) and found.file]
        return any(map(_makes_modules, files))

    def _hooks(self) -> Iterator[bytes]:
        """Yield the texts of what installs importers, such as that of an editable package."""
        for folder in self._folders:
            with contextlib.suppress(OSError, Unreadable):
                for name in os.listdir(folder):
                    if name.endswith(".pth") or ("editable" in name and name.endswith(".py")):
                        yield read_file(os.path.join(folder, name))

    def _belongs(self, path: str | None) -> bool:
        if path is None or not path.startswith(self._root):
            return False
        if path.startswith(_STDLIB) and not self._root.startswith(_STDLIB):
            return False
        return _INSTALLED.isdisjoint(path[len(self._root) :].split(os.sep))


def _makes_modules(file: str) -> bool:
    try:
        return makes_modules(read_file(file))
    except Unreadable:
        return True
