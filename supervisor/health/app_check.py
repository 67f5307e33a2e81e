"""Imports apps, and checks what they require, in throw-away children.

An app is imported as a worker does it, but with an empty data folder: a check must not change live
data.
"""

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from supervisor.config.app_variables import app_variables
from supervisor.config.settings import Config, Requirement
from supervisor.health.check_isolation import Isolation
from supervisor.health.check_settings import hides, title_of
from supervisor.health.checks import Surroundings, run_check
from supervisor.health.program_check import check_program
from supervisor.process.output_lines import OutputLine, OutputLines
from supervisor.process.throwaway import TaskFailed
from supervisor.source.fingerprints import renewed
from supervisor.source.import_survey import Kind, survey
from supervisor.values.redaction import Redaction
from supervisor.values.reports import ImportReport
from supervisor.worker import code_view, interpreter
from supervisor.worker.code_view import CodeView
from supervisor.worker.importing import app_search_path, import_app, with_count
from supervisor.worker.session_cookie import session_cookie

_MISSING = (Kind.MISSING, Kind.BROKEN)
_READ_TIMEOUT_S = 60.0
_MARGIN_S = 2.0  # for the report of an import that takes all its time
_IMPORT_ENDED_HINT = interpreter.ENDED_HINT
_AS_WE_ARE = Isolation()

