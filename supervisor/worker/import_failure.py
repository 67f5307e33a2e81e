"""Explains why the import of an app failed: the report, its place in the code, and a hint.

Needs the standard library alone, because a worker may run on the interpreter of the app's own
virtual environment.
"""

import importlib
import itertools
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from supervisor.values.reports import ImportReport
from supervisor.values.terminal import printable
from supervisor.worker import import_hints
from supervisor.worker.failure import Failure
from supervisor.worker.frames import is_own, server_called

Hide = Callable[[str], str]
"""Removes secrets from a text."""

_MESSAGE_MAX = 300
_TRACEBACK_MAX = 32 * 1024
_FRAMES_MAX = 40
_FILES_SEARCHED_MAX = 2000
_OWN_FOLDER = str(Path(__file__).parents[1])
_PATH_OR_URL = re.compile(
    r"(?P<url>\w[\w+.-]*://[^\s/]\S*)"
    r"|(?P<quote>['\"])/[^'\"]*/(?P<quoted>[^'\"/]*)(?P=quote)"
    r"|(?<![\w.~/])/+(?:[^\s/'\"():,;]+/)+(?P<name>[^\s/'\"():,;]*)"
)
_CREDENTIALS = re.compile(r"//[^/@\s]+@")
_NULL_BYTES = "source code string cannot contain null bytes"
_LINE_SUFFIX = re.compile(r" \([^()]*, line \d+\)$")  # SyntaxError's str() repeats file and line


GUARD = 'guard it with if __name__ == "__main__": the supervisor serves the app itself'


class ImportTimeout(BaseException):
    """The import took too long; no Exception, so that an app's ``except`` doesn't catch it."""


class ServesAtImport(BaseException):
    """A module has called ``server`` while it was imported; no Exception, as `ImportTimeout`."""

    hint = GUARD

    def __init__(self, server: str) -> None:
        super().__init__(f"{server} serves by itself, and does not return")


class TargetError(Exception):
    """The module could be imported, but the target in it is no WSGI app."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def failure_report(
    error: BaseException, *, target: str, path: Path, seconds: float, hide: Hide = str
) -> ImportReport:
    """Return the report of ``error``, which the import of ``target`` raised after ``seconds``.

    ``hide`` removes secrets from its texts.
    """
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
        hint=_one_line(hide(_hint(error, message, target, path, missing)), path) or None,
        traceback=_short_traceback(error, hide),
        seconds=round(seconds, 3),
    )


def _text(error: BaseException) -> str:
    """Return the message of ``error``; empty when its ``__str__`` raises."""
    try:
        if isinstance(error, SystemExit):
            code = "" if error.code is None else repr(error.code)
            return f"sys.exit({code}) was called"
        text = str(error)
    except BaseException:  # noqa: BLE001 - the app's code again; the report names the type
        return ""
    if isinstance(error, SyntaxError):
        return _LINE_SUFFIX.sub("", text)
    if isinstance(error, OSError):
        for name in (error.filename, error.filename2):
            if isinstance(name, str) and name.startswith("/"):
                text = text.replace(repr(name), repr(f"…/{Path(name).name}"))
    return text


def _place(error: BaseException, path: Path) -> tuple[str | None, int | None]:
    """Return the file, relative to ``path``, and the line where the app's code failed."""
    if isinstance(error, SyntaxError):
        line = error.lineno if isinstance(error.lineno, int) and error.lineno > 0 else 1
        if isinstance(error.filename, str) and error.filename:
            return _relative(error.filename, path), line
        if damaged := _file_with_null_bytes(path):
            return _relative(damaged, path), line
    if isinstance(error, TargetError):
        return None, None
    frames = [frame for frame in _frames(error.__traceback__) if not _is_machinery(frame[0])]
    own = [frame for frame in frames if is_own(frame[0], path)]
    if not frames:
        return None, None
    file, line = (own or frames)[-1]
    return _relative(file, path), line


def _file_with_null_bytes(path: Path) -> str | None:
    """Return the source that holds null bytes; Python 3.11 raises without naming it."""
    for file in itertools.islice(path.rglob("*.py"), _FILES_SEARCHED_MAX):
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


def _relative(file: str, path: Path) -> str:
    prefix = f"{path}{os.sep}"
    return file.removeprefix(prefix) if file.startswith(prefix) else Path(file).name


def _one_line(message: str, path: Path) -> str:
    """Return ``message`` as port 6000 may show it: one line, no absolute path, cut."""
    message = message[: 8 * _MESSAGE_MAX].replace(f"{path}{os.sep}", "")
    message = _PATH_OR_URL.sub(_shortened, message)
    message = " ".join(message.split())
    message = printable(message[: 2 * _MESSAGE_MAX])
    return message if len(message) <= _MESSAGE_MAX else message[: _MESSAGE_MAX - 1] + "…"


def _shortened(found: re.Match[str]) -> str:
    """Return a path without its folders, or a URL without its credentials."""
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
    except BaseException:  # noqa: BLE001 - the app's exception class breaks traceback's code
        text = f"{type(error).__name__}: {_text(error)}"
    text = hide(text)
    text = text if len(text) <= _TRACEBACK_MAX else "...\n" + text[-_TRACEBACK_MAX:]
    return text.encode("utf-8", "backslashreplace").decode()


def _leave_out_machinery(summary: traceback.TracebackException) -> None:
    """Remove the frames of the import system and of ours, also from causes and contexts."""
    frames = [frame for frame in summary.stack if not _is_machinery(frame.filename)]
    summary.stack = traceback.StackSummary.from_list(frames)
    for origin in (summary.__cause__, summary.__context__):
        if origin is not None:
            _leave_out_machinery(origin)


def _server_called(error: BaseException) -> str | None:
    """Return the call of a server in which ``error`` was raised."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    called = server_called(frames[::-1])
    return None if called is None else called[1]


def _with_own_pip(hint: str, path: Path) -> str:
    """Return ``hint`` with the pip of this interpreter, without an absolute path."""
    environment, own = Path(sys.prefix), ": pip install"
    if path in environment.parents:
        own = f": {environment.relative_to(path)}/bin/pip install"
    elif "supervisor.worker.venv_entrypoint" in sys.modules:
        own = " where its `python` is: bin/pip install"
    return hint.replace(": pip install", own)


def _hint(error: BaseException, text: str, target: str, path: Path, missing: str | None) -> str:
    if isinstance(error, OSError) and _server_called(error):  # the port is ours, most often
        return f"{_server_called(error)} serves by itself: {GUARD}"
    if isinstance(error, TargetError | ServesAtImport):
        return error.hint or ""
    failure = Failure(
        error=error,
        text=text,
        path=path,
        target=target,
        files={file for file, _ in _frames(error.__traceback__)},
        missing=missing,
        is_timeout=isinstance(error, ImportTimeout),
    )
    try:
        return _with_own_pip(import_hints.hint(failure) or "", path)
    except Exception:  # noqa: BLE001 - an app's exception may hold anything; the reason is known
        return ""
