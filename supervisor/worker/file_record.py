"""Records which files of its own folder an app reads while it is imported, and which it writes.

What it reads at import (``games.json`` beside its module) belongs to its code. What it writes is
data of the field, whatever folder it lies in: no release holds it and no deploy removes it. Python
reports both as audit events (PEP 578), for every way to open a file that goes through Python;
SQLite reports the database. Needs the standard library alone.
"""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, Self

FILES_MAX = 5000  # of each kind: an app with more data keeps it in folders, see `_add`
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CODE = (".py", ".pyc", ".pyo", ".so")
_CACHE = "__pycache__"  # Python writes compiled code there under a temporary name first
_SQLITE = ("-journal", "-wal", "-shm")
_getcwd, _realpath = os.getcwd, os.path.realpath


class FileRecord:
    """The files below ``root`` that this process has read and written, as relative paths."""

    def __init__(self, root: Path) -> None:
        self._roots = {f"{os.path.abspath(root)}/", f"{_realpath(root)}/"}
        self._is_importing = True
        self._read: set[str] = set()
        self._sources: set[str] = set()
        self._executed: set[str] = set()
        self._written: set[str] = set()

    def install(self) -> Self:
        """Record from now on; there is no way to stop (sys.addaudithook)."""
        sys.addaudithook(self._on_audit_event)
        return self

    def import_ended(self) -> None:
        """Record no more what is only read."""
        self._is_importing = False

    @property
    def read(self) -> list[str]:
        """The files that were read during the import and not written, without modules."""
        return sorted(self._read - self._written)

    @property
    def sources(self) -> list[str]:
        """The Python sources that were read during the import, those of modules among them.

        A source that Python has compiled before is not read, but its cached code is.
        """
        return sorted(self._sources)

    @property
    def executed(self) -> list[str]:
        """The files that ran as code during the import, though their names don't end with .py.

        Flask's ``app.config.from_pyfile("settings.cfg")`` runs one.
        """
        return sorted(self._executed)

    @property
    def count(self) -> int:
        """How many files were written."""
        return len(self._written)

    @property
    def written(self) -> list[str]:
        """The files that were written, moved into place or made."""
        return sorted(self._written)

    def _on_audit_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _mode, flags = arguments
            if isinstance(flags, int) and flags & _WRITING:
                self._add(self._written, path)
            elif self._is_importing:
                self._add(self._read, path)
        elif event == "exec" and self._is_importing:
            if (name := arguments[0].co_filename).startswith("/"):  # not <string> and the like
                self._add(self._executed, name)
        elif event in ("os.rename", "os.link", "os.symlink"):
            self._add(self._written, arguments[1])
        elif event == "sqlite3.connect":
            for suffix in ("", *_SQLITE):
                self._add(self._written, arguments[0], suffix)

    def _add(self, files: set[str], path: Any, suffix: str = "") -> None:
        """Add a file below the root; beyond `FILES_MAX` only the folder that it lies in."""
        if isinstance(path, int) or path is None:
            return
        try:
            name = os.fsdecode(path)
        except (TypeError, UnicodeError):
            return
        if not name.startswith("/"):
            try:
                name = f"{_getcwd()}/{name}"
            except OSError:
                return
        name = os.path.normpath(name)
        for root in self._roots:
            if name.startswith(root):
                inner = name[len(root) :] + suffix
                if inner.endswith(_CODE) or _CACHE in inner.split("/"):
                    if files is self._read:
                        self._add_source(inner)
                else:
                    files.add(inner if len(files) < FILES_MAX else f"{os.path.dirname(inner)}/")
                return

    def _add_source(self, name: str) -> None:
        if name.endswith(".pyc"):
            try:
                name = importlib.util.source_from_cache(name)
            except ValueError:  # it lies in no cache: a module without its source
                return
        if name.endswith(".py") and len(self._sources) < FILES_MAX:
            self._sources.add(name)
