"""Replaces the functions with which Python looks at files by those that ask a view first.

`importlib` looks at files with the functions of `posix` and `_io`, everything else with the same
ones in `os`, `io` and `builtins`: all of these names are set. For `code_view`.
"""

import _imp
import _io
import builtins
import functools
import io
import os
import posix
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Protocol

from supervisor.worker.folder_entries import FolderEntries, FolderEntry

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGING = ("mkdir", "mkfifo", "chmod", "chown", "utime", "truncate", "setxattr", "removexattr")
_JOURNALS = ("-wal", "-journal")
_listdir, _readlink = os.listdir, os.readlink


class View(Protocol):
    """What a path that an app uses stands for."""

    def for_reading(self, path: Any) -> Any:
        """Return where the file lies; raise FileNotFoundError where it is hidden."""

    def for_writing(self, path: Any) -> Any:
        """Return where the file may be written, made or removed."""

    def removed(self, path: Any) -> None:
        """Hide a file that has been removed."""

    def names_in(self, path: Any, live: list[str]) -> list[str]:
        """Return the names in a folder that has the names ``live`` on the disk."""

    def holds(self, path: Any) -> bool:
        """Return whether a folder may differ from the one on the disk."""


def replace(view: View) -> None:
    """Let every function that finds or reads a file ask ``view`` for it, in this process."""
    for name in ("stat", "lstat", "access", "readlink"):
        _set(name, _at(view.for_reading, view, getattr(os, name)), os, posix)
    _set("listdir", _listing(view, os.listdir), os, posix)
    _set("scandir", _scanning(view, os.scandir), os, posix)
    _set("open", _opening(view, os.open, _is_writing_flags), os, posix)
    _set("open", _opening(view, io.open, _is_writing_mode), io, _io, builtins)
    _set("open_code", _at(view.for_reading, view, io.open_code), io, _io)
    for name in _CHANGING:
        _set(name, _at(view.for_writing, view, getattr(os, name)), os, posix)
    for name in ("remove", "unlink", "rmdir"):
        _set(name, _removing(view, getattr(os, name)), os, posix)
    for name in ("rename", "replace"):
        _set(name, _moving(view, getattr(os, name)), os, posix)
    _set("link", _linking(view, os.link, view.for_reading), os, posix)
    _set("symlink", _linking(view, os.symlink, lambda text: text), os, posix)
    _set("create_dynamic", _loading(view, _imp.create_dynamic), _imp)


def _set(name: str, function: Any, *modules: Any) -> None:
    for module in modules:
        setattr(module, name, function)


def _with_folder(view: View, path: Any, options: dict[str, Any], key: str = "dir_fd") -> Any:
    """Return ``path`` with the name of the folder whose descriptor comes with it.

    The descriptor is taken out of ``options``, unless the view has nothing to do with the folder.
    """
    fd = options.get(key)
    if fd is None:
        return path
    folder = _folder_name(fd)
    if not view.holds(folder):
        return path
    del options[key]
    return os.path.join(folder, os.fsdecode(path))


def _folder_name(folder: Any) -> Any:
    if folder is None:
        return "."
    return _readlink(f"/proc/self/fd/{folder}") if isinstance(folder, int) else folder


def _at(place_of: Callable[[Any], Any], view: View, function: Any) -> Any:
    """Return ``function`` for the place that ``place_of`` names for its path."""

    @functools.wraps(function)
    def placed(path: Any, *arguments: Any, **options: Any) -> Any:
        path = _with_folder(view, path, options)
        if options.get("dir_fd") is None:
            path = place_of(path)
        return function(path, *arguments, **options)

    return placed


def _removing(view: View, function: Any) -> Any:
    @functools.wraps(function)
    def remove(path: Any, **options: Any) -> None:
        path = _with_folder(view, path, options)
        if options.get("dir_fd") is None:
            function(view.for_writing(path))
            view.removed(path)
        else:
            function(path, **options)

    return remove


