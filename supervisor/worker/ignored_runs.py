"""Lets Flask ignore an ``app.run()`` at the end of a module that is imported, as by ``flask run``.

Flask looks at a variable for that. Only its call in the importing thread sees it: a process or a
thread that the app starts meanwhile may serve as it likes. Needs the standard library alone.
"""

import contextlib
import os
import sys
from _thread import get_ident
from collections.abc import Iterator
from pathlib import Path

from supervisor.values.levels import marked
from supervisor.worker.frames import is_in, own_place, server_called, stack
from supervisor.worker.import_failure import GUARD, ServesAtImport

_SWITCHES = frozenset({"FLASK_RUN_FROM_CLI", "WERKZEUG_RUN_MAIN"})  # the second: without a message
_importing: tuple[int, int, Path] | None = None  # the process, the thread, the app's folder
_calls: set[str] = set()  # of app.run(): where


class _Environment(os._Environ):  # type: ignore[type-arg]
    def __getitem__(self, key: str) -> str:
        if key in _SWITCHES and _importing and _importing[:2] == (os.getpid(), get_ident()):
            frames = list(stack(sys._getframe(1)))
            if is_in(frames, "/flask/app.py", "run"):
                file, line = own_place(frames, _importing[2]) or ("a library", 0)
                _calls.add(f"{file}, line {line}" if line else file)
                return "true"
            if called := server_called(frames):  # whose reloader would execute the supervisor again
                raise ServesAtImport(called[1])
        return str(super().__getitem__(key))


@contextlib.contextmanager
def ignored_runs(path: Path) -> Iterator[None]:
    """Ignore ``app.run()`` in this thread during the block, and say so on standard error."""
    global _importing
    environment = os.environ
    environment.__class__ = _Environment
    _importing = (os.getpid(), get_ident(), path)
    try:
        yield
    finally:
        _importing = None
        environment.__class__ = os._Environ
        calls = sorted(_calls)
        _calls.clear()
        for place in calls:
            text = f"app.run() in {place}, is ignored while the app is imported: {GUARD}"
            sys.stderr.write(f"{marked(text, 'warning')}\n")
