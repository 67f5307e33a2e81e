"""Runs systemctl and journalctl for commands. All of it blocks: not for the main process."""

import os
import re
import shutil
import subprocess
from pathlib import Path

_TIMEOUT_S = 300.0  # a start waits for READY, which systemd itself bounds
_BOOTED = Path("/run/systemd/system")  # sd_booted(3)


def is_available() -> bool:
    """Return whether systemd runs this machine, and systemctl is installed."""
    return _BOOTED.is_dir() and shutil.which("systemctl") is not None


def version() -> int:
    """Return systemd's version, 0 if it is unknown."""
    found = re.match(r"systemd (\d+)", systemctl("--version").stdout)
    return int(found[1]) if found else 0


def systemctl(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run systemctl on the system manager, and wait for its end."""
    return _run("systemctl", *arguments)


def properties(unit: str, *names: str) -> dict[str, str]:
    """Return properties of a unit, loaded or not; an unknown property is empty."""
    shown = systemctl("show", f"--property={','.join(names)}", "--", unit).stdout
    found = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    return {name: found.get(name, "") for name in names}


def journal(unit: str, lines: int) -> "subprocess.CompletedProcess[str]":
    """Return the newest ``lines`` of a unit's log, without times."""
    return _run("journalctl", "--quiet", "--no-pager", "-o", "cat", "-n", str(lines), "-u", unit)


def own_address() -> str:
    """Return an IPv4 address of this machine, "localhost" if it has none."""
    found = _run("hostname", "--all-ip-addresses").stdout.split()
    return next((address for address in found if ":" not in address), "localhost")


def _run(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": "cat", "SYSTEMD_COLORS": "0"}
    try:
        return subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess([program], 1, "", str(error))
