"""Looks for everything that commonly keeps a supervisor from working; changes nothing."""

import importlib.metadata
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from supervisor.client import Client
from supervisor.config.settings import Config
from supervisor.config.show import planned
from supervisor.files.state_dir import StateDir
from supervisor.ports import listeners, sock_diag
from supervisor.ports.conflict import in_use_by, time_wait_note
from supervisor.ports.listeners import Address
from supervisor.values.errors import ConfigError, ControlError, NotRunning
from supervisor.values.states import Status

_DISK_FREE_MIN = 50 * 1024 * 1024
_FILES_PER_APP = 6  # listener, channel, output, and room for a replacement
_FILES_BASE = 64
_FIRST_REAL_YEAR = 2024  # a Raspberry Pi without a network begins in the past
_PACKAGES = ("flask", "werkzeug", "waitress", "click", "structlog")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at; ``text`` says what is, ``hint`` what to do."""

    topic: str
    status: Status
    text: str
    hint: str | None = None


def examine(config: Config) -> Iterator[Finding]:
    """Look at everything, in the order in which things go wrong."""
    running = _ask(config.state_dir)
    yield _python()
    yield packages()
    yield from _configuration(config)
    yield _looked("state folder", lambda: _state_dir(config.state_dir))
    yield running[1]
    yield from _ports(config, None, running)
    yield _looked("disk", lambda: _disk(config.state_dir))
    yield _files(config)
    yield clock(time.time)


def examine_ports(config: Config, names: Collection[str]) -> Iterator[Finding]:
    """Look at the ports of the named apps, or at all there are."""
    yield from _ports(config, names or None, _ask(config.state_dir))


def _ports(
    config: Config, names: Collection[str] | None, running: tuple[int | None, Finding]
) -> Iterator[Finding]:
    own_pid, found = running
    untold = own_pid is None and found.status is not Status.PASS  # one runs, and may hold them
    owner = _owner(config.state_dir) if untold else None
    for name, address in _addresses(config):
        if names is None or name in names:
            topic = f"port of {name}"
            yield _looked(topic, partial(_port, topic, address, own_pid, owner))


def examine_without(error: ConfigError, state_dir: Path | None) -> Iterator[Finding]:
    """Look at what needs no configuration, and say what is wrong with that."""
    yield _python()
    yield packages()
    for problem in error.problems:
        yield Finding(topic="configuration", status=Status.FAIL, text=problem, hint=error.hint)
    if state_dir is not None:
        yield _looked("state folder", lambda: _state_dir(state_dir))
        yield _ask(state_dir)[1]
        yield _looked("disk", lambda: _disk(state_dir))
    yield clock(time.time)


def _looked(topic: str, look: Callable[[], Finding]) -> Finding:
    """Look at one thing; that it can't be looked at is a finding too."""
    try:
        return look()
    except OSError as error:
        where = f" at {error.filename}" if error.filename else ""
        text = f"cannot look{where}: {error.strerror or error}"
        return Finding(topic=topic, status=Status.WARN, text=text, hint="repeat it with sudo")


def _ask(state_dir: Path) -> tuple[int | None, Finding]:
    """Ask a running supervisor how it is; gives its pid too, if it answers."""
    state = StateDir(state_dir)
    try:
        snapshot: dict[str, Any] = Client(state.control_socket).call("snapshot")
    except NotRunning:
        return None, _ok("running", "no supervisor runs with this state folder")
    except ControlError as error:  # one is there, and its lock is held
        text, hint = error.message, error.hint
        return state.locked_by(), Finding(topic="running", status=Status.WARN, text=text, hint=hint)
    bad = [name for name, app in snapshot["apps"].items() if app["state"] != "ready"]
    pid: int = snapshot["pid"]
    text = f"a supervisor runs as pid {pid}, version {snapshot['version']}"
    if bad:
        hint = "see: flask-supervisor status"
        text += f"; not ready: {', '.join(bad)}"
        return pid, Finding(topic="running", status=Status.WARN, text=text, hint=hint)
    return pid, _ok("running", text)


def _ok(topic: str, text: str) -> Finding:
    return Finding(topic=topic, status=Status.PASS, text=text)


def _python() -> Finding:
    text = f"Python {platform.python_version()} at {sys.executable}, {platform.machine()}"
    return _ok("python", text)


def packages(names: Iterable[str] = _PACKAGES) -> Finding:
    """Look for the packages ``names``, and for one that must not be there."""
    found, missing = [], []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    # what a broken pip run left behind has no name
    installed = {(d.metadata["Name"] or "").lower() for d in importlib.metadata.distributions()}
    if "supervisor" in installed:
        return Finding(
            topic="packages",
            status=Status.FAIL,
            text="the package `supervisor` (supervisord) is installed beside this one: both have "
            "the import name supervisor",
            hint="give each a virtual environment of its own: pip uninstall supervisor",
        )
    if missing:
        return Finding(
            topic="packages",
            status=Status.FAIL,
            text=f"missing: {', '.join(missing)}",
            hint=f"pip install {' '.join(missing)}",
        )
    return _ok("packages", ", ".join(found))


def _configuration(config: Config) -> Iterator[Finding]:
    yield _ok("configuration", f"{config.file} is valid, with {len(config.apps)} apps")
    for path in planned(config):
        text = f"{path} is set, but this version doesn't act on it yet"
        yield Finding(topic="configuration", status=Status.WARN, text=text)
    for name, app in config.apps.items():
        if app.enabled and (wrong := _wrong_folder(config.app_path(name))):
            yield Finding(
                topic="configuration",
                status=Status.FAIL,
                text=f"the folder of app {name} {wrong}",
                hint=f"correct apps.{name}.path, or the rights of the folder",
            )


