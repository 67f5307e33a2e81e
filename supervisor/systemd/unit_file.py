"""The files of the systemd unit, as text: the shipped unit, and a drop-in for this machine.

systemd.exec(5), systemd.service(5) and systemd.unit(5) describe the keys.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from supervisor.config.settings import Config
from supervisor.systemd import hardware
from supervisor.values.errors import SupervisorError

UNIT = "flask-supervisor.service"
SOCKET = "flask-supervisor.socket"  # optional: no installation writes it
FOLDER = Path("/etc/systemd/system")
DROP_INS = FOLDER / f"{UNIT}.d"
INSTALLATION = DROP_INS / "10-installation.conf"
RESTART_STEPS = DROP_INS / "20-restart-steps.conf"
STATE_DIR = Path("/var/lib/flask-supervisor")  # StateDirectory= of the unit
DEFAULT_USER = "flask-supervisor"
_STEPS_SINCE = 254  # the first version of systemd with RestartSteps=
_PRIVILEGED_PORTS = 1024
_WANTS_MOUNTS_SINCE = 256  # the first version of systemd with WantsMountsFor=
_RUN = Path("/run")
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))  # what ProtectHome= hides

Files = dict[Path, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the unit depends on besides the configuration."""

    user: str
    group: str
    login: bool  # a person's account, with its own files and devices
    command: tuple[str, ...]  # the command line of this installation
    code: tuple[Path, ...]  # the folders that the interpreter reads
    systemd_version: int
    uid: int | None = None  # of the user, if there is one by now
    groups: frozenset[str] = frozenset()  # all groups of the machine


def shipped(name: str = UNIT) -> str:
    """Return the text of a file of systemd/, from the checkout or the virtual environment.

    Raises `SupervisorError` when neither has it.
    """
    checkout = Path(__file__).parents[2] / "systemd" / name
    installed = Path(sys.prefix) / "share" / "flask-supervisor" / "systemd" / name
    for file in (checkout, installed):
        if file.is_file():
            return file.read_text(encoding="utf-8")
    raise SupervisorError(
        f"cannot find {name}: neither {checkout} nor {installed} exists",
        hint="reinstall it: pip install --force-reinstall flask-supervisor",
    )


def own_command() -> tuple[str, ...]:
    """Return the words that run this very installation from any folder."""
    script = Path(sys.executable).parent / "flask-supervisor"
    if script.is_file():
        return (str(script),)
    return (sys.executable, "-P", "-m", "supervisor")


def files(config: Config, machine: Machine) -> Files:
    """Return every file that an installation writes, with its text."""
    found = {FOLDER / UNIT: shipped(), INSTALLATION: installation(config, machine)}
    if machine.systemd_version >= _STEPS_SINCE:
        found[RESTART_STEPS] = _RESTART_STEPS_TEXT
    return found


_RESTART_STEPS_TEXT = f"""\
# Written by `flask-supervisor service install` where systemd is {_STEPS_SINCE} or newer: the
# delay between failed starts grows to 10 s; systemd never gives up.
[Service]
RestartSteps=8
RestartMaxDelaySec=10s
"""


def installation(config: Config, machine: Machine) -> str:
    """Return the drop-in with what differs from machine to machine."""
    start = exec_start(config, machine)
    lines = [
        "# Written by `flask-supervisor service install`, which overwrites it each time. Put your",
        "# own settings into another drop-in: sudo systemctl edit flask-supervisor",
        *_mount_lines(config, machine),
        "[Service]",
        "ExecStart=",
        f"ExecStart={start}",
        "ExecReload=",
        f"ExecReload={_command_line([*machine.command, 'reload', '--config', str(config.file)])}",
        f"User={machine.user}",
        f"Group={machine.group}",
        *_writable_lines(config),
        *_home_lines(config, machine),
        *_port_lines(config),
        *_login_lines(machine),
        *_hardware_lines(config, machine),
        *_socket_lines(config),
    ]
    return "\n".join(lines) + "\n"


def exec_start(config: Config, machine: Machine) -> str:
    """Return the command line of the service."""
    return _command_line(
        [*machine.command, "run", "--last-good-config", "--config", str(config.file)]
    )


def writable_folders(config: Config) -> list[Path]:
    """Return the absolute folders that apps may write to, besides the unit's state folder."""
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
        yield "# folder that doesn't exist when the service starts stays read-only."
    for folder in folders:
        yield f"ReadWritePaths=-{_path(folder)}"


def _home_lines(config: Config, machine: Machine) -> Iterable[str]:
    needed = [config.file.parent, *machine.code, *writable_folders(config)]
    needed += [config.resolve(app.python) for app in config.apps.values() if app.python]
    inside = [one for one in needed if any(home in [one, *one.parents] for home in _HOMES)]
    if inside:
        yield f"# Relaxed: {inside[0]} is in a home folder."
        yield "# Home folders are read-only instead of hidden."
        yield "ProtectHome=read-only"


