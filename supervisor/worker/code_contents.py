"""Remembers what the files of an app's code contained when it was imported.

A file that has been touched, or written again with the same text, is still the code that runs. So
the sources and templates are hashed, by a thread, as soon as the app serves. Needs the standard
library alone.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread  # the real one, whatever an app replaces
from typing import Any

from supervisor.process.channel import FILES_IN_MESSAGE, Message, in_parts
from supervisor.source.fingerprints import (
    TEMPLATES,
    Watch,
    contents,
    files_of,
    is_installed,
    stamps,
    taken,
)

_HASHING_S = 30.0  # on a busy machine with a slow disk


class CodeContents:
    """The contents of the files of ``watch`` that stayed as they were `before` an import."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._thread: Thread | None = None
        self._contents: dict[str, str] = {}
        self._templates: set[str] = set()  # folders that the sources' watch leaves out
        self._files: set[str] = set()  # code that it leaves out
        self.before: frozenset[str] = frozenset()  # see `fingerprints.stamps`

    def begin(self) -> None:
        """Hash the files in a thread; only those that are as they were `before`."""
        self._thread = Thread(target=self._hash, args=[self.before], daemon=True)
        self._thread.start()

    def _hash(self, before: frozenset[str]) -> None:
        more = self._watch_of_more()
        self._contents = contents(self._watch, before) | contents(more, stamps(more))

    def add_app(self, app: object, root: Path) -> None:
        """Note the folders from which a Flask app and its blueprints render."""
        for folder in _template_folders(app):
            inside = os.path.relpath(folder, root).split(os.sep)
            if not is_installed(folder) and (os.pardir in inside or TEMPLATES not in inside):
                self._templates.add(folder)

    def add_loaded(self, loaded: set[str]) -> None:
        """Note what was imported from elsewhere: another folder, a link, an archive, a ``.pyc``."""
        known = {line.rpartition(": ")[0] for line in self.before}
        found = (_on_disk(file) for file in loaded - known if not is_installed(file))
        self._files |= {file for file in found if file not in known and os.path.isfile(file)}

    def watched(self, watch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return ``watch`` with the templates and further files of all apps as they are now."""
        has_more = self._templates or self._files
        return [*watch, *([taken(self._watch_of_more())] if has_more else [])]

    def _watch_of_more(self) -> Watch:
        templates, files = tuple(sorted(self._templates)), tuple(sorted(self._files))
        return Watch(trees=(), templates=templates, files=files)

    def files(self) -> set[str]:
        """Return the files as they are now, for an app of which nobody sees what it has loaded."""
        return set(files_of(self._watch))

    def report(self, loaded: set[str], send: Callable[[Message], None]) -> None:
        """Send the contents and the files of modules in a thread, in parts, when they are known."""
        Thread(target=self._report, args=[loaded, send], daemon=True).start()

    def _report(self, loaded: set[str], send: Callable[[Message], None]) -> None:
        if self._thread is not None:
            self._thread.join(_HASHING_S)
        for part in in_parts(self._contents):
            send({"type": "contents", "files": part})
        send({"type": "code", "loaded": sorted(loaded)[:FILES_IN_MESSAGE]})


def _on_disk(file: str) -> str:
    """Return ``file``, or the archive that it lies in."""
    while not os.path.exists(file) and (parent := os.path.dirname(file)) != file:
        file = parent
    return file


def _template_folders(app: object) -> Iterator[str]:
    """Yield the folders of templates of a Flask app and its blueprints."""
    if not any(one.__name__ == "Flask" for one in type(app).__mro__):
        return
    for owner in (app, *getattr(app, "blueprints", {}).values()):
        yield from _searched(getattr(owner, "jinja_loader", None))


def _searched(loader: object) -> Iterator[str]:
    """Yield the folders that a loader of Jinja searches, and those that it is made of."""
    yield from map(os.fspath, getattr(loader, "searchpath", ()))
    for one in (*getattr(loader, "loaders", ()), *getattr(loader, "mapping", {}).values()):
        yield from _searched(one)
