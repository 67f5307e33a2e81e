"""Starts the interpreter of an app's own virtual environment, with this package in it.

Only ``supervisor`` and ``waitress`` can be imported from ours there: everything else comes from
that environment, in its versions. The task comes as JSON in a memory file (memfd_create(2)),
because other users can read a process's arguments.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import waitress

from supervisor.values.errors import SupervisorError

_BOOT = Path(__file__).parent / "venv_boot.py"
_ROOTS = [str(Path(__file__).parents[2]), str(Path(waitress.__file__).parent.parent)]


class InterpreterError(SupervisorError):
    """The interpreter can't be used."""


def command_line(python: Path, fd: int) -> list[str]:
    """Return the command line that runs the task in the memory file ``fd``."""
    return [str(python), str(_BOOT), str(fd), *_ROOTS]


def memory_file(task: dict[str, Any]) -> int:
    """Return the descriptor of a memory file that holds ``task``; the caller closes it."""
    fd = os.memfd_create("task", 0)
    with os.fdopen(os.dup(fd), "w", encoding="utf-8") as stream:
        json.dump(task, stream)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


ENDED_HINT = "look for os._exit, a crashing C extension, or lack of memory"


def ask(python: Path, task: dict[str, Any]) -> dict[str, Any]:
    """Run ``task`` of `venv_entrypoint` on the interpreter ``python``; return its answer.

    Blocks for as long as that takes. Raises `InterpreterError` where there is none.
    """
    check_interpreter(python)
    read_end, write_end = os.pipe()
    fd = memory_file({**task, "result": write_end, "descriptors": [write_end]})
    try:
        process = subprocess.Popen(command_line(python, fd), pass_fds=(fd, write_end))
    finally:
        os.close(fd)
        os.close(write_end)
    with os.fdopen(read_end, encoding="utf-8") as stream:
        text = stream.read()
    code = process.wait()
    if not text:
        what = "imported the app" if task["do"] == "check" else "looked for its modules"
        raise InterpreterError(
            f"the process ended while it {what} (exit code {code})", hint=ENDED_HINT
        )
    answer: dict[str, Any] = json.loads(text)
    return answer


def check_interpreter(python: Path) -> None:
    """Raise `InterpreterError` unless ``python`` is a working interpreter, 3.11 or newer.

    Runs it and blocks for up to 30 s: to be called in a child.
    """
    try:
        ended = subprocess.run(
            [str(python), "-c", "import sys; print(sys.version_info[:2] >= (3, 11), sys.version)"],
            capture_output=True,
            text=True,
            timeout=30,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except OSError as error:
        raise InterpreterError(
            f"cannot start the interpreter {python.name} of the app: {error.strerror}",
            hint="correct `python` in its section, or make its virtual environment again",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise InterpreterError(
            f"the interpreter {python.name} of the app does not start within 30 s",
            hint="try it by hand; its virtual environment may be damaged",
        ) from error
    good, _, version = ended.stdout.strip().partition(" ")
    if ended.returncode != 0 or good not in ("True", "False"):
        raise InterpreterError(
            f"{python.name} of the app is no Python interpreter that works "
            f"(exit code {ended.returncode})",
            hint="correct `python` in its section, or make its virtual environment again",
        )
    if good == "False":
        raise InterpreterError(
            f"the app's own Python is {version.split()[0]}: 3.11 or newer is needed",
            hint="make its virtual environment again, with a newer Python",
        )
