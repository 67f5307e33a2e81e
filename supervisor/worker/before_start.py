"""Runs the commands of ``before_start`` in a worker, before it imports the app."""

import shlex
import subprocess
import time
from pathlib import Path

from supervisor.values.reports import ImportReport


def run_before_start(
    commands: list[list[str]], path: Path, *, timeout_s: float
) -> ImportReport | None:
    """Run ``commands`` one after the other in ``path``; return a report of the first that fails.

    Together they may take ``timeout_s`` seconds. Their output is the app's output.
    """
    started = time.monotonic()
    for command in commands:
        left_s = timeout_s - (time.monotonic() - started)
        failure = _run(command, path, left_s, timeout_s)
        if failure is not None:
            return ImportReport.without_place(
                type="BeforeStartFailed",
                message=f"{Path(command[0]).name} {failure}",
                hint="try it in the app's folder, with the same user; see `before_start`",
                traceback=f"$ {shlex.join(command)}\n{failure}",
                seconds=round(time.monotonic() - started, 3),
            )
    return None


def _run(command: list[str], path: Path, left_s: float, timeout_s: float) -> str | None:
    """Return how a command failed, None if it didn't."""
    try:
        ended = subprocess.run(
            command, cwd=path, stdin=subprocess.DEVNULL, timeout=max(left_s, 0.001), check=False
        )
    except subprocess.TimeoutExpired:
        return f"took longer than {timeout_s:g} s (import_timeout_s)"
    except FileNotFoundError as error:
        if error.filename == path:
            return "could not be started: the app's `path` doesn't exist"
        return "is not installed, or not on the PATH of the service"
    except OSError as error:
        return f"could not be started: {error.strerror}"
    if ended.returncode < 0:
        return f"was ended by signal {-ended.returncode}"
    return None if ended.returncode == 0 else f"ended with exit code {ended.returncode}"
