"""Asks systemctl, for commands: everything here blocks, and none of it is for the main process."""

import os
import re
import shutil
import subprocess
from pathlib import Path

_TIMEOUT_S = 300.0  # a start waits for READY, which systemd itself bounds
_BOOTED = Path("/run/systemd/system")  # sd_booted(3)


def is_available() -> bool:
    """Say whether systemd runs this machine, and systemctl can be used."""
    return _BOOTED.is_dir() and shutil.which("systemctl") is not None


def version() -> int:
    """Give systemd's version, 0 if it has none."""
    found = re.match(r"systemd (\d+)", systemctl("--version").stdout)
    return int(found[1]) if found else 0


def systemctl(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run systemctl to its end, in the system's manager."""
    return _run("systemctl", *arguments)


def properties(unit: str, *names: str) -> dict[str, str]:
    """Give properties of a unit, whether it is loaded or not; what is unknown is empty."""
    shown = systemctl("show", f"--property={','.join(names)}", "--", unit).stdout
    found = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    return {name: found.get(name, "") for name in names}


def journal(unit: str, lines: int) -> "subprocess.CompletedProcess[str]":
    """Give the newest lines of a unit's log, without times."""
    return _run("journalctl", "--quiet", "--no-pager", "-o", "cat", "-n", str(lines), "-u", unit)


def own_address() -> str:
    """Give the address by which others may reach this machine, "localhost" if it has none."""
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
