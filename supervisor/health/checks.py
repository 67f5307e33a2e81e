"""Checks whether a requirement of an app holds. One function for each kind.

A check may block for the requirement's ``timeout_s``, and longer on a dead network disk: it runs
in a child or a thread. It changes nothing and imports no code of the app.
"""

import os
import re
import shlex
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from supervisor.config.secrecy import is_secret
from supervisor.config.settings import Requirement
from supervisor.health.command_check import check_command
from supervisor.source.required_module import missing_module
from supervisor.values.reports import Cause
from supervisor.worker import interpreter

DISK_FREE_PERCENT = 5.0  # where the requirement says nothing
# Values that are shipped to be replaced; in any case, with - for _ and for spaces.
_PLACEHOLDER = re.compile(
    r"(please-?)?change-?(me|this|it)!*|(your|my)-.*|default|secret(-key)?|password|dev(-key)?|"
    r"example|test|todo|x{3,}|insert-.*-here|placeholder|admin",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What checks depend on: the app's environment, its folder and where it finds its modules."""

    environment: Mapping[str, str]
    folder: Path  # relative paths are relative to it
    search_path: Sequence[str]  # first the app's folder
    python: Path | None = None  # the interpreter of the app's own virtual environment


def run_check(requirement: Requirement, around: Surroundings) -> Cause | None:
    """Return why a requirement doesn't hold, or None when it does."""
    return KINDS[requirement.kind](requirement, around)


def _directory(wanted: Requirement, around: Surroundings) -> Cause | None:
    path = _path(wanted, around)
    problem = _absent(path, wanted)
    if problem is not None:
        return problem
    if not path.is_dir():
        hint = "correct `path`, or make a directory of it"
        return Cause(reason=f"{wanted.path} is no directory", hint=hint)
    if not os.access(path, os.R_OK | os.X_OK):
        return _no_access(wanted, "read", path)
    return _writable(path, wanted)


def _file(wanted: Requirement, around: Surroundings) -> Cause | None:
    path = _path(wanted, around)
    problem = _absent(path, wanted)
    if problem is not None:
        return problem
    if path.is_dir():
        hint = "correct `path`, or put a file there"
        return Cause(reason=f"{wanted.path} is a directory, and no file", hint=hint)
    if not os.access(path, os.R_OK):
        return _no_access(wanted, "read", path)
    return _writable(path, wanted)


def _absent(path: Path, wanted: Requirement) -> Cause | None:
    try:
        path.stat()
    except FileNotFoundError:
        hint = "create it, or correct `path`"
        if path.is_symlink():
            hint = "create what it leads to, or correct the link"
            return Cause(reason=f"{wanted.path} is a link that leads to nothing", hint=hint)
        if wanted.mounted:
            hint = "is the disk plugged in, and in /etc/fstab?"
        return Cause(reason=f"{wanted.path} doesn't exist", hint=hint)
    except OSError as error:
        hint = "see who may enter the folders above it; a network disk may be gone"
        return Cause(reason=f"{wanted.path} can't be checked: {error.strerror}", hint=hint)
    if wanted.mounted and not os.path.ismount(path):
        return Cause(
            reason=f"{wanted.path} exists, but no file system is mounted on it",
            hint=f"mount it: sudo mount {shlex.quote(str(wanted.path))}",
        )
    return None


def _writable(path: Path, wanted: Requirement) -> Cause | None:
    if not wanted.writable or os.access(path, os.W_OK):
        return None
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return Cause(
            reason=f"{wanted.path} lies on a file system that is read-only",
            hint="a worn SD card turns read-only: see dmesg",
        )
    return _no_access(wanted, "write to", path)


def _no_access(wanted: Requirement, verb: str, path: Path) -> Cause:
    return Cause(
        reason=f"this user may not {verb} {wanted.path}",
        hint=f"it belongs to uid {path.stat().st_uid}, with mode {path.stat().st_mode & 0o777:o}",
    )


def _tcp(wanted: Requirement, _around: Surroundings) -> Cause | None:
    host, port = wanted.host or "localhost", wanted.port or 0
    try:
        socket.create_connection((host, port), timeout=wanted.timeout_s).close()
    except socket.gaierror as error:
        hint = "is the name right, and is the network up?"
        reason = f"the name {host} can't be resolved: {error.strerror}"
        return Cause(reason=reason, hint=hint)
    except TimeoutError:
        reason = f"{host}:{port} doesn't answer within {wanted.timeout_s:g} s"
        return Cause(reason=reason, hint="is that machine on, and does a firewall let it answer?")
    except OSError as error:
        hint = "is the server running, and are `host` and `port` right?"
        return Cause(reason=f"{host}:{port} can't be reached: {error.strerror}", hint=hint)
    return None


def _http(wanted: Requirement, _around: Surroundings) -> Cause | None:
    from supervisor.health.http_check import check_http  # urllib: 2 MiB, and few need it

    return check_http(wanted)


def _env(wanted: Requirement, around: Surroundings) -> Cause | None:
    value = around.environment.get(wanted.name or "")
    hint = f"set {wanted.name} in `env` or `env_file` of the app"
    if value is None:
        return Cause(reason=f"the variable {wanted.name} is not set", hint=hint)
    if value == "":
        return Cause(reason=f"the variable {wanted.name} is empty", hint=hint)
    word = value.strip().replace("_", "-").replace(" ", "-")
    is_placeholder = is_secret(f".env.{wanted.name}", ()) and _PLACEHOLDER.fullmatch(word)
    if value == wanted.default or is_placeholder:
        return Cause(reason=f"the variable {wanted.name} still has its shipped value", hint=hint)
    return None


def _module(wanted: Requirement, around: Surroundings) -> Cause | None:
    name = wanted.name or ""
    if around.python is None:
        missing = missing_module(name, around.search_path)
    else:
        task = {"do": "find", "name": "fs-check", "module": name, "path": around.search_path[0]}
        try:
            missing = interpreter.ask(around.python, task)["missing"]
        except interpreter.InterpreterError as error:
            return Cause(reason=error.message, hint=error.hint)
    if missing is None:
        return None
    return Cause(
        reason=f"there is no module {missing}",
        hint=f"install what {name.partition('.')[0]} belongs to, or copy it",
    )


def _command(wanted: Requirement, around: Surroundings) -> Cause | None:
    return check_command(wanted, around.environment, around.folder)


def _disk(wanted: Requirement, around: Surroundings) -> Cause | None:
    path = _path(wanted, around)
    least = DISK_FREE_PERCENT if wanted.free_percent is None else wanted.free_percent
    try:
        usage = shutil.disk_usage(path)
    except OSError as error:
        reason = f"{wanted.path or path.name} can't be checked: {error.strerror}"
        return Cause(reason=reason, hint="correct `path`, or mount what belongs there")
    free = 100 * usage.free / usage.total if usage.total else 0.0
    if free >= least:
        return None
    where = wanted.path or "the disk"
    reason = f"{where} has {free:.1f} % free ({usage.free // 2**20} MiB), {least:g} % are required"
    return Cause(reason=reason, hint="free some space: sudo journalctl --vacuum-size=50M")


def _path(wanted: Requirement, around: Surroundings) -> Path:
    return Path(os.path.normpath(around.folder / (wanted.path or ".")))


KINDS: dict[str, Callable[[Requirement, Surroundings], Cause | None]] = {
    "directory": _directory,
    "file": _file,
    "tcp": _tcp,
    "http": _http,
    "env": _env,
    "module": _module,
    "command": _command,
    "disk": _disk,
}
