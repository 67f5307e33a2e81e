"""Imports an app with everything caught, and explains what went wrong in words.

Runs in a worker or a throw-away child only: an import is foreign code. Needs the standard
library alone, because a worker may run on the interpreter of the app's own virtual environment.
"""

import difflib
import importlib
import importlib.machinery
import importlib.util
import itertools
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Any, NoReturn

from supervisor.systemd import sandbox
from supervisor.values.reports import ImportReport

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Any]
Hide = Callable[[str], str]
"""Takes secrets out of a text."""

_ALARM_AGAIN_S = 0.503  # an import that swallows the time-out is interrupted again
_MESSAGE_MAX = 300
_TRACEBACK_MAX = 32 * 1024
_FRAMES_MAX = 40
_FILES_SEARCHED = 2000
# Where the supervisor was started, or its script: Python puts it first on the search path. An app
# that finds a module there works when started by hand, and fails as a service.
_START_FOLDER = "" if sys.flags.safe_path else sys.path[0]
_OWN_FOLDER = str(Path(__file__).parents[1])
_PATH_OR_URL = re.compile(
    r"(?P<url>\w[\w+.-]*://[^\s/]\S*)"
    r"|(?P<quote>['\"])/[^'\"]*/(?P<quoted>[^'\"/]*)(?P=quote)"
    r"|(?<![\w.~/])/+(?:[^\s/'\"():,;]+/)+(?P<name>[^\s/'\"():,;]*)"
)
_CREDENTIALS = re.compile(r"//[^/@\s]+@")
_NULL_BYTES = "source code string cannot contain null bytes"
_LINE_SUFFIX = re.compile(r" \([^()]*, line \d+\)$")  # SyntaxError's str() repeats its place

# Modules whose package on PyPI has another name; from what runs on Raspberry Pis.
_PACKAGE_OF_MODULE = {
    "RPi": "RPi.GPIO",
    "PIL": "Pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "flask_sqlalchemy": "Flask-SQLAlchemy",
    "serial": "pyserial",
    "sklearn": "scikit-learn",
    "smbus": "smbus2",
    "socketio": "python-socketio",
    "yaml": "PyYAML",
    "zmq": "pyzmq",
}


class ImportTimeout(BaseException):
    """The import took too long; not an Exception, so that apps don't swallow it."""


