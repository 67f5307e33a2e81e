"""Looks for everything that commonly keeps a supervisor from working; changes nothing."""

import importlib.metadata
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor import listeners, sockdiag
from supervisor.client import Client
from supervisor.conflict import public
from supervisor.effective import planned
from supervisor.errors import ControlError, NotRunning
from supervisor.listeners import Address
from supervisor.model import Status
from supervisor.settings import Config
from supervisor.statedir import StateDir

_DISK_FREE_MIN = 50 * 1024 * 1024
_FILES_PER_APP = 6  # listener, channel, output, and room for a replacement
_FILES_BASE = 64
_FIRST_REAL_YEAR = 2024  # a Raspberry Pi without a network begins in the past
_PACKAGES = ("flask", "werkzeug", "waitress", "attrs", "cattrs", "click", "structlog")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at; ``text`` says what is, ``hint`` what to do."""

    topic: str
    status: Status
    text: str
    hint: str | None = None


def examine(config: Config) -> Iterator[Finding]:
    """Look at everything, in the order in which things go wrong."""
    picture, running = _ask(config)
    yield _python()
    yield _packages()
    yield from _configuration(config)
    yield _state_dir(config.state_dir)
    yield running
    for topic, address in _addresses(config):
        yield _port(topic, address, picture["pid"] if picture else None)
    yield _disk(config.state_dir)
    yield _files(config)
    yield _clock(time.time)


def _ask(config: Config) -> tuple[dict[str, Any] | None, Finding]:
    """Ask a running supervisor for its picture; tell why there is none."""
    client = Client(StateDir(config.state_dir).control_socket)
    try:
        picture = client.call("snapshot")
    except NotRunning:
        return None, _ok("running", "no supervisor runs with this state folder")
    except ControlError as error:
        return None, Finding(
            topic="running", status=Status.WARN, text=error.message, hint=error.hint
        )
    bad = [name for name, app in picture["apps"].items() if app["state"] != "ready"]
    text = f"a supervisor runs as pid {picture['pid']}, version {picture['version']}"
    if bad:
        hint = "see: flask-supervisor status"
        text += f"; not ready: {', '.join(bad)}"
        return picture, Finding(topic="running", status=Status.WARN, text=text, hint=hint)
    return picture, _ok("running", text)


def _ok(topic: str, text: str) -> Finding:
    return Finding(topic=topic, status=Status.PASS, text=text)


def _python() -> Finding:
    text = f"Python {platform.python_version()} at {sys.executable}, {platform.machine()}"
    return _ok("python", text)


def _packages() -> Finding:
    found, missing = [], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    names = {d.metadata["Name"].lower() for d in importlib.metadata.distributions()}
    if "supervisor" in names:
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
        if app.enabled and not config.app_path(name).is_dir():
            yield Finding(
                topic="configuration",
                status=Status.FAIL,
                text=f"the folder of app {name} doesn't exist: {config.app_path(name)}",
                hint=f"correct apps.{name}.path",
            )


def _state_dir(path: Path) -> Finding:
    existing = path
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK | os.X_OK):
        owner = existing.owner()
        return Finding(
            topic="state folder",
            status=Status.FAIL,
            text=f"{path} can't be written by this user: {existing} belongs to {owner}",
            hint=f"sudo chown -R $USER {existing}, or set state_dir in [supervisor]",
        )
    mine = existing.stat().st_uid == os.geteuid()
    if path.exists() and not mine:
        return Finding(
            topic="state folder",
            status=Status.WARN,
            text=f"{path} belongs to another user, {existing.owner()}",
            hint="run the commands as that user, or with sudo",
        )
    return _ok("state folder", f"{path}" + ("" if path.exists() else " (not made yet)"))


def _addresses(config: Config) -> Iterator[tuple[str, Address]]:
    yield "port of status", Address(*config.status_address)
    for name, app in config.apps.items():
        if app.enabled:
            yield f"port of {name}", Address(*config.address(name))


def _port(topic: str, address: Address, own_pid: int | None) -> Finding:
    """Say whether the address can be bound, and if not, by whom it is held."""
    try:
        listeners.close(listeners.bind(address))
    except listeners.BindError as error:
        if error.in_use and address.port is not None:
            return _held(topic, address.port, own_pid)
        if error.in_use and own_pid is not None:
            return _ok(topic, f"{address} is held by the supervisor")
        return Finding(topic=topic, status=Status.FAIL, text=error.reason, hint=error.hint)
    waiting = _time_wait(address.port)
    note = f"; {waiting} connections in TIME_WAIT, which never block it" if waiting else ""
    return _ok(topic, f"{address} is free{note}")


def _held(topic: str, port: int, own_pid: int | None) -> Finding:
    holders = sockdiag.find_holders(port)
    others = [holder for holder in holders if holder.pid != own_pid]
    if len(others) < len(holders) and not others:
        return _ok(topic, f"port {port} is held by the supervisor, pid {own_pid}")
    names = " and ".join(sockdiag.describe(public(holder)) for holder in others) or "somebody"
    return Finding(
        topic=topic,
        status=Status.FAIL,
        text=f"port {port} is in use by {names}",
        hint=f"free it with: {sockdiag.next_command(others, port)}",
    )


def _time_wait(port: int | None) -> int:
    if port is None:
        return 0
    try:
        return sockdiag.time_wait_count(port)
    except OSError:
        return 0  # a kernel without sock_diag: only a note is missing


def _disk(path: Path) -> Finding:
    existing = path
    while not existing.exists():
        existing = existing.parent
    usage = shutil.disk_usage(existing)
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


def _clock(wall_time_s: Callable[[], float]) -> Finding:
    now = time.gmtime(wall_time_s())
    text = time.strftime("%Y-%m-%d %H:%M:%S UTC", now)
    if now.tm_year < _FIRST_REAL_YEAR:
        hint = "no decision depends on it; times in the log are wrong until the network is up"
        return Finding(
            topic="clock", status=Status.WARN, text=f"the clock is not set: {text}", hint=hint
        )
    return _ok("clock", text)
