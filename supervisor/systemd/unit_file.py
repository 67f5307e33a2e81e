"""The files of the systemd unit, as text: what ships, and what differs between machines.

Keys are described in systemd.exec(5), systemd.service(5) and systemd.unit(5).
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from supervisor.config.settings import Config
from supervisor.values.errors import SupervisorError

UNIT = "flask-supervisor.service"
SOCKET = "flask-supervisor.socket"  # for those who want it: no installation writes it
FOLDER = Path("/etc/systemd/system")
DROP_INS = FOLDER / f"{UNIT}.d"
INSTALLATION = DROP_INS / "10-installation.conf"
RESTART_STEPS = DROP_INS / "20-restart-steps.conf"
STATE_DIR = Path("/var/lib/flask-supervisor")  # StateDirectory= of the unit
DEFAULT_USER = "flask-supervisor"
_STEPS_SINCE = 254  # systemd's version that knows RestartSteps=
_PRIVILEGED_PORTS = 1024
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))  # what ProtectHome= hides

Files = dict[Path, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the unit depends on beside the configuration."""

    user: str
    group: str
    login: bool  # a person's account, with files and devices of its own
    command: tuple[str, ...]  # what runs this installation
    code: tuple[Path, ...]  # the folders that the interpreter reads
    systemd_version: int


def shipped(name: str = UNIT) -> str:
    """Give a file of systemd/ as it ships: from the checkout, or from the environment.

    Raises `SupervisorError` for an installation without it.
    """
    checkout = Path(__file__).parents[2] / "systemd" / name
    installed = Path(sys.prefix) / "share" / "flask-supervisor" / "systemd" / name
    for file in (checkout, installed):
        if file.is_file():
            return file.read_text(encoding="utf-8")
    raise SupervisorError(
        f"cannot find {name}: neither {checkout} nor {installed} exists",
        hint="install flask-supervisor anew: pip install --force-reinstall flask-supervisor",
    )


def own_command() -> tuple[str, ...]:
    """Give the words that run this very installation from anywhere."""
    script = Path(sys.executable).parent / "flask-supervisor"
    if script.is_file():
        return (str(script),)
    return (sys.executable, "-P", "-m", "supervisor")


def files(config: Config, machine: Machine) -> Files:
    """Give every file that an installation has, with its text."""
    found = {FOLDER / UNIT: shipped(), INSTALLATION: installation(config, machine)}
    if machine.systemd_version >= _STEPS_SINCE:
        found[RESTART_STEPS] = _RESTART_STEPS_TEXT
    return found


_RESTART_STEPS_TEXT = f"""\
# Written by `flask-supervisor service install` where systemd is {_STEPS_SINCE} or newer: one
# that can't even start is tried less and less often, up to every 10 s, for ever.
[Service]
RestartSteps=8
RestartMaxDelaySec=10s
"""


def installation(config: Config, machine: Machine) -> str:
    """Give the drop-in with what is particular to this machine."""
    start = exec_start(config, machine)
    lines = [
        "# Written by `flask-supervisor service install`, which writes it anew each time. Settings",
        "# of your own belong into another drop-in: sudo systemctl edit flask-supervisor",
        "[Service]",
        "ExecStart=",
        f"ExecStart={start}",
        f"User={machine.user}",
        f"Group={machine.group}",
        *_writable_lines(config),
        *_home_lines(config, machine),
        *_port_lines(config),
        *_login_lines(machine),
    ]
    return "\n".join(lines) + "\n"


def exec_start(config: Config, machine: Machine) -> str:
    """Give the command line of the service."""
    return _command_line(
        [*machine.command, "run", "--last-good-config", "--config", str(config.file)]
    )


def writable_folders(config: Config) -> list[Path]:
    """Give what apps may write to, beside the unit's own state folder: absolute, each once."""
    folders = [config.state_dir]
    for name, app in config.apps.items():
        folders += [config.resolve(folder) for folder in app.writable]
        folders.append(config.app_path(name))
    outside = [one for one in folders if one != STATE_DIR and STATE_DIR not in one.parents]
    return [one for one in dict.fromkeys(outside) if one != Path("/")]


def _writable_lines(config: Config) -> Iterable[str]:
    folders = writable_folders(config)
    if folders:
        yield "# The state folder, `writable` of each app, and the code that `deploy` replaces. A"
        yield "# folder that is missing when the service starts stays read-only."
    for folder in folders:
        yield f"ReadWritePaths=-{_path(folder)}"


def _home_lines(config: Config, machine: Machine) -> Iterable[str]:
    needed = [config.file.parent, *machine.code, *writable_folders(config)]
    needed += [config.resolve(app.python) for app in config.apps.values() if app.python]
    inside = [one for one in needed if any(home in [one, *one.parents] for home in _HOMES)]
    if inside:
        yield f"# Relaxed: {inside[0]} lies in a home folder."
        yield "# Homes are read-only instead of hidden."
        yield "ProtectHome=read-only"


def _port_lines(config: Config) -> Iterable[str]:
    ports = [config.status.port, *(app.port for app in config.apps.values() if app.enabled)]
    low = [port for port in ports if port is not None and port < _PRIVILEGED_PORTS]
    if low:
        yield f"# Relaxed: only with this may a service that isn't root bind port {low[0]}."
        yield "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"
        yield "AmbientCapabilities=CAP_NET_BIND_SERVICE"


def _login_lines(machine: Machine) -> Iterable[str]:
    if machine.login:
        yield f"# Relaxed: apps of {machine.user} may use the devices that {machine.user} may use"
        yield "# (GPIO, serial ports, cameras); its groups decide."
        yield "PrivateDevices=no"
        yield "ProtectClock=no"


def _command_line(words: list[str]) -> str:
    """Quote for ExecStart=: systemd.service(5), "Command lines"."""
    return " ".join(_quoted(word.replace("$", "$$")) for word in words)


def _path(path: Path) -> str:
    return _quoted(str(path))


def _quoted(word: str) -> str:
    """Quote as systemd.syntax(7) has it; a percent sign would begin a specifier."""
    word = word.replace("%", "%%")
    if word and not any(c.isspace() or c in "\"'\\;" for c in word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
