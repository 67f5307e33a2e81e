"""Reads the configuration file, and says everything that is wrong with it at once.

The classes below are the configuration; a key that no class has is an error. Each value has a
rule of its own (`Rule`), so that one run shows every mistake with its key path, its value and
what is accepted.
"""

import os
import re
import socket
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs

from supervisor.errors import ConfigError
from supervisor.structuring import Rule, shown, structure

FILE_VARIABLE = "FLASK_SUPERVISOR_CONFIG"
SEARCHED = (
    Path("supervisor.toml"),
    Path("config/supervisor.toml"),
    Path("/etc/flask-supervisor/supervisor.toml"),
)
RESERVED_NAMES = frozenset({"status", "all"})

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(\))?")


def _is_host(value: str) -> bool:
    if value == "localhost" or (value.startswith("unix:") and len(value) > len("unix:")):
        return True
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, value)
        except OSError:
            continue
        return True
    return False


Port = Annotated[int, Rule("a port number from 1 to 65535", lambda v: 1 <= v <= 65535)]
Host = Annotated[
    str,
    Rule('a numeric IPv4 or IPv6 address, "localhost" or "unix:/path/of/socket"', _is_host),
]
Seconds = Annotated[float, Rule("a number of seconds above 0", lambda v: 0 < v < float("inf"))]
Factor = Annotated[float, Rule("a number from 1 to 10", lambda v: 1 <= v <= 10)]
Attempts = Annotated[int, Rule("a whole number from 1 to 100", lambda v: 1 <= v <= 100)]
Threads = Annotated[int, Rule("a whole number from 1 to 256", lambda v: 1 <= v <= 256)]
Target = Annotated[
    str,
    Rule(
        '"module:app" or "module:factory()"',
        lambda v: _TARGET.fullmatch(v) is not None,
    ),
]
Text = Annotated[str, Rule("a text that is not empty", lambda v: v != "" and "\0" not in v)]
VariableName = Annotated[
    str, Rule("a variable name", lambda v: v != "" and "=" not in v and "\0" not in v)
]
Environment = dict[VariableName, Annotated[str, Rule("a text", lambda v: "\0" not in v)]]