def _port_lines(config: Config) -> Iterable[str]:
    ports = [config.status.port, *(app.port for app in config.apps.values() if app.enabled)]
    low = [port for port in ports if port is not None and port < _PRIVILEGED_PORTS]
    if low:
        yield f"# Relaxed: a service that isn't root needs this to bind port {low[0]}."
        yield "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"
        yield "AmbientCapabilities=CAP_NET_BIND_SERVICE"


def _login_lines(machine: Machine) -> Iterable[str]:
    if machine.login:
        yield f"# Relaxed: apps of {machine.user} may use the devices that {machine.user} may use"
        yield "# (GPIO, serial ports, cameras); its groups decide."
        yield "PrivateDevices=no"
        yield "ProtectClock=no"
    if machine.login and machine.uid:
        yield "# As in a login of that user: for sound, and the user's own services."
        yield f"Environment=XDG_RUNTIME_DIR=/run/user/{machine.uid}"


def hardware_of(config: Config) -> list[str]:
    """Return the kinds of hardware that apps need."""
    apps = [app for app in config.apps.values() if app.enabled]
    return sorted({kind for app in apps for kind in app.hardware})


def _hardware_lines(config: Config, machine: Machine) -> Iterable[str]:
    kinds = hardware_of(config)
    found = list(hardware.lines(kinds, machine.groups))
    if machine.login:  # who may use all devices that the user may use
        found = [one for one in found if not one.startswith(("Private", "Device"))]
    if found:
        yield f"# Relaxed: apps need {', '.join(kinds)} (`hardware`)."
        yield from found


def _socket_lines(config: Config) -> Iterable[str]:
    """Yield what the Unix sockets of apps need: folders in /run last no longer than a boot."""
    hosts = [config.address(name)[0] for name, app in config.apps.items() if app.enabled]
    paths = [Path(host.removeprefix("unix:")) for host in hosts if host.startswith("unix:")]
    folders = dict.fromkeys(path.parent for path in paths)
    in_run = [one.relative_to(_RUN) for one in folders if _RUN in one.parents]
    if in_run:
        yield "# The folders of Unix sockets, for a reverse proxy of another user."
        yield f"RuntimeDirectory={' '.join(_path(one) for one in in_run)}"
        yield "RuntimeDirectoryMode=0755"
        yield "RuntimeDirectoryPreserve=restart"
    for folder in folders:
        if folder != _RUN and _RUN not in folder.parents:
            yield f"ReadWritePaths=-{_path(folder)}"


def _mount_lines(config: Config, machine: Machine) -> Iterable[str]:
    """Yield the mounts to wait for: those of every folder that the configuration names.

    RequiresMountsFor= would keep the service from starting, and so every port from answering, when
    one disk is missing. WantsMountsFor= is of systemd 256; earlier, its parts are written out:
    systemd.unit(5).
    """
    folders = [config.file.parent, config.state_dir]
    for app in config.apps.values():
        if app.enabled:
            named = [app.path, *app.writable, *(one for one in (app.python, app.env_file) if one)]
            folders += [config.resolve(one) for one in named]
    requirements = [*config.requires, *(one for a in config.apps.values() for one in a.requires)]
    folders += [config.resolve(one.path) for one in requirements if one.path]
    named = [str(one) for one in dict.fromkeys(folders) if one != Path("/")]
    yield "[Unit]"
    yield f"# As RequiresMountsFor={' '.join(map(_quoted, named))}, but"
    yield "# a disk that is missing keeps no port from being answered."
    if machine.systemd_version >= _WANTS_MOUNTS_SINCE:
        yield f"WantsMountsFor={' '.join(map(_quoted, named))}"
        return
    paths = {one for folder in named for one in [Path(folder), *Path(folder).parents]}
    mounts = sorted(mount_unit(one) for one in paths - {Path("/")})
    for key in ("Wants", "After"):
        yield f"{key}={' '.join(mounts)}"


def mount_unit(folder: Path) -> str:
    """Return the name of the unit that mounts ``folder``: systemd.unit(5), "String escaping"."""
    text = "/".join(folder.parts[1:])
    name = "".join(
        "-" if char == "/" else char if _is_plain(char, place) else _escaped(char)
        for place, char in enumerate(text)
    )
    return f"{name}.mount"


def _is_plain(char: str, place: int) -> bool:
    return (char.isascii() and char.isalnum()) or char in ":_" or (char == "." and place > 0)


def _escaped(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode())


def _command_line(words: list[str]) -> str:
    """Return ``words`` quoted for ExecStart=: systemd.service(5), "Command lines"."""
    return " ".join(_quoted(word.replace("$", "$$")) for word in words)


def _path(path: Path) -> str:
    return _quoted(str(path))


def _quoted(word: str) -> str:
    """Return ``word`` quoted (systemd.syntax(7)); a percent sign would begin a specifier."""
    word = word.replace("%", "%%")
    if word and not any(c.isspace() or c in "\"'\\;" for c in word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
