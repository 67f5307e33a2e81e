"""As whom ``check`` imports apps, and whether it can keep what they write off the disk."""

import contextlib
import os
import shlex
import sys
import tempfile
from pathlib import Path

from supervisor.client import Client
from supervisor.config.installed import installed_command, installed_config, installed_value
from supervisor.config.settings import Config
from supervisor.files.state_dir import StateDir
from supervisor.health.check_isolation import Isolation
from supervisor.process.other_user import barrier
from supervisor.process.private_mounts import outermost, why_not
from supervisor.process.throwaway import call_in_child
from supervisor.systemd.unit_file import writable_folders
from supervisor.values.errors import ControlError, NotRunning, SupervisorError

_PROBE_S = 30.0


def service_user(config: Config) -> str | None:
    """Return the user who serves ``config``, where this is root and that is another one.

    That is the user of the installed service, else the one whom the state folder belongs to.
    """
    if os.geteuid() != 0:
        return None
    user = None
    installed = installed_config()
    if installed is not None and os.path.realpath(installed) == os.path.realpath(config.file):
        user = installed_value("User")
    elif os.path.isdir(config.state_dir):
        with contextlib.suppress(KeyError):  # a user without a name
            user = config.state_dir.owner()
    return None if user == "root" else user


def running_apps(config: Config) -> set[str]:
    """Return the apps that run; all, if there is a supervisor that doesn't say it."""
    try:
        snapshot = Client(StateDir(config.state_dir).control_socket).call("snapshot")
    except NotRunning:
        return set()
    except ControlError:
        return set(config.apps)
    return {name for name, app in snapshot["apps"].items() if app["workers"]}


def runs_once(config: Config, name: str) -> bool:
    """Return whether an app, or one that shares its process and so its modules, can't run twice."""
    process = config.apps[name].process or name
    mates = config.processes().get(process, [name])
    return any(config.apps[mate].runs_once for mate in mates)


def isolation_for(config: Config, user: str | None) -> Isolation:
    """Return how to check ``config`` as ``user``, with the service's groups if it runs as that.

    Raises `SupervisorError` where ``user`` can't run this Python.
    """
    groups: tuple[str, ...] = ()
    if user is not None and user == installed_value("User"):
        groups = tuple((installed_value("SupplementaryGroups") or "").split())
    if user is not None:
        closed = Isolation(user).call(_closed, timeout_s=_PROBE_S)
        if closed is not None:
            own = shlex.join(installed_command())
            raise SupervisorError(
                f"cannot check as {user}, as whom the supervisor runs: {user} may not read "
                f"{closed}, which this installation ({sys.prefix}) needs",
                hint=f"use the service's own: sudo {own} check"
                if own
                else f"use an installation that {user} may read, in /opt for example",
            )
    return Isolation(user, groups)


def protection(config: Config) -> tuple[list[str], str | None]:
    """Return the folders that apps may write to, and why this machine can't protect them, or None.

    Blocks for a moment.
    """
    folders = outermost([config.state_dir, *writable_folders(config)])
    with tempfile.TemporaryDirectory(prefix="flask-supervisor-check-") as place:
        return folders, call_in_child(why_not, folders, place, timeout_s=_PROBE_S)


def _closed() -> str | None:
    needed = (Path(sys.executable), Path(sys.prefix), Path(__file__))
    found = next((one for path in needed if (one := barrier(path))), None)
    return None if found is None else str(found)
