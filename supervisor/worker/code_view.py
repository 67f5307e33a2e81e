"""Runs another version of an app's code under the names of the live files.

A fallback, a rollback and a deploy that is checked all run code that does not lie in the app's
folder. Apps find their modules and files in many ways: `sys.path` entries that name their own
absolute folder, ``Path(__file__).parent``, the working folder, ``app.instance_path``. So the
version is not imported from where it lies: in this process, the files below the app's folder are
seen as that version has them. Its modules keep their live ``__file__``, what it brings is read
from its copy, and everything else (databases, uploads, files that the app writes) is the live
file.

Python finds, loads and reads files through a few functions of `os` and `io`; `CodeView.install`
replaces those (`file_functions`) for the rest of the process. Not reached are files that C code
opens by name, and programs that the app starts. Needs the standard library alone.
"""

import errno
import functools
import os
import sys
from collections.abc import Collection
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import Any, Self

from supervisor.values.constants import SWAP_FOLDER
from supervisor.worker import file_functions
from supervisor.worker.scratch_layer import ScratchLayer

_CACHE = "__pycache__"
_MODULES = tuple(all_suffixes())
_INSTALLED = frozenset({"site-packages", "dist-packages", "node_modules"})
_OWN = str(Path(__file__).resolve().parents[1]) + os.sep  # in a checkout, this may lie below `live`
_getcwd, _listdir, _stat, _lstat = os.getcwd, os.listdir, os.stat, os.lstat
_open, _readlink = os.open, os.readlink


_installed: "CodeView | None" = None


def installed() -> "CodeView | None":
    """Return the view of this process, None where it sees the files as they are."""
    return _installed


