"""What `doctor` looks at in the systemd service: there, running, ours, unchanged, alone."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from supervisor.client import Client
from supervisor.config.settings import Config
from supervisor.doctor.machine import Finding
from supervisor.files.state_dir import StateDir, lock_holder
from supervisor.systemd import installation, sandbox, systemctl, unit_file
from supervisor.values.errors import ControlError, SupervisorError
from supervisor.values.states import Status

_INSTALL = "sudo flask-supervisor service install"
_TOPIC = "service"


def examine_service(config: Config) -> Iterator[Finding]:
    """Look at the unit, at copies beside it, at the journal, and at what its sandbox forbade."""
    if not systemctl.is_available():
        yield _ok("systemd does not run this machine: nothing starts a supervisor at boot")
        return
    names = ("LoadState", "UnitFileState", "ActiveState", "SubState", "StatusText", "MainPID")
    unit = systemctl.properties(unit_file.UNIT, *names)
    if unit["LoadState"] != "loaded":
        yield _warn("not installed: after a boot nothing starts the supervisor", _INSTALL)
        yield from _copies(config, None)
        return
    yield _running(unit)
    if unit["UnitFileState"] != "enabled":
        yield _warn(
            f"not enabled ({unit['UnitFileState'] or 'unknown'}): a boot does not start it",
            f"sudo systemctl enable {unit_file.UNIT}",
        )
    yield _unchanged(config)
    yield from _copies(config, int(unit["MainPID"] or 0))
    yield _journal()
    yield from _forbidden(config)


def _ok(text: str) -> Finding:
    return Finding(topic=_TOPIC, status=Status.PASS, text=text)


def _warn(text: str, hint: str | None = None) -> Finding:
    return Finding(topic=_TOPIC, status=Status.WARN, text=text, hint=hint)


def _running(unit: dict[str, str]) -> Finding:
    words = f": {unit['StatusText']}" if unit["StatusText"] else ""
    if unit["ActiveState"] in ("active", "reloading"):
        return _ok(f"runs as pid {unit['MainPID']}{words}")
    return Finding(
        topic=_TOPIC,
        status=Status.FAIL,
        text=f"does not run: {unit['ActiveState']} ({unit['SubState']}){words}",
        hint=f"sudo systemctl start flask-supervisor; see: journalctl -u {unit_file.UNIT} -n 30",
    )


def _unchanged(config: Config) -> Finding:
    """Compare what is installed with what would be installed, from here and now."""
    try:
        machine = installation.machine_for(installation.installed_user() or unit_file.DEFAULT_USER)
        wanted = unit_file.files(config, machine)
    except (KeyError, SupervisorError) as error:
        return _warn(f"can't be compared with what would be installed: {error}", _INSTALL)
    start = installation.installed_start()
    own = unit_file.exec_start(config, machine)
    if start is not None and start != own:
        return _warn(
            f"runs something else than this: {start}",
            f"to run this installation with {config.file}: {_INSTALL}",
        )
    differing = installation.outdated_files(wanted)
    if differing:
        files = ", ".join(map(str, differing))
        return _warn(
            f"not as an installation would write it now: {files}",
            f"{_INSTALL} (settings of your own belong into: sudo systemctl edit flask-supervisor)",
        )
    return _ok("the unit is as an installation would write it")


def _copies(config: Config, main_pid: int | None) -> Iterator[Finding]:
    """Name supervisors that systemd did not start."""
    pids = {pid: command for pid, command in _supervisors() if pid != main_pid}
    holder = lock_holder(config.state_dir)
    if holder is not None:
        with contextlib.suppress(ValueError, IndexError):
            pid = int(holder.split()[1].rstrip(","))
            if pid != main_pid:
                pids.setdefault(pid, "flask-supervisor run")
    for pid, command in pids.items():
        if main_pid is None:
            yield _ok(f"a copy runs by hand as pid {pid} ({command})")
        else:
            hint = f"end it, so that the service has the ports: sudo kill {pid}"
            yield _warn(f"a copy runs by hand beside it, as pid {pid} ({command})", hint)


def _supervisors() -> Iterator[tuple[int, str]]:
    """Give the main processes of all supervisors that can be seen, with their commands."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if _is_supervisor(words):
                    found[int(entry.name)] = " ".join(words).strip()
    for pid, command in found.items():
        if _parent(pid) not in found and f"{unit_file.UNIT}" not in _cgroup(pid):
            yield pid, command


def _is_supervisor(words: list[str]) -> bool:
    """Say whether a command line is one of ``flask-supervisor run`` or ``-m supervisor run``."""
    for number, word in enumerate(words[:-1]):
        if words[number + 1] == "run" and (
            Path(word).name == "flask-supervisor"
            or (word == "supervisor" and number > 0 and words[number - 1] == "-m")
        ):
            return True
    return False


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _cgroup(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cgroup").read_text()
    return ""


def _journal() -> Finding:
    done = systemctl.journal(unit_file.UNIT, 1)
    if done.returncode == 0 and done.stdout.strip():
        return _ok("its log can be read: journalctl -u flask-supervisor")
    return _warn(
        "its log can't be read by this user" if os.geteuid() else "its log is empty",
        "use sudo, or: sudo usermod -aG systemd-journal $USER (and log in again)"
        if os.geteuid()
        else "look at: systemctl status systemd-journald",
    )


def _forbidden(config: Config) -> Iterator[Finding]:
    """Name folders that apps tried to write to and that the unit's sandbox keeps read-only."""
    client = Client(StateDir(config.state_dir).control_socket)
    allowed = [config.state_dir, *unit_file.writable_folders(config)]
    for name, app in config.apps.items():
        if not app.enabled:
            continue
        try:
            lines: list[dict[str, Any]] = client.call("logs", app=name)["lines"]
        except ControlError:
            return  # nobody to ask, which is said elsewhere
        for path in sandbox.forbidden_paths(line["text"] for line in lines):
            folder = sandbox.folder_to_allow(path)
            if not any(one in [folder, *folder.parents] for one in allowed):
                yield Finding(
                    topic=_TOPIC,
                    status=Status.FAIL,
                    text=f"app {name} may not write {path}: the service's sandbox forbids it",
                    hint=f'add "{folder}" to `writable` in [apps.{name}], then: {_INSTALL}',
                )
