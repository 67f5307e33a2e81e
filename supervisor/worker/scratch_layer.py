"""Keeps what an app writes during a check apart from its live files.

An import may create a database, migrate one or write a cache. In a check, such a file is copied
first, and the app reads and writes its copy. Needs the standard library alone.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

COPY_MAX = 64 * 1024 * 1024  # bytes of one file
_CHUNK = 1024 * 1024
_lstat, _listdir, _makedirs = os.lstat, os.listdir, os.makedirs
_open, _read, _write, _close = os.open, os.read, os.write, os.close


class ScratchLayer:
    """Files over others, in ``folder``; all paths are relative to the folder that it covers."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.path.realpath(folder)
        self._removed: set[str] = set()

    def find(self, inner: str) -> str | None:
        """Return where the layer has a file or folder, or None."""
        path = f"{self._folder}/{inner}"
        return path if _exists(path) else None

    def is_removed(self, inner: str) -> bool:
        """Return whether the app removed a file, or a folder that it lies in."""
        return any(inner == one or inner.startswith(f"{one}/") for one in self._removed)

    def names_in(self, folder: str, below: Iterable[str]) -> list[str]:
        """Return the names in a folder that has the names ``below`` under this layer."""
        own = self.find(folder) if folder else self._folder
        prefix = f"{folder}/" if folder else ""
        try:
            names = {*below, *(_listdir(own) if own else ())}
        except OSError:
            names = {*below}
        return sorted(name for name in names if not self.is_removed(prefix + name))

    def copied(self, inner: str, find_below: Callable[[str], str | None]) -> str:
        """Return the path at which ``inner`` may be written; what is there is copied first.

        ``find_below`` returns where a file lies under this layer. Raises OSError for a file that
        is larger than `COPY_MAX`.
        """
        if not inner:
            return self._folder
        path = f"{self._folder}/{inner}"
        parent = inner.rpartition("/")[0]
        if parent and (self.find(parent) or find_below(parent)):
            _makedirs(f"{self._folder}/{parent}", exist_ok=True)
        if not _exists(path) and not self.is_removed(inner):
            below = find_below(inner)
            if below is not None:
                _copy(below, path)
        self._removed.discard(inner)
        return path

    def remove(self, inner: str) -> None:
        """Hide what lies under this layer, since the app has removed it."""
        self._removed.add(inner)


def _exists(path: str) -> bool:
    try:
        _lstat(path)
    except OSError:
        return False
    return True


def _copy(source: str, target: str) -> None:
    found = _lstat(source)
    if stat.S_ISDIR(found.st_mode):
        _makedirs(target, exist_ok=True)
        return
    if found.st_size > COPY_MAX:
        raise OSError(errno.EFBIG, f"larger than the {COPY_MAX} bytes that a check copies", source)
    reading = _open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        writing = _open(
            target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, stat.S_IMODE(found.st_mode)
        )
        try:
            while data := _read(reading, _CHUNK):
                _write(writing, data)
        finally:
            _close(writing)
    finally:
        _close(reading)
