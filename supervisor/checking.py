"""Imports apps for a check: as a worker would, but in a throw-away child.

The apps get an empty data folder of their own, since a check must not change live data.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from supervisor.config import Config
from supervisor.importing import import_app
from supervisor.process import TaskFailed, call_in_child

_MARGIN_S = 2.0  # an import within its limit still has to be reported

Finding = dict[str, Any]


def check_apps(config: Config, names: list[str]) -> Iterator[tuple[str, Finding]]:
    """Import the named apps (none: all that are enabled), one after the other."""
    chosen = names or [name for name, app in config.apps.items() if app.enabled]
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="flask-supervisor-check-") as data_dir:
            yield name, _check_app(config, name, data_dir)


def _check_app(config: Config, name: str, data_dir: str) -> Finding:
    app = config.apps[name]
    environment = {**app.env, "FLASK_SUPERVISOR_DATA_DIR": data_dir}
    path = config.app_path(name)
    try:
        finding: Finding = call_in_child(
            _import,
            app.target,
            path,
            environment,
            app.import_timeout_s,
            timeout_s=app.import_timeout_s + _MARGIN_S,
        )
    except TaskFailed as error:
        reason = f"the process ended while it imported the app: {error}"
        hint = "look for os._exit, a crashing C extension, or lack of memory"
        return {"ok": False, "reason": reason, "hint": hint, "report": None}
    return finding


def _import(target: str, path: Path, environment: dict[str, str], timeout_s: float) -> Finding:
    os.environ.update(environment)
    started = time.monotonic()
    _app, report = import_app(target, path, timeout_s=timeout_s)
    if report is None:
        return {"ok": True, "seconds": round(time.monotonic() - started, 3)}
    cause = report.cause
    return {"ok": False, "reason": cause.reason, "hint": cause.hint, "report": report.to_json()}
