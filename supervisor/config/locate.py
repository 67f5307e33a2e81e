"""Finds the configuration file to use."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from supervisor.config.installed import installed_config
from supervisor.values.errors import ConfigError

FILE_VARIABLE = "FLASK_SUPERVISOR_CONFIG"
NAMES = ("supervisor.toml", "config/supervisor.toml")
OF_THE_MACHINE = Path("/etc/flask-supervisor/supervisor.toml")


def find(given: str | None, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the configuration file to use: the given one, else the first that exists.

    Searched are the variable, the current folder and those above it, what the installed service
    runs, and /etc. Raises `ConfigError` when there is none, and for root when others could have put
    it there.
    """
    if given is not None:
        return Path(given)
    if environment.get(FILE_VARIABLE):
        return Path(environment[FILE_VARIABLE])
    found = _in_current_folder() or _above(environment.get("HOME"))
    if found is not None:
        _check_trust(found, environment)
    found = found or installed_config()
    if found is None and _exists(OF_THE_MACHINE):
        found = OF_THE_MACHINE
    if found is None:
        places = f"${FILE_VARIABLE}, {' and '.join(NAMES)} in this folder and those above it"
        raise ConfigError(
            [f"no configuration file found (looked for {places}, {OF_THE_MACHINE})"],
            hint="name one with --config FILE",
        )
    return found


def folders_above(start: Path, home: Path | None, device: Callable[[Path], int]) -> list[Path]:
    """Return the folders above ``start`` to search, the nearest first.

    They end at the user's home, and where another file system begins; ``device`` returns the one
    of a folder.
    """
    found = []
    folder = start
    while folder not in (home, folder.parent) and device(folder.parent) == device(folder):
        folder = folder.parent
        found.append(folder)
    return found


def _in_current_folder() -> Path | None:
    return next((Path(name) for name in NAMES if _exists(Path(name))), None)


def _above(home: str | None) -> Path | None:
    try:
        current = Path.cwd()
        real_home = Path(os.path.realpath(home)) if home else None
        folders = folders_above(current, real_home, lambda folder: folder.stat().st_dev)
    except OSError:  # the current folder is gone
        return None
    for candidate in (folder / name for folder in folders for name in NAMES):
        try:
            if candidate.exists():
                return candidate
        except OSError:
            continue  # this user may not enter the folder config: it is not for this user
    return None


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except OSError as error:
        raise ConfigError(
            [f"{file}: cannot look for it: {error.strerror}"],
            hint="name the right one with --config FILE, or use sudo",
        ) from error


def _check_trust(file: Path, environment: Mapping[str, str]) -> None:
    """Raise `ConfigError` if this is root, and others could have put the file where it is."""
    if os.geteuid() != 0:
        return
    from supervisor.config.trust import why_distrusted

    caller = environment.get("SUDO_UID", "")
    trusted = {0, int(caller)} if caller.isdecimal() else {0}
    try:
        distrusted = why_distrusted(file, trusted)
    except OSError as error:
        raise ConfigError([f"{file}: cannot check its owner: {error.strerror}"]) from error
    if distrusted is not None:
        reason, command = distrusted
        raise ConfigError(
            [f"{file}: found, but not trusted by root: {reason}"],
            hint=f"name it with --config {file}, or run: {command}",
        )
