"""Says what to do about an exception that ended the import of an app.

Needs the standard library alone, because a worker may run on the interpreter of the app's own
virtual environment.
"""

import errno
import os
import sys
import traceback
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from supervisor.source.built_in import hidden_text, is_built_in
from supervisor.systemd import sandbox
from supervisor.worker import missing_module

_GUARD = 'guard it with if __name__ == "__main__":'
_HELD = (
    "another process holds it; if that is the running generation of this app, which a reload "
    'keeps until the new one is ready, set reload = "replace"'
)
_CONFLICT_MARKS = ("<<<<<<<", "=======", ">>>>>>>", "|||||||")
_HELD_TEXTS = (
    "database is locked",
    "could not exclusively lock",
    "gpio busy",
    "device or resource",
)
_FILES_SEARCHED_MAX = 5000


class Failure(NamedTuple):
    """A failed import: the exception and its text, the app's folder, its target.

    ``files`` are those of the frames, ``missing`` is the module that wasn't found, ``is_timeout``
    says that the import took too long.
    """

    error: BaseException
    text: str
    path: Path
    target: str
    files: Collection[str]
    missing: str | None = None
    is_timeout: bool = False

    @property
    def module(self) -> str:
        """The module of the target."""
        return self.target.partition(":")[0]


def hint(failure: Failure) -> str | None:
    """Return what to do about a failed import, None if nothing is known."""
    if failure.missing:
        hiding = _hiding(failure.missing, failure) if "." in failure.missing else None
        return hiding or missing_module.hint(failure.missing, failure.path, failure.target)
    return next((found for look in _LOOKS if (found := look(failure))), None)


def _of_source(failure: Failure) -> str | None:
    error = failure.error
    if not isinstance(error, SyntaxError):
        return None
    line = error.text.strip() if isinstance(error.text, str) else ""
    if line.startswith(_CONFLICT_MARKS):
        return "git left a conflict between two versions here: choose one, and remove the marks"
    if "codec can't decode" in failure.text or "Non-UTF-8" in failure.text:
        return "save the file as UTF-8"
    if failure.text.startswith("Missing parentheses in call to"):
        return f"this is Python 2; in Python 3 it is a function: {line[:100]}"
    return f"correct this line: {line[:100]}" if line else "correct the file"


def _of_exit(failure: Failure) -> str | None:
    error = failure.error
    if isinstance(error, EOFError) and "reading a line" in failure.text:
        return (
            "input() waits for a keyboard, and nobody is there: take the value from a variable, "
            "set in `env` of this app"
        )
    if not isinstance(error, SystemExit):
        return None
    if any(file.endswith("/argparse.py") for file in failure.files):
        return (
            "argparse reads the command line, which is the supervisor's here: parse it under "
            'if __name__ == "__main__":, and set values in `env`'
        )
    if isinstance(error.code, str):
        return "the text is the app's own: it ended itself for this reason"
    return f"the app ends itself while it is imported: {_GUARD}"


def _of_timeout(failure: Failure) -> str | None:
    if not failure.is_timeout:
        return None
    return "raise import_timeout_s if the import is only slow"


def _of_import(failure: Failure) -> str | None:
    """Return the hint for a name that a module lacks, because it is another module."""
    if "partially initialized module" in failure.text:
        name = getattr(failure.error, "name", None) or failure.text.partition("'")[2]
        top = str(name).partition("'")[0].partition(".")[0]
        return _hiding(top, failure) or (
            "two modules import each other: move one of the imports into a function"
        )
    if not isinstance(failure.error, ImportError):
        return None
    if "attempted relative import" in failure.text:
        return _relative_import(failure)
    name = failure.error.name if isinstance(failure.error.name, str) else ""
    if name == "__main__":
        return f"__main__ is flask-supervisor here: import it from {failure.module}"
    if hiding := _hiding(name, failure):
        return hiding
    folder = failure.path.joinpath(*name.split("."))
    wanted = getattr(failure.error, "name_from", None)  # Python 3.12
    wanted = wanted or failure.text.partition("cannot import name '")[2].partition("'")[0]
    if wanted and folder.is_dir() and wanted.isidentifier():
        return f"was {name.replace('.', '/')}/{wanted}.py copied?"
    return None


def _relative_import(failure: Failure) -> str:
    path = failure.path
    if (path / "__init__.py").is_file():
        return (
            f"`path` is inside the package {path.name}: let it be the folder above, and write "
            f'target = "{path.name}.{failure.target}"'
        )
    return (
        f"{failure.module} is in no package: write from models import ... without the dot, or let "
        "`path` be the folder above, and name the package in `target`"
    )