@attrs.frozen(kw_only=True)
class SupervisorSettings:
    """``[supervisor]``: what holds for all apps."""

    host: Host = "0.0.0.0"  # noqa: S104 - phones in the field reach the apps by Wi-Fi
    state_dir: Text = ".flask-supervisor"
    log_format: Literal["auto", "console", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    shutdown_timeout_s: Seconds = 2.0


@attrs.frozen(kw_only=True)
class BindSettings:
    """``[bind]``: how a port that can't be bound is tried again."""

    attempts: Attempts = 5
    first_delay_s: Seconds = 2.0
    factor: Factor = 2.0
    max_delay_s: Seconds = 30.0


@attrs.frozen(kw_only=True)
class StatusSettings:
    """``[status]``: where monitors ask."""

    port: Port = 6000
    host: Host | None = None


@attrs.frozen(kw_only=True)
class AppSettings:
    """``[apps.NAME]``: one app."""

    target: Target
    port: Port | None = None
    host: Host | None = None
    path: Text = "."
    enabled: bool = True
    threads: Threads = 4
    env: Environment = attrs.field(factory=dict)
    control: bool = False
    import_timeout_s: Seconds = 120.0


@attrs.frozen(kw_only=True)
class Config:
    """A whole configuration; relative paths in it are relative to ``folder``."""

    supervisor: SupervisorSettings = attrs.field(factory=SupervisorSettings)
    bind: BindSettings = attrs.field(factory=BindSettings)
    status: StatusSettings = attrs.field(factory=StatusSettings)
    apps: dict[str, AppSettings] = attrs.field(factory=dict)
    folder: Path = attrs.field(default=Path("."), init=False)
    file: Path = attrs.field(default=Path("supervisor.toml"), init=False)

    @property
    def state_dir(self) -> Path:
        """The state folder, absolute."""
        return Path(os.path.normpath(self.folder / self.supervisor.state_dir))

    def app_path(self, name: str) -> Path:
        """Give the folder of an app's code, absolute."""
        return Path(os.path.normpath(self.folder / self.apps[name].path))

    def address(self, name: str) -> tuple[str, int | None]:
        """Give the host and port of an app; the port is None for a Unix socket."""
        app = self.apps[name]
        return self._resolve(app.host, app.port)

    @property
    def status_address(self) -> tuple[str, int | None]:
        """The host and port of the status server."""
        return self._resolve(self.status.host, self.status.port)

    def _resolve(self, own_host: str | None, port: int | None) -> tuple[str, int | None]:
        host = own_host or self.supervisor.host
        if host.startswith("unix:"):
            return f"unix:{os.path.normpath(self.folder / host.removeprefix('unix:'))}", None
        return host, port


def find(given: str | None, environment: Mapping[str, str] = os.environ) -> Path:
    """Give the configuration file to use: the given one, else the first that exists.

    Raises `ConfigError` when there is none.
    """
    if given is not None:
        return Path(given)
    if environment.get(FILE_VARIABLE):
        return Path(environment[FILE_VARIABLE])
    for candidate in SEARCHED:
        try:
            if candidate.exists():
                return candidate
        except OSError as error:
            raise ConfigError(
                [f"{candidate}: cannot look for it: {error.strerror}"],
                hint="name the right one with --config FILE, or use sudo",
            ) from error
    places = ", ".join([f"${FILE_VARIABLE}", *(str(path) for path in SEARCHED)])
    raise ConfigError(
        [f"no configuration file found (looked at {places})"],
        hint="name one with --config FILE",
    )


def load(file: Path) -> Config:
    """Read and check ``file``; raises `ConfigError` with every problem found."""
    try:
        with file.open("rb") as stream:
            raw = tomllib.load(stream)
    except FileNotFoundError as error:
        raise ConfigError(
            [f"{file}: there is no such file"], hint="name the right one with --config FILE"
        ) from error
    except OSError as error:
        raise ConfigError([f"{file}: cannot read it: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{file}: is not UTF-8 text (byte {error.start})"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{file}: is not valid TOML: {error}"]) from error
    return parse(raw, file)


def parse(raw: dict[str, Any], file: Path) -> Config:
    """Turn a parsed TOML document into a `Config`; raises `ConfigError` with every problem."""
    config, problems = structure(raw, Config)
    problems += _cross_check(raw)
    if config is None or problems:
        raise ConfigError([f"{file}: {problem}" for problem in sorted(problems)])
    file = file.absolute()
    return _placed(config, file)


def _placed(config: Config, file: Path) -> Config:
    # `folder` and `file` aren't keys of the file, hence not arguments of the class
    object.__setattr__(config, "file", file)
    object.__setattr__(config, "folder", file.parent)
    return config


def _cross_check(raw: dict[str, Any]) -> Iterator[str]:
    """Give what is wrong between keys, as far as the single values allow to tell."""
    apps = raw.get("apps", {})
    if not isinstance(apps, dict):
        return
    if not apps:
        yield "apps: no app is configured; add a table [apps.NAME] with `target` and `port`"
    for name in apps:
        if not _NAME.fullmatch(name) or name in RESERVED_NAMES:
            yield (
                f"apps.{name}: this name can't be used; a name starts with a letter a-z, goes on "
                f"with a-z, 0-9 or _, and is none of {', '.join(sorted(RESERVED_NAMES))}"
            )
    yield from _check_ports(raw, {n: a for n, a in apps.items() if isinstance(a, dict)})


def _check_ports(raw: dict[str, Any], apps: dict[str, dict[str, Any]]) -> Iterator[str]:
    default_host = _get(raw, "supervisor", "host", "0.0.0.0")  # noqa: S104 - the default
    status_port = _get(raw, "status", "port", 6000)
    users: dict[Any, str] = {}
    status_host = _get(raw, "status", "host", default_host)
    users[_socket_path(status_host) or status_port] = "the status server"
    for name, app in apps.items():
        if app.get("enabled") is False:
            continue
        host, port = app.get("host", default_host), app.get("port")
        path = _socket_path(host)
        if path is not None:
            port = path
        elif port is None:
            yield f"apps.{name}.port: this key is required"
            continue
        if isinstance(port, int | str) and port in users:
            key, value = ("host", host) if port is path else ("port", port)
            yield f"apps.{name}.{key} = {shown(value)}: is taken by {users[port]} already"
        elif isinstance(port, int | str):
            users[port] = f"app '{name}'"


def _socket_path(host: object) -> str | None:
    """Give the path of a Unix socket, in one way of writing it; None for another host."""
    if not isinstance(host, str) or not host.startswith("unix:") or host == "unix:":
        return None
    return os.path.normpath(host.removeprefix("unix:"))


def _get(raw: dict[str, Any], table: str, key: str, default: Any) -> Any:
    section = raw.get(table)
    return section.get(key, default) if isinstance(section, dict) else default
