"""Checks, before the unit is installed, for what would keep the service from working."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

from supervisor.config import reader as configuration
from supervisor.config.settings import Config
from supervisor.files.state_dir import lock_holder
from supervisor.process.other_user import barrier, become, owner_of
from supervisor.process.throwaway import TaskFailed, call_in_child
from supervisor.systemd.hardware import missing_groups
from supervisor.systemd.systemctl import is_available, properties
from supervisor.systemd.unit_file import STATE_DIR, UNIT, Machine, hardware_of, own_command
from supervisor.values.errors import ConfigError, SupervisorError

_CHECK_TIMEOUT_S = 30.0


def require_root_and_systemd(what: str) -> None:
    """Raise `SupervisorError` unless this user is root and systemd runs this machine.

    ``what`` completes "cannot ...".
    """
    if os.geteuid() != 0:
        words = shlex.join(["sudo", *own_command(), *sys.argv[1:]])
        raise SupervisorError(
            f"cannot {what}: only root may do this", hint=f"repeat it as: {words}"
        )
    if not is_available():
        raise SupervisorError(
            f"cannot {what}: systemd does not run this machine",
            hint="a service needs a machine that systemd has booted; without one: "
            "flask-supervisor run",
        )


def check_folders(config: Config, machine: Machine) -> list[str]:
    """Check, as the service's user, every folder that the service needs.

    Return notes on what will work with limits. Raise `SupervisorError` for a folder that would
    keep the service from working.
    """
    _check_state_dir(config, machine)
    code = str(Path(__file__).parents[1])
    try:
        found = call_in_child(
            _check_as_user, machine.user, config, code, timeout_s=_CHECK_TIMEOUT_S
        )
    except TaskFailed as error:
        raise SupervisorError(f"cannot check the folders as {machine.user}: {error}") from error
    if found["unreadable"]:
        path, owner, what = found["unreadable"]
        raise SupervisorError(
            f"cannot install the service: its user {machine.user} may not read {path}, "
            f"which belongs to {owner} and which {what} needs",
            hint=f"run the service as that user: --user {owner}, or move the files to "
            "/opt/flask-supervisor",
        )
    return [
        *(_owner_note(machine.user, *entry) for entry in found["unwritable"]),
        *missing_folders(config),
        *_missing_groups(config, machine),
    ]


def missing_folders(config: Config) -> list[str]:
    """Return a note on each folder of `writable` that isn't there."""
    return [
        f"app {name}: the folder {folder} of `writable` does not exist, and stays read-only; make "
        "it, then: sudo systemctl restart flask-supervisor"
        for name, app in config.apps.items()
        for folder in map(config.resolve, app.writable)
        if not folder.exists()
    ]


def _missing_groups(config: Config, machine: Machine) -> list[str]:
    return [
        f"`hardware` needs the group {group}, which this machine doesn't have: Raspberry Pi OS "
        f"has it; make it with: sudo groupadd --system {group}, and let its devices belong to it"
        for group in missing_groups(hardware_of(config), machine.groups)
    ]


def _owner_note(user: str, name: str, path: str, owner: str) -> str:
    return (
        f"app {name} will be served, but deploy and rollback can't change it: {user} may read "
        f"{path}, but not replace files there, which belong to {owner}. To allow it, install with "
        f"--user {owner}, or change the owner: sudo chown -R {user}: {shlex.quote(path)}"
    )


def _check_as_user(user: str, config: Config, code: str) -> dict[str, Any]:
    """Check every folder as ``user``; runs in a child."""
    become(user)
    apps = {name: config.app_path(name) for name, app in config.apps.items() if app.enabled}
    interpreter = Path(sys.executable)
    needed = [
        (config.file, "the service"),
        (interpreter, f"the service's interpreter {interpreter}"),
        (Path(code), "the service"),
    ]
    needed += [(path, f"app {name}") for name, path in apps.items()]
    needed += [
        (config.resolve(python), f"app {name}")
        for name in apps
        if (python := config.apps[name].python)
    ]
    for path, what in needed:
        closed = barrier(path)
        if closed is not None:
            return {"unreadable": [str(closed), owner_of(closed), what], "unwritable": []}
    locked = [
        [name, str(path), owner_of(path)]
        for name, path in apps.items()
        if path.is_dir() and not os.access(path, os.W_OK)
    ]
    return {"unreadable": None, "unwritable": locked}


def _check_state_dir(config: Config, machine: Machine) -> None:
    """Refuse another user's state folder; systemd itself creates the unit's own one."""
    path = config.state_dir
    if path == STATE_DIR or not path.exists() or machine.user == "root":
        return
    if owner_of(path) != machine.user:
        raise SupervisorError(
            f"cannot install the service: the state folder {path} belongs to {owner_of(path)}, and "
            f"the service runs as {machine.user}",
            hint=f"install with --user {owner_of(path)}, or: sudo chown -R {machine.user}: "
            f"{shlex.quote(str(path))}",
        )


def refuse_second_supervisor(config: Config) -> None:
    """Raise `SupervisorError` when a supervisor that systemd did not start holds the folder."""
    holder = lock_holder(config.state_dir)
    if holder is not None and properties(UNIT, "ActiveState")["ActiveState"] == "inactive":
        raise SupervisorError(
            f"cannot start the service: another supervisor runs as {holder}",
            hint="stop that one, then repeat this command",
        )


def problems_under_the_unit(config: Config) -> list[str]:
    """Return the problems of the configuration in the environment of the unit."""
    try:
        configuration.load(config.file, _unit_environment())
    except ConfigError as error:
        return error.problems
    return []


def _unit_environment() -> dict[str, str]:
    shown = properties(UNIT, "Environment")["Environment"]
    return dict(word.split("=", 1) for word in shlex.split(shown) if "=" in word)
