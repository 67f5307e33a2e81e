"""Imports an app, catching whatever its code raises.

Runs in a worker or a throw-away child only. Needs the standard library alone, because a worker may
run on the interpreter of the app's own virtual environment.
"""

import difflib
import importlib
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

from supervisor.values.reports import ImportReport
from supervisor.worker import app_signals
from supervisor.worker.import_failure import (
    Hide,
    ImportTimeout,
    TargetError,
    failure_report,
    is_own,
)
from supervisor.worker.monkey_patching import green_threads_error
from supervisor.worker.own_modules import let_own_modules_win

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Any]

_ALARM_AGAIN_S = 0.503  # an import that catches `ImportTimeout` is interrupted again
# The folder where the supervisor was started, or that of its script: Python puts it first on the
# search path. An app that finds a module there works when started by hand and fails as a service.
_START_FOLDER = "" if sys.flags.safe_path else sys.path[0]


def prepare(path: Path) -> None:
    """Make ``path`` the first folder of the search path, and the working folder.

    Raises `TargetError` when it can't be entered.
    """
    try:
        os.chdir(path)
    except OSError as error:
        raise TargetError(
            f"the app's folder {path.name}/ can't be entered: {error.strerror}",
            "correct `path` in its section of the configuration",
        ) from error
    sys.path[:] = app_search_path(path)
    # A finder notices that its folder has changed. Dropping all finders would make a copy of what
    # they share with the main process; a folder that didn't exist before has None in their place.
    for missing in [path for path, finder in sys.path_importer_cache.items() if finder is None]:
        del sys.path_importer_cache[missing]
    let_own_modules_win(path)


def app_search_path(path: Path) -> list[str]:
    """Return the search path of an app: its own folder first, the supervisor's start folder not."""
    return [str(path), *(p for p in sys.path if p not in ("", _START_FOLDER, str(path)))]


def import_app(
    target: str,
    path: Path,
    *,
    timeout_s: float | None,
    after_import: Sequence[str] = (),
    prepared: bool = False,
    hide: Hide = str,
) -> tuple[WsgiApp, None] | tuple[None, ImportReport]:
    """Return the app that ``target`` names, or a report of why the import failed.

    Whatever the import raises is caught, `SystemExit` and `KeyboardInterrupt` included. An import
    that still runs Python code after ``timeout_s`` seconds is interrupted; None means never, and
    is required outside of the main thread. The functions ``after_import`` are called afterwards.
    ``prepared``: another app of the same ``path`` has been imported before. ``hide`` removes
    secrets from the texts of the report before any is cut.
    """
    started = time.monotonic()
    try:
        with _time_limit(timeout_s):
            if not prepared:
                prepare(path)
            app = _load(target)
            for function in after_import:
                _call_after_import(function)
        error: BaseException | None = green_threads_error()
    except BaseException as caught:  # noqa: BLE001 - this is the import boundary: all is reported
        error = green_threads_error() or caught
        if error is not caught:
            error.__cause__ = caught  # it fails because of the patch: its own message misleads
    if error is None:
        return app, None
    seconds = time.monotonic() - started
    return None, failure_report(error, target=target, path=path, seconds=seconds, hide=hide)


class _time_limit:
    """Raises `ImportTimeout` in the main thread when the block takes longer; None: never."""

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s

    def __enter__(self) -> None:
        if self._timeout_s is None:
            return
        app_signals.install(signal.SIGALRM, self._expired)
        signal.setitimer(signal.ITIMER_REAL, self._timeout_s, _ALARM_AGAIN_S)

    def __exit__(self, *_: object) -> None:
        if self._timeout_s is None:
            return
        if signal.getitimer(signal.ITIMER_REAL)[1] == _ALARM_AGAIN_S:  # not one of the app's own
            signal.setitimer(signal.ITIMER_REAL, 0)
        app_signals.uninstall(signal.SIGALRM)

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
    """Call ``"module:function"``, an entry of ``after_import``."""
    module_name, _, names = function.partition(":")
    found: Any = importlib.import_module(module_name)
    for name in names.split("."):
        found = _attribute(found, name)
    if not callable(found):
        raise TargetError(f"{function} of after_import is {_a(found)}: it can't be called")
    found()


def purge_modules(before: Collection[str], path: Path) -> None:
    """Remove the app's modules that a failed import has left, so that the next import runs them.

    ``before`` are the names of the modules that were loaded before. Modules outside of ``path``
    stay: many libraries can't be imported twice.
    """
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name not in before and isinstance(file, str) and is_own(file, path):
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
