"""The ``command`` check: runs a command, and kills it and its descendants at its timeout."""

import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from supervisor.config.settings import Requirement
from supervisor.process.descent import descendants, send
from supervisor.values.reports import Cause


def check_command(
    wanted: Requirement, environment: Mapping[str, str], folder: Path
) -> Cause | None:
    """Return why the command of ``wanted`` doesn't end with exit code 0, or None.

    It runs in ``folder``, with nothing to read, and what it prints is dropped. The child stays in
    this process's group, so it ends with that. Blocks for ``timeout_s``, and for as long as the
    kernel needs to end it: one that waits for a dead disk can't be killed.
    """
    command = wanted.command or []
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        hint = "install it, or correct `command`"
        return Cause(reason=f"{command[0]} can't be run: {error.strerror}", hint=hint)
    try:
        code = process.wait(wanted.timeout_s)
    except subprocess.TimeoutExpired:
        _kill_tree(process)
        return Cause(
            reason=f"{command[0]} takes longer than {wanted.timeout_s:g} s",
            hint="see what it waits for, or raise `timeout_s`",
        )
    if code == 0:
        return None
    hint = "run it by hand to see what it prints"  # its arguments may hold secrets
    if code < 0:
        return Cause(reason=f"{command[0]} was killed by signal {-code}", hint=hint)
    return Cause(reason=f"{command[0]} ends with exit code {code}", hint=hint)


def _kill_tree(process: "subprocess.Popen[bytes]") -> None:
    """Kill a command and its descendants, and wait for it."""
    below = descendants(process.pid)
    process.kill()
    for pid in below:
        send(pid, signal.SIGKILL)
    process.wait()
