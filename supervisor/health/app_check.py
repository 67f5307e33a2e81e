"""Imports apps, and checks what they require, in throw-away children.

An app is imported as a worker does it, but with an empty data folder: a check must not change live
data.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from supervisor.config.app_variables import app_variables
from supervisor.config.settings import Config, Requirement
from supervisor.health.check_settings import hides, title_of
from supervisor.health.checks import Surroundings, run_check
from supervisor.health.program_check import check_program
from supervisor.process.prctl import die_with_parent
from supervisor.process.throwaway import TaskFailed, call_in_child
from supervisor.source.fingerprints import renewed
from supervisor.source.import_survey import Kind, survey
from supervisor.values.redaction import Redaction
from supervisor.values.reports import ImportReport
from supervisor.worker import code_view
from supervisor.worker.code_view import CodeView
from supervisor.worker.importing import app_search_path, import_app

_MISSING = (Kind.MISSING, Kind.BROKEN)
_READ_TIMEOUT_S = 60.0
_MARGIN_S = 2.0  # for the report of an import that takes all its time
_IMPORT_ENDED_HINT = "look for os._exit, a crashing C extension, or lack of memory"

CheckResult = dict[str, Any]


def check_apps(config: Config, names: list[str]) -> Iterator[tuple[str, CheckResult]]:
    """Yield the results of importing the named apps (none: all that are enabled), one by one."""
    chosen = names or [name for name, app in config.apps.items() if app.enabled]
    for name in chosen:
        yield name, check_app(config, name)


def check_app(config: Config, name: str) -> CheckResult:
    """Survey and import one app in children; blocks for up to the app's ``import_timeout_s``.

    Nothing that the app writes below its folder meanwhile stays. The result has ``ok``,
    ``seconds``, ``reason``, ``hint``, the ``report`` of a failed import, and under ``missing`` and
    ``notes`` what the survey of its files found.
    """
    if config.apps[name].command is not None:
        return check_program(config, name, _survey_files)
    path = config.app_path(name)
    with tempfile.TemporaryDirectory(prefix="flask-supervisor-check-") as folder:
        data_dir, scratch = f"{folder}/data", f"{folder}/scratch"
        os.mkdir(data_dir)
        os.mkdir(scratch)
        python = config.apps[name].python
        if python is None:
            result = _try_import(config, name, path, data_dir, scratch)
            found = _survey_files(config, name, path)
        else:
            view = code_view.installed() or CodeView(path, None, scratch=Path(scratch))
            result, found = _try_in_venv(config, name, config.resolve(python), view, data_dir)
    if result["ok"]:  # then no module is missing that is needed at the start
        return {**result, "missing": [], "notes": [f for f in found if f["kind"] not in _MISSING]}
    return {
        **result,
        "missing": [f for f in found if f["kind"] in _MISSING],
        "notes": [f for f in found if f["kind"] not in _MISSING],
    }


def try_app(
    config: Config, name: str, watches: list[dict[str, Any]], *, only_read: bool
) -> CheckResult:
    """Import an app that failed, once more; blocks for up to the app's ``import_timeout_s``.

    The result has ``ok``, ``reason`` and ``hint``, and under ``watch`` the ``watches`` as they were
    before: a change during this attempt is a reason for another one.
    """
    before = renewed(watches)
    result = read_app(config, name) if only_read else check_app(config, name)
    return {"watch": before, **{key: result[key] for key in ("ok", "reason", "hint")}}


def read_app(config: Config, name: str) -> CheckResult:
    """Survey one app's files without running them: for an app that must not be imported twice.

    The result has ``ok``, ``reason`` and ``hint``.
    """
    if config.apps[name].command is not None:
        return check_program(config, name, _survey_files)
    found = _survey_files(config, name, config.app_path(name))
    missing = [one for one in found if one["kind"] in _MISSING]
    if not missing:
        return {"ok": True, "reason": None, "hint": None}
    first, *others = missing
    place = f" ({first['file']}, line {first['line']})" if first["file"] and first["line"] else ""
    hint = f"and {len(others)} more, see: flask-supervisor check {name}" if others else None
    return {"ok": False, "reason": f"{first['detail']}{place}", "hint": hint}


def check_requires(config: Config, name: str | None) -> list[CheckResult]:
    """Check what an app requires (None: the requirements of all apps), each in a child of its own.

    A result has ``requirement`` (its name), ``ok``, ``critical``, ``reason`` and ``hint``. Blocks
    for ``timeout_s`` and a little each.
    """
    if name is None:
        given, place = config.requires, "requires"
    else:
        given, place = config.apps[name].requires, f"apps.{name}.requires"
    environment = dict(os.environ) if name is None else _environment_of(config, name)
    code = config.app_path(name) if name is not None else config.folder
    around = Surroundings(
        environment=environment, folder=config.folder, search_path=app_search_path(code)
    )
    return [
        _check(requirement, around, is_hidden=hides(config, f"{place}[{number}]"))
        for number, requirement in enumerate(given)
    ]


def _environment_of(config: Config, name: str) -> dict[str, str]:
    return {**os.environ, **app_variables(config, name)}


def _check(requirement: Requirement, around: Surroundings, *, is_hidden: bool) -> CheckResult:
    title = title_of(requirement, is_hidden=is_hidden)
    try:
        found = call_in_child(
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


def _try_import(config: Config, name: str, path: Path, data_dir: str, scratch: str) -> CheckResult:
    app = config.apps[name]
    environment = {**app_variables(config, name), "FLASK_SUPERVISOR_DATA_DIR": data_dir}
    try:
        result: CheckResult = call_in_child(
            _import,
            app.entry,
            path,
            environment,
            app.import_timeout_s,
            config.app_secrets(name),
            scratch,
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
    environment: dict[str, str],
    timeout_s: float,
    secrets: set[str],
    scratch: str,
) -> CheckResult:
    if code_view.installed() is None:
        CodeView(path, None, scratch=Path(scratch)).install()
    os.environ.update(environment)
    started = time.monotonic()
    _app, report = import_app(target, path, timeout_s=timeout_s, hide=Redaction(secrets))
    seconds = round(time.monotonic() - started, 3)
    return _import_result(None if report is None else report.to_json(), seconds)


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
    config: Config, name: str, python: Path, view: CodeView, data_dir: str
) -> tuple[CheckResult, list[dict[str, Any]]]:
    """Import an app, and survey its files, on the interpreter of its own virtual environment."""
    app = config.apps[name]
    task = {
        "do": "check",
        "name": f"fs-{name}",
        "target": app.entry,
        "path": str(config.app_path(name)),
        "view": view.to_json(),
        "environment": {**app_variables(config, name), "FLASK_SUPERVISOR_DATA_DIR": data_dir},
        "timeout_s": app.import_timeout_s,
        "secrets": sorted(config.app_secrets(name)),
    }
    timeout_s = app.import_timeout_s + _READ_TIMEOUT_S
    try:
        answer = call_in_child(_run_in_venv, python, task, timeout_s=timeout_s)
    except TaskFailed as error:
        return _process_ended(str(error)), []
    if "reason" in answer:
        return {"ok": False, "seconds": None, "report": None, **answer}, []
    return _import_result(answer["report"], answer["seconds"]), answer["survey"]


def _run_in_venv(python: Path, task: dict[str, Any]) -> dict[str, Any]:
    """Run ``task`` on the interpreter ``python`` and return its result; called in a child."""
    import subprocess

    from supervisor.worker import interpreter

    try:
        interpreter.check_interpreter(python)
    except interpreter.InterpreterError as error:
        return {"reason": error.reason, "hint": error.hint}
    read_end, write_end = os.pipe()
    fd = interpreter.memory_file({**task, "result": write_end, "descriptors": [write_end]})
    process = subprocess.Popen(
        interpreter.command_line(python, fd), pass_fds=(fd, write_end), preexec_fn=die_with_parent
    )
    os.close(write_end)
    with os.fdopen(read_end, encoding="utf-8") as stream:
        text = stream.read()
    code = process.wait()
    if not text:
        reason = f"the process ended while it imported the app (exit code {code})"
        return {"reason": reason, "hint": _IMPORT_ENDED_HINT}
    answer: dict[str, Any] = json.loads(text)
    return answer


def _survey_files(config: Config, name: str, path: Path) -> list[dict[str, Any]]:
    """Return what following the imports of an app's files finds; none of them is run."""
    app = config.apps[name]
    try:
        found: list[dict[str, Any]] = call_in_child(
            _survey, app.entry, path, timeout_s=_READ_TIMEOUT_S
        )
    except TaskFailed as error:
        detail = f"its files could not be read: {error}"
        found = [
            {"kind": Kind.UNREAD, "module": None, "file": None, "line": None, "detail": detail}
        ]
    return found


def _survey(target: str, path: Path) -> list[dict[str, Any]]:
    return [asdict(problem) for problem in survey(target, path, app_search_path(path))]
