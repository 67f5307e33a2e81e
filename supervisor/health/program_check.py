"""Checks what can be known of a program (``command``) without starting it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor.config.app_variables import app_variables
from supervisor.config.settings import Config
from supervisor.worker.program import ProgramError, find_program, words_of

Finding = dict[str, Any]


def check_program(config: Config, name: str, survey: Callable[[], list[Finding]]) -> dict[str, Any]:
    """Return whether the program of an app is there, and what its modules lack.

    The result is that of `app_check.check_app`, with ``program``, the name of the program. Modules
    are looked at by ``survey``, if the program is one of the app's interpreter.
    """
    app, path = config.apps[name], config.app_path(name)
    result: dict[str, Any] = {"seconds": None, "report": None, "missing": [], "notes": []}
    words = words_of(app.command or [], app.port)
    try:
        file = Path(find_program(words[0], path, app_variables(config, name)["PATH"]))
    except ProgramError as error:
        return {**result, "ok": False, "reason": error.message, "hint": error.hint}
    interpreter = config.app_python(name) or Path(sys.executable)
    found = survey() if app.entry and file.parent == interpreter.parent else []
    missing = [one for one in found if one["kind"] in ("missing", "broken")]
    result |= {"missing": missing, "notes": [one for one in found if one not in missing]}
    if missing:
        first = missing[0]
        place = f" ({first['file']}, line {first['line']})" if first["file"] else ""
        return {**result, "ok": False, "reason": f"{first['detail']}{place}", "hint": None}
    return {**result, "ok": True, "reason": None, "hint": None, "program": file.name}