def _moving(view: View, function: Any) -> Any:
    @functools.wraps(function)
    def move(source: Any, target: Any, **options: Any) -> None:
        source = _with_folder(view, source, options, "src_dir_fd")
        target = _with_folder(view, target, options, "dst_dir_fd")
        if any(fd is not None for fd in options.values()):
            function(source, target, **options)
        else:
            function(view.for_writing(source), view.for_writing(target))
            view.removed(source)

    return move


def _linking(view: View, function: Any, place_of: Callable[[Any], Any]) -> Any:
    @functools.wraps(function)
    def link(source: Any, target: Any, *arguments: Any, **options: Any) -> None:
        if not options:
            source, target = place_of(source), view.for_writing(target)
        function(source, target, *arguments, **options)

    return link


def replace_sqlite(view: View) -> None:
    """Let `sqlite3.connect` open a database for writing where ``view`` says, with its journals."""
    try:
        import sqlite3
    except ImportError:  # a Python that was built without it
        return
    connect = sqlite3.connect

    @functools.wraps(connect)
    def connected(database: Any, *arguments: Any, **options: Any) -> Any:
        name = os.fsdecode(database)
        if name and not name.startswith((":memory:", "file:")):
            for suffix in _JOURNALS:
                view.for_writing(name + suffix)
            database = view.for_writing(name)
        elif name.startswith("file:") and not name.startswith("file::memory:"):
            path, mark, query = name.removeprefix("file:").partition("?")
            database = f"file:{view.for_writing(path)}{mark}{query}"
        return connect(database, *arguments, **options)

    _set("connect", connected, sqlite3, sqlite3.dbapi2)


def _is_writing_mode(mode: str = "r", *_: Any, **_options: Any) -> bool:
    return not isinstance(mode, str) or not {"w", "a", "x", "+"}.isdisjoint(mode)


def _is_writing_flags(flags: int, *_: Any, **_options: Any) -> bool:
    return bool(flags & _WRITING)


def _opening(view: View, function: Any, is_writing: Callable[..., bool]) -> Any:
    @functools.wraps(function)
    def opened(path: Any, *arguments: Any, **options: Any) -> Any:
        path = _with_folder(view, path, options)
        if options.get("dir_fd") is None and options.get("opener") is None:
            words = {key: options[key] for key in ("mode", "flags") if key in options}
            if is_writing(*arguments, **words):
                path = view.for_writing(path)
            else:
                path = view.for_reading(path)
        return function(path, *arguments, **options)

    return opened


def _listing(view: View, function: Any) -> Any:
    @functools.wraps(function)
    def listed(path: Any = ".") -> Any:
        folder = _folder_name(path)
        if isinstance(folder, bytes) or not view.holds(folder):
            return function(path)
        return view.names_in(folder, _live_names(view, folder, function))

    return listed


def _live_names(view: View, folder: Any, function: Any) -> list[str]:
    try:
        names: list[str] = function(folder)
    except FileNotFoundError:
        if view.for_reading(folder) == folder:  # it is not in the version either
            raise
        return []
    return names


def _scanning(view: View, function: Any) -> Any:
    @functools.wraps(function)
    def scanned(path: Any = ".") -> Any:
        folder = _folder_name(path)
        if isinstance(folder, bytes) or not view.holds(folder):
            return function(path)
        names = view.names_in(folder, _live_names(view, folder, _listdir))
        return FolderEntries(FolderEntry(os.path.join(folder, name), name) for name in names)

    return scanned


def _loading(view: View, function: Any) -> Any:
    """Load an extension module from the version; dlopen(3) would take the live file."""

    @functools.wraps(function)
    def load(spec: Any, *arguments: Any) -> Any:
        real = view.for_reading(spec.origin)
        if real == spec.origin:
            return function(spec, *arguments)
        module = function(SimpleNamespace(name=spec.name, origin=real), *arguments)
        module.__file__ = spec.origin
        return module

    return load
