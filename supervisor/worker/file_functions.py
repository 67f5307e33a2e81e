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
import stat
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, Protocol, Self

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_listdir = os.listdir


class View(Protocol):
    """What a path that an app uses stands for."""

    def real(self, path: Any) -> Any:
        """Return where the file lies; raise FileNotFoundError where it is hidden."""

    def release(self, path: Any) -> None:
        """Show the live file from now on."""

    def names_in(self, path: Any, live: list[str]) -> list[str]:
        """Return the names in a folder that has the names ``live`` on the disk."""

    def holds(self, path: Any) -> bool:
        """Return whether a folder may differ from the one on the disk."""


def replace(view: View) -> None:
    """Let every function that finds or reads a file ask ``view`` for it, in this process."""
    for name in ("stat", "lstat", "access", "readlink"):
        _set(name, _reading(view, getattr(os, name)), os, posix)
    _set("listdir", _listing(view, os.listdir), os, posix)
    _set("scandir", _scanning(view, os.scandir), os, posix)
    _set("open", _opening(view, os.open, _is_writing_flags), os, posix)
    _set("open", _opening(view, io.open, _is_writing_mode), io, _io, builtins)
    _set("open_code", _reading(view, io.open_code), io, _io)
    _set("create_dynamic", _loading(view, _imp.create_dynamic), _imp)


def _set(name: str, function: Any, *modules: Any) -> None:
    for module in modules:
        setattr(module, name, function)


def _reading(view: View, function: Any) -> Any:
    @functools.wraps(function)
    def read(path: Any, *arguments: Any, **options: Any) -> Any:
        if options.get("dir_fd") is None:
            path = view.real(path)
        return function(path, *arguments, **options)

    return read


def _is_writing_mode(mode: str = "r", *_: Any, **_options: Any) -> bool:
    return not isinstance(mode, str) or not {"w", "a", "x", "+"}.isdisjoint(mode)


def _is_writing_flags(flags: int, *_: Any, **_options: Any) -> bool:
    return bool(flags & _WRITING)


def _opening(view: View, function: Any, is_writing: Callable[..., bool]) -> Any:
    @functools.wraps(function)
    def opened(path: Any, *arguments: Any, **options: Any) -> Any:
        if options.get("dir_fd") is None and options.get("opener") is None:
            words = {key: options[key] for key in ("mode", "flags") if key in options}
            if is_writing(*arguments, **words):
                view.release(path)
            else:
                path = view.real(path)
        return function(path, *arguments, **options)

    return opened


def _listing(view: View, function: Any) -> Any:
    @functools.wraps(function)
    def listed(path: Any = ".") -> Any:
        folder = "." if path is None else path
        if isinstance(folder, bytes) or not view.holds(folder):
            return function(folder)
        return view.names_in(folder, _live_names(view, folder, function))

    return listed


def _live_names(view: View, folder: Any, function: Any) -> list[str]:
    try:
        names: list[str] = function(folder)
    except FileNotFoundError:
        if view.real(folder) == folder:  # it is not in the version either
            raise
        return []
    return names


def _scanning(view: View, function: Any) -> Any:
    @functools.wraps(function)
    def scanned(path: Any = ".") -> Any:
        folder = "." if path is None else path
        if isinstance(folder, bytes | int) or not view.holds(folder):
            return function(folder)
        names = view.names_in(folder, _live_names(view, folder, _listdir))
        return _Entries(_Entry(os.path.join(folder, name), name) for name in names)

    return scanned


class _Entries:
    """An iterator like that of `os.scandir`."""

    def __init__(self, entries: Iterator["_Entry"]) -> None:
        self._entries = entries

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> "_Entry":
        return next(self._entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration."""
        self._entries = iter(())


class _Entry:
    """What `os.DirEntry` is, by way of `os.stat`."""

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.name = name

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r}>"

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return the status of the file."""
        return os.stat(self.path, follow_symlinks=follow_symlinks)

    def inode(self) -> int:
        """Return the number of the inode."""
        return self.stat(follow_symlinks=False).st_ino

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether it is a folder."""
        return self._is(stat.S_ISDIR, follow_symlinks=follow_symlinks)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether it is a regular file."""
        return self._is(stat.S_ISREG, follow_symlinks=follow_symlinks)

    def is_symlink(self) -> bool:
        """Return whether it is a symbolic link."""
        return self._is(stat.S_ISLNK, follow_symlinks=False)

    def is_junction(self) -> bool:
        """Return False: there are none on Linux."""
        return False

    def _is(self, kind: Callable[[int], bool], *, follow_symlinks: bool) -> bool:
        try:
            return kind(self.stat(follow_symlinks=follow_symlinks).st_mode)
        except FileNotFoundError:
            return False


def _loading(view: View, function: Any) -> Any:
    """Load an extension module from the version; dlopen(3) would take the live file."""

    @functools.wraps(function)
    def load(spec: Any, *arguments: Any) -> Any:
        real = view.real(spec.origin)
        if real == spec.origin:
            return function(spec, *arguments)
        module = function(SimpleNamespace(name=spec.name, origin=real), *arguments)
        module.__file__ = spec.origin
        return module

    return load
