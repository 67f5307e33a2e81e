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
from collections.abc import Callable
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import Any, Self

from supervisor.worker import file_functions

_CACHE = "__pycache__"
_MODULES = tuple(all_suffixes())
_INSTALLED = frozenset({"site-packages", "dist-packages", "node_modules"})
_OWN = str(Path(__file__).resolve().parents[1]) + os.sep  # in a checkout, this may lie below `live`
_getcwd, _listdir, _stat, _lstat = os.getcwd, os.listdir, os.stat, os.lstat
_open, _readlink = os.open, os.readlink


class CodeView:
    """The files below ``live`` as the version at ``version`` has them.

    ``replaces`` returns of a path relative to ``live`` whether the version stands for that file
    even where it lacks it: such a file does not exist for the app. By default these are all
    modules that are the app's own.
    """

    def __init__(
        self, live: Path, version: Path, replaces: Callable[[str], bool] | None = None
    ) -> None:
        self._live = os.path.abspath(live)
        self._roots = {self._live, os.path.realpath(live)}
        self._version = os.path.realpath(version)
        self._replaces = replaces or self._is_own_module
        self._names: dict[str, set[str]] = {"": set()}  # of each folder of the version
        self._files: set[str] = set()
        self._links: set[str] = set()  # to folders
        for parent, folders, files in os.walk(self._version):
            folders[:] = [name for name in folders if name != _CACHE]
            inner = "" if parent == self._version else parent[len(self._version) + 1 :]
            self._names[inner] = {*folders, *files}
            prefix = f"{inner}/" if inner else ""
            self._files.update(prefix + name for name in files)
            links = (name for name in folders if os.path.islink(os.path.join(parent, name)))
            self._links.update(prefix + name for name in links)
        self._released: set[str] = set()  # what the app has written, moved or removed itself
        self.lacking: set[str] = set()  # modules that only the live code has, and that were wanted

    def install(self) -> Self:
        """Let this process see the version from now on; there is no way back."""
        file_functions.replace(self)
        sys.addaudithook(self._on_audit_event)
        sys.dont_write_bytecode = True  # under a live name, it would be taken for the live file's
        for path in list(sys.path_importer_cache):
            if self._inner(path) is not None:
                del sys.path_importer_cache[path]
        return self

    def real(self, path: Any) -> Any:
        """Return where the file that the app calls ``path`` lies, in the type of ``path``.

        Raise FileNotFoundError for one that the version replaces and does not have.
        """
        inner = self._inner(path)
        if inner is None or inner in self._released:
            return path
        if inner in self._files or inner in self._names or self._is_behind_link(inner):
            found = os.path.join(self._version, inner) if inner else self._version
            return os.fsencode(found) if isinstance(path, bytes) else found
        if _CACHE in inner.split("/"):  # compiled from whatever was live
            raise _missing(path)
        if self._replaces(inner):
            self._note_lacking(inner)
            raise _missing(path)
        return path

    def release(self, path: Any) -> None:
        """Show the live file from now on, since the app writes, moves or removes it itself."""
        inner = self._inner(path)
        if inner is not None and inner not in self._names:
            self._released.add(inner)

    def names_in(self, path: Any, live: list[str]) -> list[str]:
        """Return the names in the folder ``path``, which has the names ``live`` on the disk."""
        inner = self._inner(path)
        if inner is None or inner in self._released:
            return live
        if inner not in self._names and self._is_behind_link(inner):
            return sorted(_listdir(os.path.join(self._version, inner)))
        prefix = f"{inner}/" if inner else ""
        kept = {
            name
            for name in live
            if prefix + name in self._released
            or (name != _CACHE and not self._replaces(prefix + name))
        }
        own = {one for one in self._names.get(inner, ()) if prefix + one not in self._released}
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
        for root in self._roots:
            if name == root:
                return ""
            if name.startswith(f"{root}/"):
                return name[len(root) + 1 :]
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

    def _on_audit_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename":
            self.release(arguments[0])
            self.release(arguments[1])
        elif event in ("os.remove", "os.truncate"):
            self.release(arguments[0])
        elif event in ("os.link", "os.symlink"):
            self.release(arguments[1])


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


def _missing(path: Any) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