class TargetError(Exception):
    """The module is fine, but the target in it is not a WSGI app."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def prepare(path: Path, working_folder: Path | None = None) -> None:
    """Make ``path`` the first folder of the search path and, by default, the working folder.

    Raises `TargetError` when it isn't a folder that can be entered.
    """
    folder = working_folder or path
    try:
        os.chdir(folder)
    except OSError as error:
        raise TargetError(
            f"the app's folder {folder.name}/ can't be entered: {error.strerror}",
            "correct `path` in its section of the configuration",
        ) from error
    sys.path[:] = app_search_path(path)
    # A finder sees by itself that its folder has changed; to let all of them begin anew would copy
    # what they share with the main process. A folder that wasn't there before has no finder.
    for gone in [path for path, finder in sys.path_importer_cache.items() if finder is None]:
        del sys.path_importer_cache[gone]


def app_search_path(path: Path) -> list[str]:
    """Return the search path of an app: its own folder first, the folder of the start left out."""
    return [str(path), *(p for p in sys.path if p not in ("", _START_FOLDER, str(path)))]


def import_app(
    target: str,
    path: Path,
    *,
    timeout_s: float | None,
    after_import: Sequence[str] = (),
    prepared: bool = False,
    working_folder: Path | None = None,
    hide: Hide = str,
) -> tuple[WsgiApp, None] | tuple[None, ImportReport]:
    """Return the app that ``target`` names, or a report of why there is none.

    Whatever the import raises is caught, `SystemExit` and `KeyboardInterrupt` included. After
    ``timeout_s`` seconds an import that still runs Python code is interrupted; None, in another
    thread than the main one: never. The functions ``after_import`` are called afterwards.
    ``prepared``: another app of the same ``path`` has been imported before. ``working_folder``:
    where it is not ``path``. ``hide`` is applied to the texts of the report before any is cut.
    """
    started = time.monotonic()
    try:
        with _time_limit(timeout_s):
            if not prepared:
                prepare(path, working_folder)
            app = _load(target)
            for function in after_import:
                _call_after_import(function)
            return app, None
    except BaseException as error:  # noqa: BLE001 - this is the import boundary: all is reported
        seconds = time.monotonic() - started
        return None, explain(error, target=target, path=path, seconds=seconds, hide=hide)


class _time_limit:
    """Raises `ImportTimeout` in the main thread when the block takes longer."""

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s

    def __enter__(self) -> None:
        if self._timeout_s is None:
            return
        signal.signal(signal.SIGALRM, self._expired)
        signal.setitimer(signal.ITIMER_REAL, self._timeout_s, _ALARM_AGAIN_S)

    def __exit__(self, *_: object) -> None:
        if self._timeout_s is None:
            return
        if signal.getitimer(signal.ITIMER_REAL)[1] == _ALARM_AGAIN_S:  # not one of the app's own
            signal.setitimer(signal.ITIMER_REAL, 0)
        if signal.getsignal(signal.SIGALRM) == self._expired:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def _expired(self, _number: int, _frame: FrameType | None) -> NoReturn:
        raise ImportTimeout(f"the import took longer than {self._timeout_s:g} s")


def _load(target: str) -> WsgiApp:
    module_name, _, attribute = target.partition(":")
    is_factory = attribute.endswith("()")
    found: Any = importlib.import_module(module_name)
    for name in attribute.removesuffix("()").split("."):
        found = _attribute(found, name)
    if is_factory:
        found = _called(found, target)
    if not callable(found):
        raise TargetError(
            f"{target} is {_a(found)}, not a WSGI app: it can't be called",
            "let the target name the Flask object, or the function that makes it with ()",
        )
    return found  # type: ignore[no-any-return]


def _call_after_import(function: str) -> None:
    """Call ``"module:function"``, which the app wants to be called when it is there."""
    module_name, _, names = function.partition(":")
    found: Any = importlib.import_module(module_name)
    for name in names.split("."):
        found = _attribute(found, name)
    if not callable(found):
        raise TargetError(f"{function} of after_import is {_a(found)}: it can't be called")
    found()


def purge(before: Collection[str], path: Path) -> None:
    """Forget the modules of the app that a failed import has left, so that the next begins anew.

    ``before`` are the names of the modules that there were. What lies outside of ``path`` stays:
    libraries mostly can't be imported twice.
    """
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name not in before and isinstance(file, str) and _is_own(file, path):
            del sys.modules[name]
    importlib.invalidate_caches()


def _attribute(owner: object, name: str) -> object:
    try:
        return getattr(owner, name)
    except AttributeError as error:
        kind = "module " if isinstance(owner, ModuleType) else ""
        owner_name = getattr(owner, "__name__", type(owner).__name__)
        close = difflib.get_close_matches(name, [n for n in dir(owner) if n[0] != "_"], n=1)
        hint = f"did you mean {close[0]}?" if close else _apps_in(owner)
        raise TargetError(f"{kind}{owner_name} has no attribute {name!r}", hint) from error


def _apps_in(owner: object) -> str:
    names = [
        name
        for name, value in getattr(owner, "__dict__", {}).items()
        if type(value).__name__ == "Flask" or name in {"create_app", "make_app"}
    ]
    if names:
        return f"it has: {', '.join(sorted(names))}"
    return "no Flask app was found in it; correct `target` in the configuration"


def _called(factory: object, target: str) -> object:
    if not callable(factory):
        raise TargetError(
            f"{target} can't be called: it is {_a(factory)}", "leave out the () in `target`"
        )
    return factory()


def _a(value: object) -> str:
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def explain(
    error: BaseException, *, target: str, path: Path, seconds: float, hide: Hide = str
) -> ImportReport:
    """Say in words what ``error``, raised by the import of ``target``, means."""
    if type(error) is ValueError and str(error) == _NULL_BYTES:  # Python 3.11.2, of Debian 12
        error = SyntaxError(_NULL_BYTES).with_traceback(error.__traceback__)
    file, line = _place(error, path)
    message = hide(_text(error))
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    missing = missing if isinstance(missing, str) else None
    return ImportReport(
        type="TargetError" if isinstance(error, TargetError) else type(error).__name__,
        message=_one_line(message, path) if message else "",
        file=file,
        line=line,
        missing_module=missing,
        hint=_one_line(hide(_hint(error, path, missing) or ""), path) or None,
        traceback=_short_traceback(error, hide),
        seconds=round(seconds, 3),
    )


def _text(error: BaseException) -> str:
    """Return the message of ``error``; empty when the app's own code fails to give one."""
    try:
        if isinstance(error, SystemExit):
            code = "" if error.code is None else repr(error.code)
            return f"sys.exit({code}) was called"
        text = str(error)
    except BaseException:  # noqa: BLE001 - foreign code again: the type has to do
        return ""
    if isinstance(error, SyntaxError):
        return _LINE_SUFFIX.sub("", text)
    if isinstance(error, OSError):
        for name in (error.filename, error.filename2):
            if isinstance(name, str) and name.startswith("/"):
                text = text.replace(repr(name), repr(f"…/{Path(name).name}"))
    return text


