"""Remembers what the files of an app's code contained when it was imported.

A file that has been touched, or written again with the same text, is still the code that runs. So
the sources and templates are hashed, by a thread, as soon as the app serves. Needs the standard
library alone.
"""

import itertools
import threading
from collections.abc import Callable

from supervisor.process.channel import Message
from supervisor.source.fingerprints import Watch, contents, files_of

_FILES_IN_MESSAGE = 4000  # a message has to fit into `channel.LINE_MAX`
_HASHING_S = 30.0  # on a busy machine with a slow disk


class CodeContents:
    """The contents of the files of ``watch`` that stayed as they were `before` an import."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._thread: threading.Thread | None = None
        self._contents: dict[str, str] = {}
        self.before: frozenset[str] = frozenset()  # see `fingerprints.stamps`

    def begin(self) -> None:
        """Hash the files in a thread; only those that are as they were `before`."""
        self._thread = threading.Thread(target=self._hash, args=[self.before], daemon=True)
        self._thread.start()

    def _hash(self, before: frozenset[str]) -> None:
        self._contents = contents(self._watch, before)

    def files(self) -> set[str]:
        """Return the files as they are now, for an app of which nobody sees what it has loaded."""
        return set(files_of(self._watch))

    def report(self, loaded: set[str], send: Callable[[Message], None]) -> None:
        """Send the contents and the files of modules in a thread, in parts, when they are known."""
        threading.Thread(target=self._report, args=[loaded, send], daemon=True).start()

    def _report(self, loaded: set[str], send: Callable[[Message], None]) -> None:
        if self._thread is not None:
            self._thread.join(_HASHING_S)
        files = iter(self._contents.items())
        while part := dict(itertools.islice(files, _FILES_IN_MESSAGE)):
            send({"type": "contents", "files": part})
        send({"type": "code", "loaded": sorted(loaded)[:_FILES_IN_MESSAGE]})