CheckResult = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a check writes."""

    isolation: Isolation
    data_dir: str = ""
    scratch: str = ""


@contextlib.contextmanager
def _place(isolation: Isolation, config: Config, *, only_read: bool) -> Iterator[_Place]:
    if only_read:  # nothing is written: a full disk is no obstacle
        yield _Place(isolation)
        return
    output = OutputLines(Redaction(config.secret_values()))
    isolation = replace(isolation, on_output=lambda data: _print(output.feed(data)))
    with tempfile.TemporaryDirectory(prefix="flask-supervisor-check-") as folder:
        place = _Place(isolation, f"{folder}/data", f"{folder}/scratch")
        os.mkdir(place.data_dir)
        os.mkdir(place.scratch)
        isolation.give(folder, place.data_dir, place.scratch)
        yield place
    _print(output.rest())


def _print(lines: list[OutputLine]) -> None:
    """Print what an app has printed, without secrets."""
    for line in lines:
        sys.stderr.write(f"{line.text}\n")
    sys.stderr.flush()


def check_app(
    config: Config, name: str, isolation: Isolation = _AS_WE_ARE, *, only_read: bool = False
) -> CheckResult:
    """Survey and import one app in children; blocks for up to the app's ``import_timeout_s``.

    Nothing that the app writes below its folder meanwhile stays. ``only_read``: it is not imported.
    The result has ``ok``, ``seconds`` (None without an import), ``reason``, ``hint``, the
    ``report`` of a failed import, under ``missing`` and ``notes`` what the survey of its files
    found, and after an import the `session_cookie`.
    """
    with _place(isolation, config, only_read=only_read) as place:
        if config.apps[name].command is not None:
            return check_program(config, name, lambda: _survey_files(config, name, place))
        if only_read:
            found = _survey_files(config, name, place)
            result = _read_result([one for one in found if one["kind"] in _MISSING], name)
        elif config.apps[name].python is None:
            result = _try_import(config, name, place)
            found = _survey_files(config, name, place)
        else:
            result, found = _try_in_venv(config, name, place)
    missing = [one for one in found if one["kind"] in _MISSING]
    return {
        **result,
        "missing": [] if result["ok"] else missing,  # then none is missing that the start needs
        "notes": [one for one in found if one["kind"] not in _MISSING],
    }


def try_app(
    config: Config, name: str, watches: list[dict[str, Any]], *, only_read: bool
) -> CheckResult:
    """Import an app that failed, once more; blocks for up to the app's ``import_timeout_s``.

    The result has ``ok``, ``reason`` and ``hint``, and under ``watch`` the ``watches`` as they were
    before: a change during this attempt is a reason for another one.
    """
    before = renewed(watches)
    result = check_app(config, name, only_read=only_read)
    hint = result["hint"]
    if result["report"] is not None and result["report"]["missing_module"]:
        hint = with_count(hint, len({one["module"] for one in result["missing"]}))
    return {"watch": before, "ok": result["ok"], "reason": result["reason"], "hint": hint}


def _read_result(missing: list[dict[str, Any]], name: str) -> CheckResult:
    result = {"ok": not missing, "seconds": None, "reason": None, "hint": None, "report": None}
    if not missing:
        return result
    first, *others = missing
    place = f" ({first['file']}, line {first['line']})" if first["file"] and first["line"] else ""
    hint = f"and {len(others)} more, see: flask-supervisor check {name}" if others else None
    return {**result, "reason": f"{first['detail']}{place}", "hint": hint}


def check_requires(
    config: Config, name: str | None, isolation: Isolation = _AS_WE_ARE
) -> list[CheckResult]:
    """Check what an app requires (None: the requirements of all apps), each in a child of its own.

    A result has ``requirement`` (its name), ``ok``, ``critical``, ``reason`` and ``hint``. Blocks
    for ``timeout_s`` and a little each.
    """
    if name is None:
        given, place = config.requires, "requires"
        code, environment, python = config.folder, isolation.environment(), None
    else:
        given, place = config.apps[name].requires, f"apps.{name}.requires"
        code, python = config.app_path(name), config.app_python(name)
        environment = {**isolation.environment(), **app_variables(config, name)}
    around = Surroundings(
        environment=environment,
        folder=config.folder,
        search_path=app_search_path(code),
        python=python,
    )
    return [
        _check(requirement, around, isolation, is_hidden=hides(config, f"{place}[{number}]"))
        for number, requirement in enumerate(given)
    ]


def _check(
    requirement: Requirement, around: Surroundings, isolation: Isolation, *, is_hidden: bool
) -> CheckResult:
    title = title_of(requirement, is_hidden=is_hidden)
    try:
        found = isolation.call(
            _run_check, requirement, around, timeout_s=requirement.timeout_s + _MARGIN_S
        )
    except (TaskFailed, OSError) as error:
        found = {"reason": f"{title} could not be checked: {error}", "hint": None}
    if is_hidden and found["reason"] is not None:  # reason and hint quote it
        found = {"reason": f"{title} is not as required", "hint": None}
    return {
        "requirement": title,
        "ok": found["reason"] is None,
        "critical": requirement.critical,
        **found,
    }


def _run_check(requirement: Requirement, around: Surroundings) -> dict[str, str | None]:
    cause = run_check(requirement, around)
    return {"reason": cause.reason, "hint": cause.hint} if cause else {"reason": None, "hint": None}


def _try_import(config: Config, name: str, place: _Place) -> CheckResult:
    import flask  # noqa: F401 - as workers have it, with the real click, before own modules win

    app = config.apps[name]
    environment = {**app_variables(config, name), "FLASK_SUPERVISOR_DATA_DIR": place.data_dir}
    try:
        result: CheckResult = place.isolation.call(
            _import,
            app.entry,
            config.app_path(name),
            app.bind == "app",
            environment,
            app.import_timeout_s,
            config.app_secrets(name),
            place.scratch,
            timeout_s=app.import_timeout_s + _MARGIN_S,
        )
    except TaskFailed as error:
        return _process_ended(str(error))
    return result


def _process_ended(how: str) -> CheckResult:
    return {
        "ok": False,
        "seconds": None,
        "reason": f"the process ended while it imported the app: {how}",
        "hint": _IMPORT_ENDED_HINT,
        "report": None,
    }


def _import(
    target: str,
    path: Path,
    self_bound: bool,
    environment: dict[str, str],
    timeout_s: float,
    secrets: set[str],
    scratch: str,
) -> CheckResult:
    if code_view.installed() is None:
        CodeView(path, None, scratch=Path(scratch)).install()
    os.environ.update(environment)
    started = time.monotonic()
    app, report = import_app(
        target,
        path,
        timeout_s=timeout_s,
        self_bound=self_bound,
        count_missing=False,
        hide=Redaction(secrets),
    )
    seconds = round(time.monotonic() - started, 3)
    result = _import_result(None if report is None else report.to_json(), seconds)
    return {**result, "session_cookie": session_cookie(app)}


def _import_result(report: dict[str, Any] | None, seconds: float) -> CheckResult:
    if report is None:
        return {"ok": True, "seconds": seconds, "reason": None, "hint": None, "report": None}
    cause = ImportReport.from_json(report).cause
    return {
        "ok": False,
        "seconds": seconds,
        "reason": cause.reason,
        "hint": cause.hint,
        "report": report,
    }


def _try_in_venv(
    config: Config, name: str, place: _Place
) -> tuple[CheckResult, list[dict[str, Any]]]:
    """Import an app, and survey its files, on the interpreter of its own virtual environment."""
    app = config.apps[name]
    view = code_view.installed() or CodeView(
        config.app_path(name), None, scratch=Path(place.scratch)
    )
    task = {
        "do": "check",
        "view": view.to_json(),
        "environment": {
            **app_variables(config, name),
            "FLASK_SUPERVISOR_DATA_DIR": place.data_dir,
        },
        "timeout_s": app.import_timeout_s,
        "self_bound": app.bind == "app",
        "secrets": sorted(config.app_secrets(name)),
    }
    try:
        answer = _ask_venv(config, name, place, task, app.import_timeout_s + _READ_TIMEOUT_S)
    except TaskFailed as error:
        return _process_ended(str(error)), []
    if "reason" in answer:
        return {"ok": False, "seconds": None, "report": None, **answer}, []
    result = _import_result(answer["report"], answer["seconds"])
    return {**result, "session_cookie": answer["session_cookie"]}, answer["survey"]


def _ask_venv(
    config: Config, name: str, place: _Place, task: dict[str, Any], timeout_s: float
) -> dict[str, Any]:
    """Return what the app's own interpreter answers, or ``reason`` and ``hint``."""
    app = config.apps[name]
    whole = {
        **task,
        "name": f"fs-{name}",
        "target": app.entry,
        "path": str(config.app_path(name)),
    }
    python = config.app_python(name)
    answer: dict[str, Any] = place.isolation.call(_run_in_venv, python, whole, timeout_s=timeout_s)
    return answer