def _place(error: BaseException, path: Path) -> tuple[str | None, int | None]:
    """Return the file, relative to ``path``, and the line where the app's own code failed."""
    if isinstance(error, SyntaxError):
        line = error.lineno if isinstance(error.lineno, int) and error.lineno > 0 else 1
        if isinstance(error.filename, str) and error.filename:
            return _relative(error.filename, path), line
        if damaged := _file_with_null_bytes(path):
            return _relative(damaged, path), line
    if isinstance(error, TargetError):
        return None, None
    frames = [frame for frame in _frames(error.__traceback__) if not _is_machinery(frame[0])]
    own = [frame for frame in frames if _is_own(frame[0], path)]
    if not frames:
        return None, None
    file, line = (own or frames)[-1]
    return _relative(file, path), line


def _file_with_null_bytes(path: Path) -> str | None:
    """Find the file that can't be compiled for its null bytes: Python 3.11 doesn't name it."""
    for file in itertools.islice(path.rglob("*.py"), _FILES_SEARCHED):
        if "site-packages" in file.parts:
            continue
        try:
            if b"\0" in file.read_bytes():
                return str(file)
        except OSError:
            continue
    return None


def _frames(tb: TracebackType | None) -> Iterator[tuple[str, int]]:
    for frame, line in traceback.walk_tb(tb):
        yield frame.f_code.co_filename, line


def _is_machinery(file: str) -> bool:
    return file.startswith(("<frozen importlib", _OWN_FOLDER + os.sep, importlib.__file__))


def _is_own(file: str, path: Path) -> bool:
    return file.startswith(f"{path}{os.sep}") and "site-packages" not in file


def _relative(file: str, path: Path) -> str:
    prefix = f"{path}{os.sep}"
    return file.removeprefix(prefix) if file.startswith(prefix) else Path(file).name


def _one_line(message: str, path: Path) -> str:
    """Make ``message`` fit to be shown to anybody: one line, no absolute path."""
    message = message[: 8 * _MESSAGE_MAX].replace(f"{path}{os.sep}", "")
    message = _PATH_OR_URL.sub(_without_place, message)
    message = " ".join(message.split())
    message = "".join(c if c.isprintable() else "·" for c in message[: 2 * _MESSAGE_MAX])
    return message if len(message) <= _MESSAGE_MAX else message[: _MESSAGE_MAX - 1] + "…"


