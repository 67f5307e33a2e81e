"""Lets an app's own modules win over modules that the supervisor has loaded before.

By hand, the app's folder is searched before everything but what is built into the interpreter: an
app that has a ``calendar.py`` or a ``click.py`` gets its own. In a worker, modules with such names
are loaded already, and an import would return those. Needs the standard library alone.
"""

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

from supervisor.source.built_in import is_built_in

_OURS = __name__.partition(".")[0]
_kept: list[ModuleType] = []  # what uses them goes on using them


def let_own_modules_win(path: Path) -> None:
    """Forget loaded modules in whose place the app in ``path`` has its own.

    What has imported them keeps them: Flask goes on with the real click.
    """
    for name in {entry.partition(".")[0] for entry in os.listdir(path)} & sys.modules.keys():
        if not is_built_in(name) and _is_other(sys.modules[name], _file_of(name, path)):
            _forget(name, path)


def _file_of(name: str, folder: Path) -> str | None:
    """Return the file of a top-level module of ``folder``; None where there is none."""
    spec = PathFinder.find_spec(name, [str(folder)])
    return None if spec is None else spec.origin  # None: a folder without __init__.py


def _is_other(module: ModuleType, file: str | None) -> bool:
    """Return whether there is a ``file``, and ``module`` is not loaded from it."""
    if file is None:
        return False
    loaded = getattr(module, "__file__", None)
    return not (isinstance(loaded, str) and os.path.realpath(loaded) == os.path.realpath(file))


def _forget(name: str, path: Path) -> None:
    _kept.append(sys.modules.pop(name))
    for finder in sys.meta_path:  # of `venv_boot`
        getattr(finder, "names", set()).discard(name)
    for inner in [one for one in sys.modules if one.startswith(f"{name}.")]:
        parts = inner.split(".")
        # of our own package the worker may need more yet, unless the app has a module there too
        if name != _OURS or _file_of(parts[1], path / name):
            _kept.append(sys.modules.pop(inner))
