"""Diagnoses the systemd service: installed, running, up to date, and the only supervisor."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from supervisor.client import Client
from supervisor.config.installed import installed_value
from supervisor.config.settings import Config
from supervisor.doctor.diagnosis import Diagnosis, failed, passed, warned
from supervisor.files.state_dir import StateDir, lock_holder
from supervisor.ports.conflict import runs_supervisor
from supervisor.process.proc_stat import read_stat
from supervisor.systemd import installation, preflight, sandbox, systemctl, unit_file
from supervisor.values.errors import ControlError, SupervisorError

_INSTALL = "sudo flask-supervisor service install"
_TOPIC = "service"


def diagnose_service(config: Config) -> Iterator[Diagnosis]:
    """Diagnose the unit, other supervisors, the journal, and what the sandbox forbade."""
    if not systemctl.is_available():
        text = "systemd does not run this machine: nothing starts a supervisor at boot"
        yield passed(_TOPIC, text)
        return
    names = ("LoadState", "UnitFileState", "ActiveState", "SubState", "StatusText", "MainPID")
    unit = systemctl.properties(unit_file.UNIT, *names)
    if unit["LoadState"] != "loaded":
        yield warned(_TOPIC, "not installed: nothing starts the supervisor at boot", _INSTALL)
        yield from _other_supervisors(config, None)
        return
    yield _running(unit)
    if unit["UnitFileState"] != "enabled":
        state = unit["UnitFileState"] or "unknown"
        text = f"not enabled ({state}): it does not start at boot"
        yield warned(_TOPIC, text, f"sudo systemctl enable {unit_file.UNIT}")
    yield _up_to_date(config)
    for note in preflight.missing_folders(config):
        text, _, hint = note.partition("; ")
        yield warned(_TOPIC, text, hint)
    yield from _other_supervisors(config, int(unit["MainPID"] or 0))
    yield _journal()
    yield from _forbidden(config)


def _running(unit: dict[str, str]) -> Diagnosis:
    status = f": {unit['StatusText']}" if unit["StatusText"] else ""
    if unit["ActiveState"] in ("active", "reloading"):
        return passed(_TOPIC, f"running as pid {unit['MainPID']}{status}")
    return failed(
        _TOPIC,
        f"not running: {unit['ActiveState']} ({unit['SubState']}){status}",
        f"sudo systemctl start flask-supervisor; see: journalctl -u {unit_file.UNIT} -n 30",
    )


def _up_to_date(config: Config) -> Diagnosis:
    """Compare the installed files with what `service install` would write now."""
    try:
        machine = installation.machine_for(installed_value("User") or unit_file.DEFAULT_USER)
        wanted = unit_file.files(config, machine)
    except (KeyError, SupervisorError) as error:
        return warned(_TOPIC, f"cannot compare the unit with this installation: {error}", _INSTALL)
    start = installed_value("ExecStart")
    own = unit_file.exec_start(config, machine)
    if start is not None and start != own:
        return warned(
            _TOPIC,
            f"the unit runs another command: {start}",
            f"to run this installation with {config.file}: {_INSTALL}",
        )
    outdated = installation.outdated_files(wanted)
    if outdated:
        return warned(
            _TOPIC,
            f"differs from what `service install` would write: {', '.join(map(str, outdated))}",
            f"{_INSTALL} (put your own settings into: sudo systemctl edit flask-supervisor)",
        )
    return passed(_TOPIC, "the unit is up to date")


def _other_supervisors(config: Config, main_pid: int | None) -> Iterator[Diagnosis]:
    """Name the supervisors that systemd did not start; ``main_pid`` is the unit's, if it exists."""
    pids = {pid: command for pid, command in _supervisors() if pid != main_pid}
    holder = lock_holder(config.state_dir)
    if holder is not None:
        with contextlib.suppress(ValueError, IndexError):
            pid = int(holder.split()[1].rstrip(","))
            if pid != main_pid:
                pids.setdefault(pid, "flask-supervisor run")
    for pid, command in pids.items():
        if main_pid is None:
            yield passed(_TOPIC, f"a supervisor runs without systemd, as pid {pid} ({command})")
        else:
            text = f"another supervisor runs beside the service, as pid {pid} ({command})"
            hint = "only one of them can have a port: end that one where it was started (Ctrl-C)"
            yield warned(_TOPIC, text, hint)


def _supervisors() -> Iterator[tuple[int, str]]:
    """Yield the pid and command line of every main process that this user can see."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if runs_supervisor(words):
                    found[int(entry.name)] = " ".join(words).strip()
    for pid, command in found.items():
        stat = read_stat(pid)
        if stat is not None and stat.parent not in found and unit_file.UNIT not in _cgroup(pid):
            yield pid, command


def _cgroup(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cgroup").read_text()
    return ""


def _journal() -> Diagnosis:
    done = systemctl.journal(unit_file.UNIT, 1)
    if done.returncode == 0 and done.stdout.strip():
        return passed(_TOPIC, "its log can be read: journalctl -u flask-supervisor")
    if os.geteuid() == 0:
        return warned(_TOPIC, "its log is empty", "see: systemctl status systemd-journald")
    hint = "use sudo, or: sudo usermod -aG systemd-journal $USER (then log in again)"
    return warned(_TOPIC, "this user cannot read its log", hint)


def _forbidden(config: Config) -> Iterator[Diagnosis]:
    """Name what apps tried to do, or to write, and what the unit's sandbox forbids."""
    client = Client(StateDir(config.state_dir).control_socket)
    allowed = [config.state_dir, *unit_file.writable_folders(config)]
    for name, app in config.apps.items():
        if not app.enabled:
            continue
        try:
            lines: list[dict[str, Any]] = client.call("logs", app=name)["lines"]
        except ControlError:
            return  # no supervisor answers: `ports.ask_running` reports it
        for rule in sandbox.rules_for("\n".join(line["text"] for line in lines)):
            yield failed(_TOPIC, f"app {name} could not do something: {rule.shown}", rule.hint)
        for path in sandbox.forbidden_paths(line["text"] for line in lines):
            folder = sandbox.folder_to_allow(path)
            if not any(one in [folder, *folder.parents] for one in allowed):
                yield failed(
                    _TOPIC,
                    f"app {name} may not write {path}: the service's sandbox forbids it",
                    f'add "{folder}" to `writable` in [apps.{name}], then: {_INSTALL}',
                )
