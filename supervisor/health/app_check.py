"""Imports apps for a check, and looks at what they require, in throw-away children.

An import is done as a worker would do it, but the apps get an empty data folder of their own,
since a check must not change live data.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from supervisor.config.settings import Config, Requirement
from supervisor.health.checks import Surroundings, hides, run_check, title_of
from supervisor.process.fork import die_with_parent
from supervisor.process.throwaway import TaskFailed, call_in_child
from supervisor.source.fingerprints import renewed
from supervisor.source.import_survey import Kind, survey
from supervisor.values.redaction import Redaction
from supervisor.values.reports import ImportReport
from supervisor.worker.importing import app_search_path, import_app

_MISSING = (Kind.MISSING, Kind.BROKEN)
_NOTES = (Kind.CONDITIONAL, Kind.LATER, Kind.ASIDE, Kind.UNREAD)  # optional ones are as meant
_READ_TIMEOUT_S = 60.0
_MARGIN_S = 2.0  # an import within its limit still has to be reported

Finding = dict[str, Any]


def check_apps(config: Config, names: list[str]) -> Iterator[tuple[str, Finding]]:
    """Import the named apps (none: all that are enabled), one after the other."""
    chosen = names or [name for name, app in config.apps.items() if app.enabled]
    for name in chosen:
        yield name, check_app(config, name)


def check_app(config: Config, name: str, path: Path | None = None) -> Finding:
    """Read and import one app in children; blocks up to the app's ``import_timeout_s``.

    ``path`` is the folder of its code, if not the configured one.
    The finding has ``ok``, ``seconds``, ``reason``, ``hint``, the ``report`` of a failed import,
    and under ``missing`` and ``notes`` what reading its files has found.
    """
    path = path or config.app_path(name)
    with tempfile.TemporaryDirectory(prefix="flask-supervisor-check-") as data_dir:
        if config.apps[name].python is None:
            finding = _try_import(config, name, path, data_dir)
            found = _read(config, name, path)
        else:
            finding, found = _try_elsewhere(config, name, path, data_dir)
    if finding["ok"]:  # then whatever seems to be missing at the start is not needed
        return {**finding, "missing": [], "notes": [f for f in found if f["kind"] in _NOTES]}
    return {
        **finding,
        "missing": [f for f in found if f["kind"] in _MISSING],
        "notes": [f for f in found if f["kind"] in _NOTES],
    }


def try_app(
    config: Config, name: str, watches: list[dict[str, Any]], *, only_read: bool
) -> Finding:
    """See whether an app can be imported by now; blocks up to the app's ``import_timeout_s``.

    The finding has ``ok``, ``reason`` and ``hint``, and under ``watch`` the given ``watches`` as
    they were before: what changes during the attempt is a reason for another one.
    """
    before = renewed(watches)
    finding = read_app(config, name) if only_read else check_app(config, name)
    return {"watch": before, **{key: finding[key] for key in ("ok", "reason", "hint")}}


def read_app(config: Config, name: str, path: Path | None = None) -> Finding:
    """Read one app's files without running them: for an app that can't be imported twice at a time.

    The finding has ``ok``, ``reason`` and ``hint``.
    """
    found = _read(config, name, path or config.app_path(name))
    missing = [one for one in found if one["kind"] in _MISSING]
    if not missing:
        return {"ok": True, "reason": None, "hint": None}
    first, *others = missing
    place = f" ({first['file']}, line {first['line']})" if first["file"] and first["line"] else ""
    hint = f"and {len(others)} more, see: flask-supervisor check {name}" if others else None
    return {"ok": False, "reason": f"{first['detail']}{place}", "hint": hint}


def check_requires(config: Config, name: str | None, path: Path | None = None) -> list[Finding]:
    """Look at what an app requires (None: what all do), each in a child of its own.

    ``path`` is the folder of its code, if not the configured one. A finding has ``requirement``
    (its name), ``ok``, ``critical``, ``reason`` and ``hint``. Blocks, each for ``timeout_s`` and
    a little.
    """
    if name is None:
        given, place = config.requires, "requires"
    else:
        given, place = config.apps[name].requires, f"apps.{name}.requires"
    environment = dict(os.environ) if name is None else _environment_of(config, name)
    code = (path or config.app_path(name)) if name is not None else config.folder
    around = Surroundings(
        environment=environment, folder=config.folder, search_path=app_search_path(code)
    )
    return [
        _look_at(requirement, around, is_hidden=hides(config, f"{place}[{number}]"))
        for number, requirement in enumerate(given)
    ]


def _environment_of(config: Config, name: str) -> dict[str, str]:
    return {**os.environ, **config.app_environment(name)}


def _look_at(requirement: Requirement, around: Surroundings, *, is_hidden: bool) -> Finding:
    title = title_of(requirement, is_hidden=is_hidden)
    try:
        found = call_in_child(
            _run_check, requirement, around, timeout_s=requirement.timeout_s + _MARGIN_S
        )
    except (TaskFailed, OSError) as error:
        found = {"reason": f"{title} could not be looked at: {error}", "hint": None}
    if is_hidden and found["reason"] is not None:  # reason and hint name what it is about
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


def _try_import(config: Config, name: str, path: Path, data_dir: str) -> Finding:
    app = config.apps[name]
    environment = {**config.app_environment(name), "FLASK_SUPERVISOR_DATA_DIR": data_dir}
    try:
        finding: Finding = call_in_child(
            _import,
            app.target,
            path,
            environment,
            app.import_timeout_s,
            config.app_secrets(name),
            timeout_s=app.import_timeout_s + _MARGIN_S,
        )
    except TaskFailed as error:
        reason = f"the process ended while it imported the app: {error}"
        hint = "look for os._exit, a crashing C extension, or lack of memory"
        return {"ok": False, "seconds": None, "reason": reason, "hint": hint, "report": None}
    return finding


def _import(
    target: str, path: Path, environment: dict[str, str], timeout_s: float, secrets: set[str]
) -> Finding:
    os.environ.update(environment)
    started = time.monotonic()
    _app, report = import_app(target, path, timeout_s=timeout_s, hide=Redaction(secrets))
    seconds = round(time.monotonic() - started, 3)
    return _finding(None if report is None else report.to_json(), seconds)


def _finding(report: dict[str, Any] | None, seconds: float) -> Finding:
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


def _try_elsewhere(
    config: Config, name: str, path: Path, data_dir: str
) -> tuple[Finding, list[dict[str, Any]]]:
    """Import an app, and read its files, on the interpreter of its own virtual environment."""
    app = config.apps[name]
    assert app.python is not None
    task = {
        "do": "check",
        "name": f"fs-{name}",
        "target": app.target,
        "path": str(path),
        "environment": {**config.app_environment(name), "FLASK_SUPERVISOR_DATA_DIR": data_dir},
        "timeout_s": app.import_timeout_s,
        "secrets": sorted(config.app_secrets(name)),
    }
    timeout_s = app.import_timeout_s + _READ_TIMEOUT_S
    failure = {"ok": False, "seconds": None, "report": None}
    try:
        answer = call_in_child(_elsewhere, config.resolve(app.python), task, timeout_s=timeout_s)
    except TaskFailed as error:
        reason = f"the process ended while it imported the app: {error}"
        hint = "look for os._exit, a crashing C extension, or lack of memory"
        return {**failure, "reason": reason, "hint": hint}, []
    if "reason" in answer:
        return {**failure, **answer}, []
    return _finding(answer["report"], answer["seconds"]), answer["survey"]


def _elsewhere(python: Path, task: dict[str, Any]) -> dict[str, Any]:
    """Do ``task`` on another interpreter; for a child."""
    import subprocess

    from supervisor.worker import interpreter

    try:
        interpreter.examine(python)
    except interpreter.InterpreterError as error:
        return {"reason": error.reason, "hint": error.hint}
    read_end, write_end = os.pipe()
    fd = interpreter.memory_file({**task, "result": write_end})
    process = subprocess.Popen(
        interpreter.arguments(python, fd), pass_fds=(fd, write_end), preexec_fn=die_with_parent
    )
    os.close(write_end)
    with os.fdopen(read_end, encoding="utf-8") as stream:
        text = stream.read()
    code = process.wait()
    if not text:
        reason = f"the process ended while it imported the app (exit code {code})"
        return {"reason": reason, "hint": "look for os._exit, or a crashing C extension"}
    answer: dict[str, Any] = json.loads(text)
    return answer


def _read(config: Config, name: str, path: Path) -> list[dict[str, Any]]:
    """Follow the imports of an app's own files without running them."""
    app = config.apps[name]
    try:
        found: list[dict[str, Any]] = call_in_child(
            _survey, app.target, path, timeout_s=_READ_TIMEOUT_S
        )
    except TaskFailed as error:
        detail = f"its files could not be read through: {error}"
        found = [
            {"kind": Kind.UNREAD, "module": None, "file": None, "line": None, "detail": detail}
        ]
    return found


def _survey(target: str, path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = survey(target, path, app_search_path(path)).to_json()["findings"]
    return found