def _wrong_folder(path: Path) -> str | None:
    """Say what keeps this user from working in ``path``."""
    nearest = _nearest(path)
    if nearest != path and not os.access(nearest, os.X_OK):
        return f"can't be reached by this user: {path}, below {nearest} of {_owner(nearest)}"
    if not path.is_dir():
        return f"doesn't exist: {path}"
    if not os.access(path, os.R_OK | os.X_OK):
        return f"can't be read by this user: {path} belongs to {_owner(path)}"
    return None


def _nearest(path: Path) -> Path:
    """Give the path, or the nearest folder above it that can be seen."""
    for one in (path, *path.parents):
        try:
            one.stat()
        except OSError:
            continue
        return one
    return Path("/")


def _owner(path: Path) -> str | None:
    try:
        uid = path.stat().st_uid
    except OSError:
        return None
    return sock_diag.user_name(uid)


def _state_dir(path: Path) -> Finding:
    nearest = _nearest(path)
    if not nearest.is_dir():
        text, hint = f"{nearest} is no folder", "set state_dir in [supervisor] to another place"
        return _bad_state_dir(text, hint)
    if os.statvfs(nearest).f_flag & os.ST_RDONLY:
        text = f"{path} is on a file system that can only be read"
        return _bad_state_dir(text, "a damaged SD card becomes so: look into dmesg")
    may_write = os.access(nearest, os.W_OK | os.X_OK)
    if nearest == path and path.stat().st_uid != os.geteuid():
        return Finding(
            topic="state folder",
            status=Status.WARN if may_write else Status.FAIL,
            text=f"{path} belongs to another user, {_owner(path)}",
            hint="run everything as that user, or with sudo",
        )
    if not may_write:
        text = f"{path} can't be made by this user: {nearest} belongs to {_owner(nearest)}"
        if nearest == path:
            text = f"{path} can't be written: its mode is {path.stat().st_mode & 0o7777:o}"
            return _bad_state_dir(text, f"chmod 700 {path}")
        hint = f"sudo install -d -m 700 -o $USER {path}, or set state_dir in [supervisor]"
        return _bad_state_dir(text, hint)
    return _ok("state folder", f"{path}" + ("" if nearest == path else " (not made yet)"))


def _bad_state_dir(text: str, hint: str) -> Finding:
    return Finding(topic="state folder", status=Status.FAIL, text=text, hint=hint)


def _addresses(config: Config) -> Iterator[tuple[str, Address]]:
    yield "status", Address(*config.status_address)
    for name, app in config.apps.items():
        if app.enabled:
            yield name, Address(*config.address(name))


def _port(topic: str, address: Address, own_pid: int | None, owner: str | None) -> Finding:
    """Say whether the address can be bound, and if not, by whom it is held.

    ``owner`` is the user of a supervisor that doesn't tell us its pid.
    """
    try:
        listeners.close(listeners.bind(address))
    except listeners.BindError as error:
        if error.in_use and address.port is not None:
            return _held(topic, address.port, own_pid, owner)
        if error.in_use and own_pid is not None:
            return _ok(topic, f"{address} is held by the supervisor")
        return Finding(topic=topic, status=Status.FAIL, text=error.reason, hint=error.hint)
    return _ok(topic, f"{address} is free{time_wait_note(address.port)}")


def _held(topic: str, port: int, own_pid: int | None, owner: str | None) -> Finding:
    holders = sock_diag.find_holders(port)
    others = [holder for holder in holders if not _is_of(holder.pid, own_pid)]
    if holders and not others:
        return _ok(topic, f"port {port} is held by the supervisor, pid {own_pid}")
    text = in_use_by(port, others)
    if own_pid is None and owner is not None and {holder.user for holder in others} == {owner}:
        text += "; perhaps by the supervisor of that user"
        hint = "repeat it with sudo to see"
        return Finding(topic=topic, status=Status.WARN, text=text, hint=hint)
    text += time_wait_note(port)
    hint = f"free it with: {sock_diag.next_command(others, port)}"
    return Finding(topic=topic, status=Status.FAIL, text=text, hint=hint)


def _is_of(pid: int | None, own_pid: int | None) -> bool:
    """Say whether a process is the supervisor, or one of its workers: they may bind ports too."""
    while pid is not None and own_pid is not None and pid > 1:
        if pid == own_pid:
            return True
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        pid = int(stat.rpartition(")")[2].split()[1])
    return False


def _disk(path: Path) -> Finding:
    usage = shutil.disk_usage(_nearest(path))
    text = f"{usage.free // 2**20} MiB free of {usage.total // 2**20} MiB for the state folder"
    if usage.free < _DISK_FREE_MIN:
        hint = "free some space: sudo journalctl --vacuum-size=50M"
        return Finding(topic="disk", status=Status.FAIL, text=text, hint=hint)
    return _ok("disk", text)


def _files(config: Config) -> Finding:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_BASE + _FILES_PER_APP * len(config.apps)
    text = f"{soft} open files allowed, about {needed} needed by the main process"
    if soft != resource.RLIM_INFINITY and soft < needed:
        hint = "raise it: ulimit -n 4096, or LimitNOFILE= in the unit"
        return Finding(topic="open files", status=Status.FAIL, text=text, hint=hint)
    return _ok("open files", text)


def clock(wall_time_s: Callable[[], float]) -> Finding:
    """Say whether the wall clock, in seconds since 1970, has been set."""
    now = time.gmtime(wall_time_s())
    text = time.strftime("%Y-%m-%d %H:%M:%S UTC", now)
    if now.tm_year < _FIRST_REAL_YEAR:
        hint = "no decision depends on it; times in the log are wrong until the network is up"
        return Finding(
            topic="clock", status=Status.WARN, text=f"the clock is not set: {text}", hint=hint
        )
    return _ok("clock", text)
