"""Says what to do about an exception that ended the import of an app.

Needs the standard library alone, because a worker may run on the interpreter of the app's own
virtual environment.
"""

import collections.abc
import errno
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from supervisor.source.built_in import hidden_text, is_built_in
from supervisor.source.fingerprints import is_installed
from supervisor.source.required_module import has_source
from supervisor.systemd import sandbox
from supervisor.worker import file_hints, missing_module, source_hints
from supervisor.worker.failure import Failure
from supervisor.worker.target_hints import similar

_GUARD = 'guard it with if __name__ == "__main__":'
_HELD = (
    "another process holds it; if that is the running generation of this app, which a reload "
    'keeps until the new one is ready, set reload = "replace"'
)
_COMMAND_LINE = (
    "the command line is the supervisor's here: read it under "
    'if __name__ == "__main__":, and take values from variables, set in `env`'
)
_NAMES = {  # that Python 3 has not
    "_name_": "__name__",
    "name": "__name__",
    "null": "None",
    "true": "True",
    "false": "False",
    "raw_input": "input",
    "unicode": "str",
    "xrange": "range",
}
_OF_FLASK = frozenset(
    {
        "Blueprint",
        "Flask",
        "jsonify",
        "redirect",
        "render_template",
        "request",
        "session",
        "url_for",
    }
)
_NO_ANSWER = ("Connection refused", "Name or service not known", "name resolution", "unreachable")
_HELD_TEXTS = (
    "database is locked",
    "could not exclusively lock",
    "gpio busy",
    "device or resource",
)


def hint(failure: Failure) -> str | None:
    """Return what to do about a failed import, None if nothing is known."""
    if failure.missing:
        hiding = _hiding(failure.missing, failure) if "." in failure.missing else None
        return hiding or missing_module.hint(failure.missing, failure.path, failure.target)
    return next((found for look in _LOOKS if (found := look(failure))), None)


def _of_exit(failure: Failure) -> str | None:
    error = failure.error
    is_input = "reading a line" in failure.text or failure.is_in("/getpass.py")
    if isinstance(error, EOFError) and is_input:
        return (
            "input() waits for a keyboard, and nobody is there: take the value from a variable, "
            "set in `env` of this app"
        )
    if not isinstance(error, SystemExit):
        lines = traceback.extract_tb(error.__traceback__, limit=-1)
        return _COMMAND_LINE if any("sys.argv" in (one.line or "") for one in lines) else None
    if failure.is_in("/argparse.py"):
        return f"argparse reads the command line: {_COMMAND_LINE}"
    if failure.is_in("/click/core.py"):
        return _COMMAND_LINE
    if isinstance(error.code, str):
        return "the text is the app's own: it ended itself for this reason"
    return f"the app ends itself while it is imported: {_GUARD}"


def _of_timeout(failure: Failure) -> str | None:
    if not failure.is_timeout:
        return None
    return "raise import_timeout_s if the import is only slow"


def _of_import(failure: Failure) -> str | None:
    """Return the hint for a name that a module lacks, because it is another module."""
    error = failure.error
    wanted = failure.text.partition("cannot import name '")[2].partition("'")[0]
    if "partially initialized module" in failure.text:
        return _partly_imported(wanted, failure)
    if type(error).__name__ == "ImportStringError":  # of Flask's from_object
        inner = getattr(error, "exception", error)
        missing = inner.name if isinstance(inner, ModuleNotFoundError) else None
        return hint(failure._replace(error=inner, text=str(inner), missing=missing))
    if not isinstance(error, ImportError):
        return None
    if "attempted relative import" in failure.text:
        return _relative_import(failure)
    name = error.name if isinstance(error.name, str) else ""
    if name == "__main__":
        return f"__main__ is flask-supervisor here: import it from {failure.module}"
    if hiding := _hiding(name, failure):
        return hiding
    folder = failure.path.joinpath(*name.split("."))
    if wanted and folder.is_dir() and wanted.isidentifier():
        return f"was {name.replace('.', '/')}/{wanted}.py copied?"
    return _other_version(name, wanted, failure) if wanted and name else None


def _partly_imported(wanted: str, failure: Failure) -> str:
    """Return the hint for a module whose import has begun, and is not complete."""
    name = failure.text.partition("partially initialized module '")[2].partition("'")[0]
    if hiding := _hiding(name, failure):
        return hiding
    last = traceback.extract_tb(failure.error.__traceback__, limit=-1)[0].filename
    folder = failure.path.joinpath(*name.split("."))
    if wanted and last == str(folder / "__init__.py"):
        return f"was {name.replace('.', '/')}/{wanted}.py copied?"
    if last == str(folder.with_suffix(".py")):
        return f"{folder.name}.py imports itself: rename it, if the package {name} is meant"
    return "two modules import each other: move one of the imports into a function"


def _other_version(name: str, wanted: str, failure: Failure) -> str | None:
    """Return the hint for a name that an imported module lacks."""
    module = sys.modules.get(name)
    if module is None:
        return None
    file = getattr(module, "__file__", None) or ""
    is_own = bool(file) and not is_installed(file)
    names = [one for one in dir(module) if one[0] != "_"]
    if close := similar(wanted, names) if is_own else _slip(wanted, names):
        return f"did you mean {close}?"
    if is_own:
        own = Path(file)
        shown = own.relative_to(failure.path) if own.is_relative_to(failure.path) else own.name
        return f"{shown} has no {wanted}: is it an older copy than the file that imports it?"
    return _not_in_package(name, wanted)


