"""Loads a configuration or, if it can't be used, the last one that worked.

An unreadable configuration may not name its state folder, so several folders are searched for its
history; a text is used only if it names the folder where it was found as its own state folder.
"""

import dataclasses
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from supervisor.config import reader
from supervisor.config.history import ConfigHistory, KeptConfig, time_text
from supervisor.config.merge import OVERRIDE_PREFIX
from supervisor.config.settings import Config, SupervisorSettings
from supervisor.files import text as text_file
from supervisor.files.state_dir import StateDir
from supervisor.process.hanging_disks import hanging
from supervisor.values.errors import ConfigError
from supervisor.values.reports import Cause

_STATE_DIR = re.compile(r"""^\s*state_dir\s*=\s*["'](.+?)["']""", re.MULTILINE)
_OVERRIDE = f"{OVERRIDE_PREFIX}SUPERVISOR__STATE_DIR"
_USUAL = "/var/lib/flask-supervisor"
_ANSWER_S = 2.0


def load(file: Path, environment: Mapping[str, str] = os.environ, *, hangs: bool = False) -> Config:
    """Return the configuration in ``file``, or the last one that worked with ``fallback`` set.

    ``hangs``: the disk of ``file`` does not answer, so it is not read. Raises the `ConfigError` of
    ``file`` if there is none.
    """
    try:
        if hangs:
            raise silent_disk(file)
        return reader.load(file, environment)
    except ConfigError as error:
        found = _last_good(file, environment, hangs=hangs)
        if found is None:
            raise
        config, entry = found
        count = len(error.problems)
        what = "1 problem" if count == 1 else f"{count} problems"
        # port 6000 shows it too: no values, no absolute paths
        fallback = Cause(
            reason=f"{file.name} can't be used ({what}): the last configuration that worked, "
            f"{entry.name} of {time_text(entry)}, runs instead",
            hint="see what is wrong with: flask-supervisor config check",
        )
        return dataclasses.replace(config, fallback=fallback, problems=tuple(error.problems))


def silent_disk(file: Path) -> ConfigError:
    """Return the error of a configuration file whose disk does not answer."""
    return ConfigError(
        [f"{file}: cannot read it: its disk does not answer"],
        hint="look for its mount: findmnt; dmesg shows what the disk reports",
    )


def history(file: Path, environment: Mapping[str, str] = os.environ) -> ConfigHistory:
    """Return the history that belongs to a configuration file, valid or not."""
    try:
        return ConfigHistory(StateDir(load(file, environment).state_dir).config_history)
    except ConfigError:
        folders = list(_state_dirs(file, environment))
        used = [folder for folder in folders if StateDir(folder).config_history.is_dir()]
        return ConfigHistory(StateDir((used or folders)[0]).config_history)


def _last_good(
    file: Path, environment: Mapping[str, str], *, hangs: bool
) -> tuple[Config, KeptConfig] | None:
    folders = list(_state_dirs(file, environment, hangs=hangs))
    silent = hanging(folders, timeout_s=_ANSWER_S) if hangs else set()
    for folder in (one for one in folders if one not in silent):
        kept = ConfigHistory(StateDir(folder).config_history)
        for entry in kept.entries():
            if not entry.worked:
                continue
            try:
                config = reader.parse_text(kept.read(entry), file, environment)
            except ConfigError:
                continue  # an older one may not need the variable or file that is gone
            if config.state_dir == folder:
                return config, entry
    return None


def _state_dirs(
    file: Path, environment: Mapping[str, str], *, hangs: bool = False
) -> Iterator[Path]:
    """Yield the folders that may be the state folder, the most likely first."""
    in_file = None if hangs else _named_in(file)
    named = [environment.get(_OVERRIDE), in_file, *_of_systemd(environment)]
    defaults = [SupervisorSettings().state_dir, f"../{SupervisorSettings().state_dir}", _USUAL]
    folder = file.absolute().parent
    paths = [os.path.normpath(folder / name) for name in (*named, *defaults) if name]
    yield from map(Path, dict.fromkeys(paths))


def _of_systemd(environment: Mapping[str, str]) -> list[str]:
    """Return the folders of the unit's StateDirectory= (systemd.exec(5))."""
    return [path for path in environment.get("STATE_DIRECTORY", "").split(":") if path]


def _named_in(file: Path) -> str | None:
    """Return the state folder that a file names, which may not be valid TOML; None if none."""
    try:
        data = text_file.read_bytes(file)
    except (OSError, text_file.NotText):
        return None
    try:
        text = text_file.decode(data)
    except text_file.NotText:
        text = data.decode("utf-8", "replace")
    try:
        named = tomllib.loads(text).get("supervisor", {}).get("state_dir")
    except (ValueError, AttributeError, RecursionError):
        named = None
    if isinstance(named, str) and named and "\0" not in named:
        return named
    found = _STATE_DIR.search(text)
    return found[1] if found else None
