"""Installs and removes the systemd unit, for commands that a person waits for: all of it blocks.

An installation may be repeated; on a running service it is an upgrade that refuses no connection.
"""

import contextlib
import grp
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from supervisor.config.settings import Config
from supervisor.files import atomic_file
from supervisor.files.state_dir import StateDir
from supervisor.systemd.systemctl import journal, properties, systemctl, version
from supervisor.systemd.unit_file import (
    DEFAULT_USER,
    DROP_INS,
    FOLDER,
    INSTALLATION,
    RESTART_STEPS,
    SOCKET,
    STATE_DIR,
    UNIT,
    Files,
    Machine,
    files,
    own_command,
)
from supervisor.values.errors import SupervisorError

_FIRST_LOGIN_UID = 1000  # login.defs(5), UID_MIN: people's accounts
_STATE_MODE = 0o700
_FILE_MODE = 0o644
_JOURNAL_LINES = 15


def machine_for(user: str) -> Machine:
    """Return what the unit depends on, for a service that runs as ``user``.

    Raises KeyError when there is no such user, but for the user that `create_user` creates.
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        if user != DEFAULT_USER:
            raise
        group, login, uid = user, False, None
    else:
        group = grp.getgrgid(entry.pw_gid).gr_name
        uid = entry.pw_uid
        login = entry.pw_uid >= _FIRST_LOGIN_UID or entry.pw_uid == 0
    return Machine(
        user=user,
        group=group,
        login=login,
        command=own_command(),
        code=(Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[2]),
        systemd_version=version(),
        uid=uid,
        groups=frozenset(one.gr_name for one in grp.getgrall()),
    )


def create_user(user: str | None) -> Iterator[str]:
    """Create the service's user if it is missing; yield a line for what was done.

    Raises `SupervisorError` for a named user who doesn't exist.
    """
    name = user or DEFAULT_USER
    try:
        pwd.getpwnam(name)
    except KeyError:
        if user not in (None, DEFAULT_USER):
            raise SupervisorError(
                f"cannot install the service: there is no user {name}",
                hint=f"correct --user, or leave it out for the system user {DEFAULT_USER}",
            ) from None
        _run(
            "useradd",
            "--system",
            "--user-group",
            "--no-create-home",
            "--shell",
            "/usr/sbin/nologin",
            "--home-dir",
            str(STATE_DIR),
            name,
        )
        yield f"user {name}: created"


def write(config: Config, machine: Machine) -> Iterator[str]:
    """Bring the unit's files up to date; yield a line for each change. Idempotent."""
    wanted = files(config, machine)
    for path in (INSTALLATION, RESTART_STEPS):
        if path not in wanted and path.exists():
            path.unlink()
            yield f"{path}: removed"
    DROP_INS.mkdir(mode=0o755, parents=True, exist_ok=True)
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text:
            atomic_file.write_whole(path, text.encode(), mode=_FILE_MODE)
            yield f"{path}: written"
    if config.state_dir != STATE_DIR and not config.state_dir.exists():
        config.state_dir.mkdir(mode=_STATE_MODE, parents=True)
        shutil.chown(config.state_dir, machine.user, machine.group)
        yield f"{config.state_dir}: created for {machine.user}"


def start() -> None:
    """Start the service, or restart it without refusing connections; wait until it is ready.

    Raises `SupervisorError` with the last lines of its log when it doesn't start.
    """
    _systemctl("daemon-reload")
    _systemctl("enable", UNIT)
    if properties(UNIT, "ActiveState")["ActiveState"] == "failed":
        _systemctl("reset-failed", UNIT)
    done = systemctl("restart", UNIT)
    if done.returncode != 0:
        log = journal(UNIT, _JOURNAL_LINES).stdout.rstrip() or done.stderr.strip()
        raise SupervisorError(
            f"the service does not start; its log ends with:\n{log}",
            hint=f"see more of it: journalctl -u {UNIT.removesuffix('.service')}",
        )


def remove() -> Iterator[str]:
    """Stop the service and remove its files; yield a line for each step. Data stays."""
    if properties(UNIT, "LoadState")["LoadState"] == "loaded":
        systemctl("disable", "--now", UNIT)
        systemctl("kill", "--signal=KILL", UNIT)  # workers that a stuck main process left
        yield f"{UNIT}: stopped and disabled"
    if (FOLDER / SOCKET).exists():
        systemctl("disable", "--now", SOCKET)
    for path in (FOLDER / UNIT, INSTALLATION, RESTART_STEPS, FOLDER / SOCKET):
        if path.exists():
            path.unlink()
            yield f"{path}: removed"
    with contextlib.suppress(OSError):  # it holds settings of the operator
        DROP_INS.rmdir()
    if DROP_INS.exists():
        yield f"{DROP_INS}: kept, it holds settings of your own"
    systemctl("daemon-reload")
    systemctl("reset-failed", UNIT)


def delete_data(state_dir: Path) -> Iterator[str]:
    """Delete what the supervisor and its apps wrote, and the system user; yield a line for each."""
    for path in StateDir(state_dir).entries():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    with contextlib.suppress(FileNotFoundError):
        try:
            state_dir.rmdir()
            yield f"{state_dir}: deleted"
        except FileNotFoundError:
            yield f"{state_dir}: does not exist"
        except OSError:
            yield f"{state_dir}: kept, it holds files that are not the supervisor's"
    with contextlib.suppress(KeyError):
        pwd.getpwnam(DEFAULT_USER)
        _run("userdel", DEFAULT_USER)
        yield f"user {DEFAULT_USER}: deleted"


def outdated_files(wanted: Files) -> list[Path]:
    """Return the installed files that differ from what an installation would write now."""
    found = []
    for path, text in wanted.items():
        try:
            same = path.read_text(encoding="utf-8") == text
        except (OSError, UnicodeDecodeError):
            same = False
        if not same:
            found.append(path)
    return found


def _systemctl(*arguments: str) -> None:
    done = systemctl(*arguments)
    if done.returncode != 0:
        words = " ".join(["systemctl", *arguments])
        raise SupervisorError(f"{words} failed: {done.stderr.strip()}")


def _run(*words: str) -> None:
    try:
        subprocess.run(words, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        cause = getattr(error, "stderr", None) or str(error)
        raise SupervisorError(f"{' '.join(words)} failed: {cause.strip()}") from error
