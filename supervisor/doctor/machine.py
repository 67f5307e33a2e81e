"""Runs all diagnoses that need no systemd: packages, configuration, folders, ports, limits."""

import importlib.metadata
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from supervisor.config.settings import Config
from supervisor.doctor.diagnosis import Diagnosis, failed, guarded, passed, warned
from supervisor.doctor.ports import ask_running, diagnose_ports, owner_of
from supervisor.policy import capacity
from supervisor.process.limits import limits_of
from supervisor.values.errors import ConfigError

_DISK_FREE_MIN = 50 * 1024 * 1024
_FIRST_REAL_YEAR = 2024  # a Raspberry Pi without a network boots in the past
_PACKAGES = (
    *("flask", "werkzeug", "waitress", "click", "structlog"),
    "prometheus-client",
)
_STATE_FOLDER = "state folder"


def diagnose(config: Config) -> Iterator[Diagnosis]:
    """Diagnose everything, in the order in which a start would fail."""
    running = ask_running(config.state_dir)
    yield _python()
    yield packages()
    yield from _configuration(config)
    yield guarded(_STATE_FOLDER, lambda: _state_dir(config.state_dir))
    yield running.diagnosis
    yield from diagnose_ports(config, None, running)
    yield guarded("disk", lambda: _disk(config.state_dir))
    yield guarded("limits", lambda: _limits(config, running.pid))
    yield clock(time.time)


def diagnose_app_ports(config: Config, names: Collection[str]) -> Iterator[Diagnosis]:
    """Diagnose the ports of the named apps; without names, all of them."""
    yield from diagnose_ports(config, names or None, ask_running(config.state_dir))


def diagnose_without_config(error: ConfigError, state_dir: Path | None) -> Iterator[Diagnosis]:
    """Report each problem of the configuration, and diagnose what doesn't depend on it."""
    yield _python()
    yield packages()
    for problem in error.problems:
        yield failed("configuration", problem, error.hint)
    if state_dir is not None:
        yield guarded(_STATE_FOLDER, lambda: _state_dir(state_dir))
        yield ask_running(state_dir).diagnosis
        yield guarded("disk", lambda: _disk(state_dir))
    yield clock(time.time)


def _python() -> Diagnosis:
    text = f"Python {platform.python_version()} at {sys.executable}, {platform.machine()}"
    return passed("python", text)


def packages(names: Iterable[str] = _PACKAGES) -> Diagnosis:
    """Check that the packages ``names`` are installed, and that supervisord is not."""
    found, missing = [], []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    # an interrupted pip leaves distributions without a name
    installed = {(d.metadata["Name"] or "").lower() for d in importlib.metadata.distributions()}
    if "supervisor" in installed:
        return failed(
            "packages",
            "the package `supervisor` (supervisord) is installed in this virtual environment: it "
            "has the same import name as flask-supervisor",
            "remove it here (pip uninstall supervisor), and give it an environment of its own",
        )
    if missing:
        return failed(
            "packages", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}"
        )
    return passed("packages", ", ".join(found))


def _configuration(config: Config) -> Iterator[Diagnosis]:
    yield passed("configuration", f"{config.file} is valid, with {len(config.apps)} apps")
    for name, app in config.apps.items():
        if app.enabled and (problem := _folder_problem(config.app_path(name))):
            hint = f"correct apps.{name}.path, or the permissions of the folder"
            yield failed("configuration", f"app {name}: {problem}", hint)


def _folder_problem(path: Path) -> str | None:
    """Return what keeps this user from working in ``path``, None for nothing."""
    nearest = _nearest(path)
    if nearest != path and not os.access(nearest, os.X_OK):
        return f"cannot enter its folder {path}: {nearest} belongs to {owner_of(nearest)}"
    if not path.is_dir():
        return f"its folder {path} does not exist"
    if not os.access(path, os.R_OK | os.X_OK):
        return f"cannot read its folder {path}: it belongs to {owner_of(path)}"
    return None


def _nearest(path: Path) -> Path:
    """Return ``path``, or the nearest folder above it that this user can see."""
    for one in (path, *path.parents):
        try:
            one.stat()
        except OSError:
            continue
        return one
    return Path("/")


def _state_dir(path: Path) -> Diagnosis:
    nearest = _nearest(path)
    if not nearest.is_dir():
        hint = "set state_dir in [supervisor] to another folder"
        return failed(_STATE_FOLDER, f"{nearest} is not a folder", hint)
    if os.statvfs(nearest).f_flag & os.ST_RDONLY:
        text = f"{path} is on a read-only file system"
        return failed(_STATE_FOLDER, text, "a worn-out SD card turns read-only: see dmesg")
    may_write = os.access(nearest, os.W_OK | os.X_OK)
    if nearest == path and path.stat().st_uid != os.geteuid():
        outcome = warned if may_write else failed
        text = f"{path} belongs to another user, {owner_of(path)}"
        return outcome(_STATE_FOLDER, text, "run every command as that user, or with sudo")
    if not may_write and nearest == path:
        text = f"cannot write to {path}: its mode is {path.stat().st_mode & 0o7777:o}"
        return failed(_STATE_FOLDER, text, f"chmod 700 {path}")
    if not may_write:
        text = f"cannot create {path}: {nearest} belongs to {owner_of(nearest)}"
        create = f"sudo install -d -m 700 -o $USER {shlex.quote(str(path))}"
        hint = f"{create}, or set state_dir in [supervisor]"
        return failed(_STATE_FOLDER, text, hint)
    return passed(_STATE_FOLDER, f"{path}" + ("" if nearest == path else " (not created yet)"))


def _disk(path: Path) -> Diagnosis:
    usage = shutil.disk_usage(_nearest(path))
    text = f"{usage.free // 2**20} MiB of {usage.total // 2**20} MiB free for the state folder"
    if usage.free < _DISK_FREE_MIN:
        return failed("disk", text, "free some space: sudo journalctl --vacuum-size=50M")
    return passed("disk", text)


def _limits(config: Config, pid: int | None) -> Diagnosis:
    """Diagnose the limits of the supervisor that runs; without one, those of this command."""
    apps = [app for app in config.apps.values() if app.enabled]
    limits = limits_of(os.getpid() if pid is None else pid)
    files, tasks = capacity.files_needed(apps), capacity.tasks_needed(apps)
    whose = "of this shell" if pid is None else f"of the supervisor, {limits.files_open} open"
    text = f"{limits.files or 'any number of'} open files ({whose}), about {files} are needed"
    if limits.tasks_max is not None:
        text += f"; {limits.tasks_max} processes and threads, {limits.tasks} more may be started"
        text += f", about {tasks} are needed for all apps"
    if pid is not None:  # its workers have theirs already
        limits = replace(limits, tasks=None)
    shortage = capacity.warning(limits, apps)
    if shortage is not None:
        return failed("limits", text, shortage.hint)
    return passed("limits", text)


def clock(wall_time_s: Callable[[], float]) -> Diagnosis:
    """Check that the wall clock (seconds since 1970) has been set."""
    now = datetime.fromtimestamp(wall_time_s(), UTC).astimezone()
    text = now.isoformat(sep=" ", timespec="seconds")
    if now.year < _FIRST_REAL_YEAR:
        hint = "times in the log are wrong until the network is up; no decision depends on them"
        return warned("clock", f"the clock is not set: {text}", hint)
    return passed("clock", text)