def _run_in_venv(python: Path, task: dict[str, Any]) -> dict[str, Any]:
    """Run ``task`` on the interpreter ``python`` and return its result; called in a child."""
    try:
        return interpreter.ask(python, task)
    except interpreter.InterpreterError as error:
        return {"reason": error.message, "hint": error.hint}


def _survey_files(config: Config, name: str, place: _Place) -> list[dict[str, Any]]:
    """Return what following the imports of an app's files finds; none of them is run."""
    app, path = config.apps[name], config.app_path(name)
    try:
        if app.python is not None:
            view = code_view.installed()
            task = {"do": "survey", "view": None if view is None else view.to_json()}
            answer = _ask_venv(config, name, place, task, _READ_TIMEOUT_S)
            broken = "reason" in answer
            return [_no_place(Kind.BROKEN, answer["reason"])] if broken else answer["survey"]
        found: list[dict[str, Any]] = place.isolation.call(
            _survey, app.entry, path, timeout_s=_READ_TIMEOUT_S
        )
    except TaskFailed as error:
        found = [_no_place(Kind.UNREAD, f"its files could not be read: {error}")]
    return found


def _no_place(kind: Kind, detail: str) -> dict[str, Any]:
    return {"kind": kind, "module": None, "file": None, "line": None, "detail": detail}


def _survey(target: str, path: Path) -> list[dict[str, Any]]:
    return [asdict(problem) for problem in survey(target, path, app_search_path(path))]