def _of_hidden_package(failure: Failure) -> str | None:
    """Return the hint for an attribute that the app's own module lacks, and a package has."""
    if not isinstance(failure.error, AttributeError):
        return None
    name = failure.text.partition("module '")[2].partition("'")[0]
    return _hiding(name, failure)


def _hiding(name: str, failure: Failure) -> str | None:
    """Return the hint if the app's own file is in the place of an installed module."""
    top = name.partition(".")[0]
    own = failure.path / f"{top}.py"
    if not top.isidentifier() or not own.is_file():
        return None
    if is_built_in(top):
        return hidden_text(own.name)
    elsewhere = [folder for folder in sys.path if folder and Path(folder) != failure.path]
    is_installed = top in sys.stdlib_module_names or any(
        Path(folder, top, "__init__.py").is_file() or Path(folder, f"{top}.py").is_file()
        for folder in elsewhere
    )
    return f"your own file {own.name} hides the package {top}: rename it" if is_installed else None


def _of_sandbox(failure: Failure) -> str | None:
    """Return the hint for what the unit's sandbox forbids."""
    if not sandbox.is_sandboxed(os.environ):
        return None
    if isinstance(failure.error, OSError) and (found := sandbox.hint(failure.error, os.environ)):
        return found
    rules = sandbox.rules_for("".join(traceback.format_exception(failure.error)))
    return rules[0].hint if rules else None


def _of_held(failure: Failure) -> str | None:
    """Return the hint for a lock, a port or a device that only one process can hold."""
    number = getattr(failure.error, "errno", None)
    text = failure.text.lower()
    is_lock = isinstance(failure.error, BlockingIOError) and number == errno.EAGAIN
    is_held = number in (errno.EADDRINUSE, errno.EBUSY) or any(t in text for t in _HELD_TEXTS)
    return _HELD if is_lock or is_held else None


def _of_file(failure: Failure) -> str | None:
    error = failure.error
    if "unable to open database file" in failure.text:
        return "does the folder of the database exist, and may the supervisor's user write there?"
    if isinstance(error, PermissionError) and error.filename:
        return f"the supervisor's user needs access to {Path(str(error.filename)).name}"
    if isinstance(error, FileNotFoundError) and isinstance(error.filename, str):
        return _missing_file(error.filename, failure)
    return None


def _missing_file(name: str, failure: Failure) -> str:
    file = failure.path / name
    if any(one.endswith("/subprocess.py") for one in failure.files):
        return f"the program {file.name} is not installed, or is not in PATH"
    if not file.parent.is_dir():
        return f"the folder {file.parent.name} is not there: create it, or was it not copied?"
    if elsewhere := _found_below(failure.path, file.name):
        return (
            f"{elsewhere} exists, but the working folder is the app's `path`: open it with "
            f'Path(__file__).with_name("{file.name}"), or as "{elsewhere}"'
        )
    return f"{file.name} is not there: was it copied?"


def _found_below(path: Path, name: str) -> str | None:
    """Return where a file with this name lies below ``path``, looking at a bounded number."""
    looked_at = 0
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(one for one in folders if not one.startswith((".", "__")))
        looked_at += len(names) + 1
        if name in names:
            return os.path.relpath(os.path.join(folder, name), path)
        if looked_at > _FILES_SEARCHED_MAX:
            break
    return None


def _of_thread(failure: Failure) -> str | None:
    if "signal only works in main thread" in failure.text:
        return (
            "this code runs in a thread, where Python allows no signal handler: leave it out, or "
            "tell the server so (handle_signals=False)"
        )
    if "no current event loop" in failure.text:
        return (
            "this code runs in a thread, which has no event loop yet: use asyncio.run(...), or "
            "asyncio.set_event_loop(asyncio.new_event_loop()) before"
        )
    return None


def _of_variable(failure: Failure) -> str | None:
    if isinstance(failure.error, KeyError) and any(
        f.endswith("<frozen os>") for f in failure.files
    ):
        return (
            f"the variable {failure.text.strip(chr(39))} is not set: set it in `env` or `env_file`"
        )
    return None


_LOOKS: tuple[Callable[[Failure], str | None], ...] = (
    _of_sandbox,
    _of_import,
    _of_hidden_package,
    _of_source,
    _of_exit,
    _of_timeout,
    _of_held,
    _of_file,
    _of_thread,
    _of_variable,
)
