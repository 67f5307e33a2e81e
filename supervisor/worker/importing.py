"""Imports an app, catching whatever its code raises.

Runs in a worker or a throw-away child only. Needs the standard library alone, because a worker may
run on the interpreter of the app's own virtual environment.
"""

import importlib
import importlib.machinery
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from supervisor.source import app_entries
from supervisor.source.fingerprints import Watch, beyond_tree
from supervisor.values.reports import ImportReport
from supervisor.worker import resolving
from supervisor.worker.frames import is_own
from supervisor.worker.ignored_runs import ignored_runs
from supervisor.worker.import_failure import (
    Hide,
    ImportTimeout,
    TargetError,
    failure_report,
)
from supervisor.worker.import_watch import ImportWatch, OnPlace
from supervisor.worker.monkey_patching import green_threads_error
from supervisor.worker.own_modules import let_own_modules_win

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Any]

_COUNT_LIMIT_S = 3.0  # the report waits for it
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
    self_bound: bool = False,
    count_missing: bool = True,
    on_place: OnPlace | None = None,
    hide: Hide = str,
) -> tuple[WsgiApp, None] | tuple[None, ImportReport]:
    """Return the app that ``target`` names, or a report of why the import failed.

    Whatever the import raises is caught, `SystemExit` and `KeyboardInterrupt` included. An import
    that still runs Python code after ``timeout_s`` seconds is interrupted; None means never, and
    is required outside of the main thread. The functions ``after_import`` are called afterwards.
    ``prepared``: another app of the same ``path`` has been imported before. ``self_bound``: the app
    is a function that binds its port itself. ``count_missing``: the hint for a missing module says
    how many are missing. ``on_place`` learns where an import is that takes long. ``hide`` removes
    secrets from the texts of the report before any is cut.
    """
    started = time.monotonic()
    try:
        with ImportWatch(timeout_s, path, on_place), ignored_runs(path):
            if not prepared:
                prepare(path)
            app = resolving.load(target, self_bound=self_bound)
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
    report = failure_report(error, target=target, path=path, seconds=seconds, hide=hide)
    if count_missing and report.missing_module and timeout_s is not None:
        report = _with_count(report, target, path)
    return None, report


def _with_count(report: ImportReport, target: str, path: Path) -> ImportReport:
    """Return the report whose hint says how many modules are missing, if there are several."""
    from supervisor.source.import_survey import Kind, survey  # for a failed import only

    try:
        with ImportWatch(_COUNT_LIMIT_S):
            found = survey(target, path, app_search_path(path))
    except (Exception, ImportTimeout) as error:  # noqa: BLE001 - the app may have replaced anything
        sys.stderr.write(f"the missing modules were not counted: {type(error).__name__}\n")
        return report
    count = len({problem.module for problem in found if problem.kind is Kind.MISSING})
    return replace(report, hint=with_count(report.hint, count))


def with_count(hint: str | None, missing: int) -> str | None:
    """Return a hint that says how many modules are missing, if there are several."""
    if missing < 2:
        return hint
    more = f"{missing} modules are missing, see all with: flask-supervisor check"
    return f"{hint}; {more}" if hint else more


def _call_after_import(function: str) -> None:
    """Call ``"module:function"``, an entry of ``after_import``."""
    module_name, _, names = function.partition(":")
    found = resolving.attribute(importlib.import_module(module_name), names)
    if not callable(found):
        raise TargetError(f"{function} of after_import is {resolving.a(found)}: it can't be called")
    found()


def repair_watch(path: Path, missing: str | None) -> Watch:
    """Return a watch of the files outside of ``path``, and of where a missing module would come."""
    parent = sys.modules.get((missing or "").rpartition(".")[0])
    folders = [*sys.path, *getattr(parent, "__path__", [])]
    return beyond_tree(path, folders, app_entries.loaded_files())


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