def _without_place(found: re.Match[str]) -> str:
    """Return a path without its folders, and an address of the web without its password."""
    if found["url"]:
        return _CREDENTIALS.sub("//…@", found["url"])
    if found["quote"]:
        return f"{found['quote']}…/{found['quoted']}{found['quote']}"
    return f"…/{found['name']}"


def _short_traceback(error: BaseException, hide: Hide) -> str:
    try:
        summary = traceback.TracebackException.from_exception(error, limit=-_FRAMES_MAX)
        _leave_out_machinery(summary)
        text = "".join(summary.format())
    except BaseException:  # noqa: BLE001 - an exception made so oddly that it can't be shown
        text = f"{type(error).__name__}: {_text(error)}"
    text = hide(text)
    text = text if len(text) <= _TRACEBACK_MAX else "...\n" + text[-_TRACEBACK_MAX:]
    return text.encode("utf-8", "backslashreplace").decode()


def _leave_out_machinery(summary: traceback.TracebackException) -> None:
    """Keep the app's and its libraries' frames: here, and in what led to the exception."""
    frames = [frame for frame in summary.stack if not _is_machinery(frame.filename)]
    summary.stack = traceback.StackSummary.from_list(frames)
    for origin in (summary.__cause__, summary.__context__):
        if origin is not None:
            _leave_out_machinery(origin)


def _hint(error: BaseException, path: Path, missing: str | None) -> str | None:
    if isinstance(error, TargetError):
        return error.hint
    if missing:
        return _missing_hint(missing, path)
    if isinstance(error, OSError) and (forbidden := sandbox.hint(error, os.environ)):
        return forbidden
    if "partially initialized module" in _text(error):
        return "two modules import each other: move one of the imports into a function"
    if isinstance(error, SyntaxError):
        text = error.text.strip() if isinstance(error.text, str) else ""
        return f"correct this line: {text[:100]}" if text else "correct the file"
    if isinstance(error, SystemExit):
        return 'the app ends itself while it is imported: guard it with if __name__ == "__main__":'
    if isinstance(error, ImportTimeout):
        return _timeout_hint(error)
    if isinstance(error, PermissionError | FileNotFoundError) and error.filename:
        return f"the supervisor's user needs access to {Path(str(error.filename)).name}"
    return None


def _timeout_hint(error: BaseException) -> str:
    if any(file.endswith("werkzeug/serving.py") for file, _ in _frames(error.__traceback__)):
        return (
            'it serves by itself (app.run) when imported: guard it with if __name__ == "__main__":'
        )
    return "raise import_timeout_s if the import is only slow"


def _missing_hint(missing: str, path: Path) -> str:
    """Tell a file that wasn't copied from a package that isn't installed."""
    top, *rest = missing.split(".")
    folder = path
    for part in missing.split(".")[:-1]:
        folder /= part
    if rest and (path / top).is_dir():
        if close := difflib.get_close_matches(
            missing.split(".")[-1], _modules_in(folder), n=1, cutoff=0.8
        ):
            return f"did you mean {'.'.join([*missing.split('.')[:-1], close[0]])}?"
        return f"the file {missing.replace('.', '/')}.py is missing: was it copied?"
    if rest and top in sys.modules:
        return f"the installed {top} has no such module: is it the right version?"
    if close := difflib.get_close_matches(top, _modules_in(path), n=1, cutoff=0.8):
        return f"did you mean {close[0]}?"
    package = _PACKAGE_OF_MODULE.get(top, top)
    return f"copy {top}.py beside the app, or install the package: pip install {package}"


def _modules_in(folder: Path) -> list[str]:
    try:
        entries = list(folder.iterdir())
    except OSError:
        return []
    return [e.stem for e in entries if e.suffix == ".py" or (e / "__init__.py").exists()]
