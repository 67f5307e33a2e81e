"""Installs the systemd unit, and takes it away again.

For commands that a person waits for: everything here blocks. Repeating an installation does no
harm; on a running service it is an upgrade, which refuses no connection.
"""

import contextlib
import grp
import pwd
import shlex
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
    """Give what the unit depends on, for a service that runs as ``user``.

    Raises KeyError when there is no such user, unless it is one that `create_user` would make.
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        if user != DEFAULT_USER:
            raise
        group, login = user, False
    else:
        group = grp.getgrgid(entry.pw_gid).gr_name
        login = entry.pw_uid >= _FIRST_LOGIN_UID or entry.pw_uid == 0
    return Machine(
        user=user,
        group=group,
        login=login,
        command=own_command(),
        code=(Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[2]),
        systemd_version=version(),
    )


def create_user(user: str | None) -> Iterator[str]:
    """Make sure that the service's user exists; says what was done.

    Raises `SupervisorError` for one that was asked for by name, but isn't there.
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
    """Bring the unit's files up to date; says what was done. Idempotent."""
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
        yield f"{config.state_dir}: made, for {machine.user}"


def start() -> None:
    """Start the service, or replace the running one without refusing anybody; waits for ready.

    Raises `SupervisorError` with the end of its log when that fails.
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
            hint=f"more: journalctl -u {UNIT.removesuffix('.service')}",
        )


def remove() -> Iterator[str]:
    """Stop the service and take its files away; says what was done. Data stays."""
    if properties(UNIT, "LoadState")["LoadState"] == "loaded":
        systemctl("disable", "--now", UNIT)
        systemctl("kill", "--signal=KILL", UNIT)  # what a main process that was stuck left
        yield f"{UNIT}: stopped and disabled"
    if (FOLDER / SOCKET).exists():
        systemctl("disable", "--now", SOCKET)
    for path in (FOLDER / UNIT, INSTALLATION, RESTART_STEPS, FOLDER / SOCKET):
        if path.exists():
            path.unlink()
            yield f"{path}: removed"
    with contextlib.suppress(OSError):  # settings of the operator's own lie in it
        DROP_INS.rmdir()
    if DROP_INS.exists():
        yield f"{DROP_INS}: kept, for it holds settings of your own"
    systemctl("daemon-reload")
    systemctl("reset-failed", UNIT)


def delete_data(state_dir: Path) -> Iterator[str]:
    """Delete what the supervisor and its apps wrote, and the system user; says what was done."""
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
            yield f"{state_dir}: was not there"
        except OSError:
            yield f"{state_dir}: kept, for it holds files that are not the supervisor's"
    with contextlib.suppress(KeyError):
        pwd.getpwnam(DEFAULT_USER)
        _run("userdel", DEFAULT_USER)
        yield f"user {DEFAULT_USER}: deleted"


def installed_user() -> str | None:
    """Give the user of the installed unit, None where none is installed."""
    return _installed("User")


def installed_start() -> str | None:
    """Give the command line of the installed unit, None where none is installed."""
    return _installed("ExecStart")


def installed_config() -> Path | None:
    """Give the configuration file of the installed unit, None where none is installed."""
    words = shlex.split((installed_start() or "").replace("$$", "$").replace("%%", "%"))
    with contextlib.suppress(ValueError, IndexError):
        return Path(words[words.index("--config") + 1])
    return None


def _installed(key: str) -> str | None:
    try:
        lines = INSTALLATION.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    found = [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]
    return found[-1] if found else None


def outdated_files(wanted: Files) -> list[Path]:
    """Give the installed files that are not what an installation would write now."""
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
        said = getattr(error, "stderr", None) or str(error)
        raise SupervisorError(f"{' '.join(words)} failed: {said.strip()}") from error
