"""The entry point on the interpreter of an app's own virtual environment: a worker, or a question.

`interpreter` starts it. Needs the standard library and waitress alone.
"""

import json
import os
import socket
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from supervisor.process.child_exit import exit_process
from supervisor.process.prctl import die_with_parent, set_name
from supervisor.source.import_survey import survey
from supervisor.source.required_module import missing_module
from supervisor.systemd import hand_over
from supervisor.systemd.hand_over import HandOverLimits
from supervisor.values.redaction import Redaction
from supervisor.worker.code_view import CodeView
from supervisor.worker.entry import AppWorker
from supervisor.worker.hosted_apps import CodeLocation, HostedApp
from supervisor.worker.importing import app_search_path, import_app
from supervisor.worker.session_cookie import session_cookie


def main(fd: int) -> NoReturn:
    """Run the task in the memory file ``fd``, and exit."""
    with os.fdopen(fd, encoding="utf-8") as stream:
        task: dict[str, Any] = json.load(stream)
    for inherited in task["descriptors"]:  # above 2
        os.set_inheritable(inherited, False)  # execve(2) kept them; what the app starts must not
    for output in (sys.stdout, sys.stderr):
        output.reconfigure(  # type: ignore[union-attr]
            encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
    if task["do"] != "serve":
        die_with_parent()
    sys.argv = [task["name"]]
    set_name(task["name"])
    exit_process(_TASKS[task["do"]](task))


def _serve(task: dict[str, Any]) -> int:
    if task["terms"] is not None:
        hand_over.allow(HandOverLimits(**task["terms"]))
    worker = AppWorker(
        apps=[HostedApp.from_json(app) for app in task["apps"]],
        code=CodeLocation.from_json(task["code"]),
        listeners={
            name: tuple(socket.socket(fileno=fd) for fd in fds)
            for name, fds in task["listeners"].items()
        },
        shutdown_timeout_s=task["shutdown_timeout_s"],
        core=task["core"],
    )
    return worker.run(socket.socket(fileno=task["channel"]))


def _check(task: dict[str, Any]) -> int:
    """Import an app and survey its files."""
    os.environ.update(task["environment"])
    CodeView.from_json(task["view"]).install()
    path, target = Path(task["path"]), task["target"]
    started = time.monotonic()
    app, report = import_app(
        target,
        path,
        timeout_s=task["timeout_s"],
        self_bound=task["self_bound"],
        count_missing=False,
        hide=Redaction(task["secrets"]),
    )
    return _answer(
        task,
        seconds=round(time.monotonic() - started, 3),
        report=None if report is None else report.to_json(),
        session_cookie=session_cookie(app),
        survey=_problems(task),
    )


def _survey(task: dict[str, Any]) -> int:
    if task["view"] is not None:
        CodeView.from_json(task["view"]).install()
    return _answer(task, survey=_problems(task))


def _problems(task: dict[str, Any]) -> list[dict[str, Any]]:
    path = Path(task["path"])
    return [asdict(problem) for problem in survey(task["target"], path, app_search_path(path))]


def _find(task: dict[str, Any]) -> int:
    search_path = app_search_path(Path(task["path"]))
    return _answer(task, missing=missing_module(task["module"], search_path))


def _answer(task: dict[str, Any], **fields: Any) -> int:
    with os.fdopen(task["result"], "w", encoding="utf-8") as stream:
        json.dump(fields, stream)
    return 0


_TASKS = {"serve": _serve, "check": _check, "survey": _survey, "find": _find}
