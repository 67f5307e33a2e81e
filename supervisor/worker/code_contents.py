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
from supervisor.source.fingerprints import TEMPLATES, Watch, contents, files_of, stamps, taken

_HASHING_S = 30.0  # on a busy machine with a slow disk


class CodeContents:
    """The contents of the files of ``watch`` that stayed as they were `before` an import."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._thread: Thread | None = None
        self._contents: dict[str, str] = {}
        self._templates: set[str] = set()  # folders that the sources' watch leaves out
        self.before: frozenset[str] = frozenset()  # see `fingerprints.stamps`

    def begin(self) -> None:
        """Hash the files in a thread; only those that are as they were `before`."""
        self._thread = Thread(target=self._hash, args=[self.before], daemon=True)
        self._thread.start()

    def _hash(self, before: frozenset[str]) -> None:
        templates = self._template_watch()
        self._contents = contents(self._watch, before) | contents(templates, stamps(templates))

    def add_app(self, app: object, root: Path) -> None:
        """Note the folders below ``root`` from which a Flask app and its blueprints render."""
        for folder in _template_folders(app):
            inside = os.path.relpath(folder, root).split(os.sep)
            if os.pardir not in inside and {TEMPLATES, "site-packages"}.isdisjoint(inside):
                self._templates.add(folder)

    def watched(self, watch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return ``watch`` with the templates of all apps as they are now."""
        return [*watch, *([taken(self._template_watch())] if self._templates else [])]

    def _template_watch(self) -> Watch:
        return Watch(trees=(), templates=tuple(sorted(self._templates)))

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


def _template_folders(app: object) -> Iterator[str]:
    """Yield the folders of templates of a Flask app, as ``Flask(template_folder=...)`` names."""
    if not any(one.__name__ == "Flask" for one in type(app).__mro__):
        return
    for owner in (app, *getattr(app, "blueprints", {}).values()):
        root, folder = getattr(owner, "root_path", None), getattr(owner, "template_folder", None)
        if isinstance(root, str) and isinstance(folder, str | os.PathLike):
            yield os.path.join(root, folder)