class CodeView:
    """The files below ``live`` as the version at ``version`` has them.

    The version stands for the files and folders ``include``, relative to ``live``, also where it
    lacks one: such a file does not exist for the app. By default these are all modules that are
    the app's own. Without a version, the live code is seen. With ``scratch``, an empty folder,
    nothing is written below ``live``: the app gets copies there.
    """

    def __init__(
        self,
        live: Path,
        version: Path | None,
        *,
        include: Collection[str] | None = None,
        scratch: Path | None = None,
    ) -> None:
        self._live = os.path.abspath(live)
        self._roots = {self._live, os.path.realpath(live)}
        self._version = "" if version is None else os.path.realpath(version)
        self._include = include
        self._scratch = None if scratch is None else ScratchLayer(scratch)
        self._spec = {
            "live": str(live),
            "version": self._version or None,
            "include": None if include is None else sorted(include),
            "scratch": None if scratch is None else str(scratch),
        }
        self._work = tuple(f"{one}/" for one in (self._version, scratch) if one)
        self._names: dict[str, set[str]] = {}  # of each folder of the version
        self._files: set[str] = set()
        self._links: set[str] = set()  # to folders
        for parent, folders, files in os.walk(self._version) if version else ():
            folders[:] = [name for name in folders if name != _CACHE]
            inner = "" if parent == self._version else parent[len(self._version) + 1 :]
            self._names[inner] = {*folders, *files}
            prefix = f"{inner}/" if inner else ""
            self._files.update(prefix + name for name in files)
            links = (name for name in folders if os.path.islink(os.path.join(parent, name)))
            self._links.update(prefix + name for name in links)
        self._released: set[str] = set()  # what the app has written or moved itself
        self.lacking: set[str] = set()  # modules that only the live code has, and that were wanted

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Return the view that `to_json` described."""
        version, scratch = (fields[key] and Path(fields[key]) for key in ("version", "scratch"))
        return cls(Path(fields["live"]), version, include=fields["include"], scratch=scratch)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        return self._spec

    def install(self) -> Self:
        """Let this process, and those that it forks, see the version; there is no way back."""
        global _installed
        _installed = self
        file_functions.replace(self)
        if self._scratch is not None:
            file_functions.replace_sqlite(self)
        sys.dont_write_bytecode = True  # under a live name, it would be taken for the live file's
        for path in list(sys.path_importer_cache):
            if self._inner(path) is not None:
                del sys.path_importer_cache[path]
        return self

    def for_reading(self, path: Any) -> Any:
        """Return where the file that the app calls ``path`` lies, in the type of ``path``.

        Raise FileNotFoundError for one that the version replaces and does not have.
        """
        inner = self._inner(path)
        if inner is None:
            return path
        if self._scratch is not None and inner:
            if self._scratch.is_removed(inner):
                raise _missing(path)
            if found := self._scratch.find(inner):
                return _like(path, found)
        if inner in self._released:
            return path
        if inner in self._files or inner in self._names or self._is_behind_link(inner):
            return _like(path, os.path.join(self._version, inner) if inner else self._version)
        if self._version and _CACHE in inner.split("/"):  # compiled from whatever was live
            raise _missing(path)
        if self._replaces(inner):
            self._note_lacking(inner)
            raise _missing(path)
        return path

    def for_writing(self, path: Any) -> Any:
        """Return where the app may write what it calls ``path``; from now on it reads that too."""
        inner = self._inner(path)
        if inner is None or (not inner and self._scratch is None):
            return path
        if self._scratch is not None:
            return _like(path, self._scratch.copied(inner, self._find_below))
        if inner not in self._names:
            self._released.add(inner)
        return path

    def removed(self, path: Any) -> None:
        """Hide a file that the app has removed or moved away."""
        inner = self._inner(path)
        if inner and self._scratch is not None:
            self._scratch.remove(inner)

    def _find_below(self, inner: str) -> str | None:
        """Return where a file lies that has not been written during this check."""
        in_version = inner in self._files or inner in self._names
        path = os.path.join(self._version if in_version else self._live, inner)
        if not in_version and self._replaces(inner):
            return None
        try:
            _lstat(path)
        except OSError:
            return None
        return path

    def names_in(self, path: Any, live: list[str]) -> list[str]:
        """Return the names in the folder ``path``, which has the names ``live`` on the disk."""
        inner = self._inner(path)
        if inner is None:
            return live
        if inner not in self._names and self._is_behind_link(inner):
            return sorted(_listdir(os.path.join(self._version, inner)))
        prefix = f"{inner}/" if inner else ""
        kept = {
            name
            for name in live
            if prefix + name in self._released
            or (not (self._version and name == _CACHE) and not self._replaces(prefix + name))
        }
        own = {one for one in self._names.get(inner, ()) if prefix + one not in self._released}
        if self._scratch is not None:
            return self._scratch.names_in(inner, kept | own)
        return sorted(kept | own)

    def holds(self, path: Any) -> bool:
        """Return whether ``path`` names a folder in which the version may differ."""
        return self._inner(path) is not None

    def _inner(self, path: Any) -> str | None:
        """Return ``path`` relative to the app's folder, or None where it lies elsewhere."""
        if isinstance(path, int):
            return None
        try:
            name = os.fsdecode(path)
        except TypeError:
            return None  # the function that is called with it raises
        if not name or "\0" in name:
            return None
        if not name.startswith("/"):
            name = f"{_getcwd()}/{name}"
        name = os.path.normpath(name)
        if name.startswith(self._work):
            return None
        for root in self._roots:
            if name == root:
                return ""
            if name.startswith(f"{root}/"):
                inner = name[len(root) + 1 :]
                return None if inner.split("/")[0] == SWAP_FOLDER else inner
        folder, _, last = name.rpartition("/")
        real = _real_folder(folder or "/")
        for root in self._roots:  # by way of a link somewhere above
            if f"{real}/{last}" == root:
                return ""
            if real == root or real.startswith(f"{root}/"):
                return f"{real}/{last}"[len(root) + 1 :]
        return None

    def _is_behind_link(self, inner: str) -> bool:
        return any(inner == link or inner.startswith(f"{link}/") for link in self._links)

    def _replaces(self, inner: str) -> bool:
        if not self._version:
            return False
        if self._include is not None:
            return any(inner == one or inner.startswith(f"{one}/") for one in self._include)
        return self._is_own_module(inner)

    def _is_own_module(self, inner: str) -> bool:
        if not inner.endswith(_MODULES):
            return False
        parts = inner.split("/")
        if not _INSTALLED.isdisjoint(parts) or f"{self._live}/{inner}".startswith(_OWN):
            return False
        return not any(
            _is_environment(f"{self._live}/{'/'.join(parts[:depth])}")
            for depth in range(1, len(parts))
        )

    def _note_lacking(self, inner: str) -> None:
        try:
            _stat(f"{self._live}/{inner}")
        except OSError:
            return
        self.lacking.add(inner)


@functools.lru_cache(maxsize=1000)
def _real_folder(folder: str) -> str:
    """Return ``folder`` without links; itself where it can't be opened.

    `os.path.realpath` uses the functions that are replaced.
    """
    try:
        fd = _open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return folder
    try:
        return _readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


@functools.lru_cache(maxsize=1000)
def _is_environment(folder: str) -> bool:
    try:
        _lstat(f"{folder}/pyvenv.cfg")
    except OSError:
        return False
    return True


def _like(path: Any, found: str) -> Any:
    return os.fsencode(found) if isinstance(path, bytes) else found


def _missing(path: Any) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
