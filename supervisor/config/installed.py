"""What the installed service runs: read from the files of its unit, so that it needs no systemd."""

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path

UNIT = Path("/etc/systemd/system/flask-supervisor.service")
CGROUP = Path("/sys/fs/cgroup/system.slice") / UNIT.name


def installed_value(key: str) -> str | None:
    """Return the last value of ``key`` in the unit and its drop-ins, None if there is none."""
    found = None
    for line in _lines():
        name, equals, value = line.partition("=")
        if equals and name.strip() == key:
            found = value.strip() or None  # an empty one forgets those before: systemd.syntax(7)
    return found


def _lines() -> Iterator[str]:
    if not UNIT.exists():
        return  # what is left in its drop-ins has no effect
    drop_ins = UNIT.with_name(f"{UNIT.name}.d")
    for file in (UNIT, *sorted(drop_ins.glob("*.conf"), key=lambda one: one.name)):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            yield from file.read_text(encoding="utf-8").splitlines()


def installed_command() -> list[str]:
    """Return the words that run the installation of the service; empty if none is installed."""
    words = _words()
    return words[: words.index("run")] if "run" in words else []


def installed_config() -> Path | None:
    """Return the configuration file of the service, None if none is installed."""
    words = _words()
    for option in ("--config", "-c"):
        with contextlib.suppress(ValueError, IndexError):
            return Path(words[words.index(option) + 1])
    return None


def running_service() -> int | None:
    """Return the pid of a process of the service, the main one if it can be seen; None if none."""
    with contextlib.suppress(OSError, ValueError):
        return min(map(int, (CGROUP / "cgroup.procs").read_text().split()), default=None)
    return None


def _words() -> list[str]:
    start = (installed_value("ExecStart") or "").replace("$$", "$").replace("%%", "%")
    try:
        return shlex.split(start)
    except ValueError:  # quotes without an end: systemd refuses it too
        return []