def _slip(wanted: str, names: list[str]) -> str | None:
    """Return which name of a package may be meant: it has many, and only a letter may differ."""
    alike = [one for one in names if abs(len(one) - len(wanted)) <= 1]
    return similar(wanted, alike, cutoff=0.8)


def _not_in_package(name: str, wanted: str) -> str:
    """Return the hint for what an installed module, or Python's own, lacks."""
    if name == "collections" and hasattr(collections.abc, wanted):
        return f"write from collections.abc import {wanted}"
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return f"the {top} of Python {sys.version_info[0]}.{sys.version_info[1]} has no {wanted}"
    try:
        installed = f"{top} {version(top)}"
    except importlib.metadata.PackageNotFoundError:
        installed = top
    return f"the installed {installed} has no {wanted}: the app was written for another version"


def _relative_import(failure: Failure) -> str:
    path = failure.path
    if "beyond top-level package" in failure.text:
        return (
            "it has more dots than there are packages above: write from models import ... without "
            "dots, or let `path` be the folder above, and name the package in `target`"
        )
    if (path / "__init__.py").is_file():
        return (
            f"`path` is inside the package {path.name}: let it be the folder above, and write "
            f'target = "{path.name}.{failure.target}"'
        )
    return (
        f"{failure.module} is in no package: write from models import ... without the dot, or let "
        "`path` be the folder above, and name the package in `target`"
    )


def _of_attribute(failure: Failure) -> str | None:
    """Return the hint for an attribute that a module or an object of a package lacks."""
    error = failure.error
    if not isinstance(error, AttributeError):
        return None
    name = failure.text.partition("module '")[2].partition("'")[0]
    if name == "__main__":
        return f"__main__ is flask-supervisor here: import it from {failure.module}"
    if hiding := _hiding(name, failure):
        return hiding
    if name in sys.modules and error.name:
        return _other_version(name, error.name, failure)
    kind = type(error.obj)
    file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
    is_of_python = kind.__module__.partition(".")[0] in sys.stdlib_module_names
    if not error.name or is_of_python or not is_installed(file):
        return None
    if close := _slip(error.name, dir(error.obj)):
        return f"did you mean {close}?"
    return _not_in_package(kind.__module__, f"{kind.__name__}.{error.name}")


def _hiding(name: str, failure: Failure) -> str | None:
    """Return the hint if the app's own file is in the place of an installed module."""
    top = name.partition(".")[0]
    places = (failure.path / f"{top}.py", failure.path / top / "__init__.py")
    own = next((one for one in places if one.is_file()), None)
    if not top.isidentifier() or own is None:
        return None
    if is_built_in(top):
        return hidden_text(own.name)
    *parents, last = name.split(".")
    is_hidden = name in sys.stdlib_module_names or any(
        has_source(folder, last)
        and not folder.is_relative_to(failure.path)
        and not (own is places[1] and _is_copy(own.parent, Path(one, top)))
        for one, folder in ((one, Path(one, *parents)) for one in sys.path if one)
    )
    what = f"file {top}.py" if own is places[0] else f"folder {top}/"
    return f"your own {what} hides the package {top}: rename it" if is_hidden else None


def _is_copy(package: Path, installed: Path) -> bool:
    """Return whether two packages have a module in common: one is a copy of the other."""
    names = [{entry.name for entry in one.glob("*")} for one in (package, installed)]
    return bool(names[0] & names[1] - {"__init__.py", "__pycache__"})


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


def _of_network(failure: Failure) -> str | None:
    if not any(text in failure.text for text in _NO_ANSWER):
        return None
    return (
        "what it connects to does not answer: is it started, and is its name right? The supervisor "
        "imports the app again until it answers"
    )


def _of_text(failure: Failure) -> str | None:
    """Return the hint for a file of JSON, or a view, by what the error says."""
    error = failure.error
    if isinstance(error, json.JSONDecodeError):
        if not error.doc.strip():
            return "the JSON that it reads is empty: was the file cut off, as by a power cut?"
        return f"correct line {error.lineno} of the JSON that it reads"
    if "overwriting an existing endpoint function" in failure.text:
        return (
            "two views have this name: rename one, or write @functools.wraps(function) in the "
            "decorator"
        )
    return None


def _of_name(failure: Failure) -> str | None:
    """Return the hint for a variable of the environment or of Python that is not there."""
    error = failure.error
    if isinstance(error, KeyError) and failure.is_in("<frozen os>"):
        name = str(error.args[0])
        if file_hints.sets(failure.path / ".env", name):
            return f"the file .env sets {name}: let `env_file` name it"
        return f"the variable {name} is not set: set it in `env` or `env_file`"
    if not isinstance(error, NameError):
        return None
    if error.name in _NAMES:
        return f"did you mean {_NAMES[error.name]}?"
    if error.name == "get_ipython":
        return "this was a notebook: remove the lines that only a notebook runs"
    if error.name in sys.stdlib_module_names:
        return f"is the line missing above: import {error.name}"
    if error.name in _OF_FLASK:
        return f"is the line missing above: from flask import {error.name}"
    return None


_LOOKS: tuple[Callable[[Failure], str | None], ...] = (
    _of_sandbox,
    _of_import,
    _of_attribute,
    source_hints.of_source,
    _of_exit,
    _of_timeout,
    _of_held,
    file_hints.of_file,
    _of_network,
    _of_thread,
    _of_text,
    _of_name,
)
