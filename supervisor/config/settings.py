"""The keys of the configuration: one class a table, one field a key."""

import os
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from supervisor.config.command_keys import entry_of
from supervisor.config.rules import (
    NAME,
    Attempts,
    Below,
    Celsius,
    Count,
    Factor,
    FilePath,
    Function,
    HangTimeout,
    Hardware,
    Host,
    HttpHeader,
    HttpStatus,
    Name,
    NotifyUrl,
    Percent,
    Port,
    Seconds,
    Target,
    Text,
    Threads,
    Token,
    Umask,
    Url,
    UrlPath,
    Value,
    Workers,
)
from supervisor.config.secrecy import (
    has_secret_name,
    is_inherited_secret,
    is_ordinary,
    is_secret,
    url_passwords,
)
from supervisor.values.records import dataclass
from supervisor.values.reports import Cause

RESERVED_NAMES = frozenset({"status", "all"})


def is_app_name(name: str) -> bool:
    """Return whether an app may have this name."""
    return NAME.fullmatch(name) is not None and name not in RESERVED_NAMES


def _no_key(**options: Any) -> Any:
    """Declare a field that is not a key of the file."""
    return field(metadata={"key": False}, **options)


@dataclass(frozen=True, kw_only=True)
class SupervisorSettings:
    """``[supervisor]``: what holds for all apps."""

    host: Host = "0.0.0.0"  # noqa: S104 - phones in the field reach the apps by Wi-Fi
    state_dir: FilePath = ".flask-supervisor"
    log_format: Literal["auto", "console", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    shutdown_timeout_s: Seconds = 2.0


@dataclass(frozen=True, kw_only=True)
class BindSettings:
    """``[bind]``: when binding a port is tried again."""

    attempts: Attempts = 5
    first_delay_s: Seconds = 2.0
    factor: Factor = 2.0
    max_delay_s: Seconds = 30.0


@dataclass(frozen=True, kw_only=True)
class StatusSettings:
    """``[status]``: the address for monitors."""

    port: Port = 6000
    host: Host | None = None


@dataclass(frozen=True, kw_only=True)
class HostSettings:
    """``[host]``: when a fact about the machine becomes a warning."""

    disk_free_percent: Percent = 5.0
    temperature_c: Celsius = 80.0
    memory_free_percent: Percent = 5.0


@dataclass(frozen=True, kw_only=True)
class AdminSettings:
    """``[admin]``: what the admin app lets people do."""

    anonymous: Literal["none", "read"] = "none"


@dataclass(frozen=True, kw_only=True)
class NotifySettings:
    """``[[notify]]``: where messages about changes of state go."""

    url: NotifyUrl = field(repr=False)
    on: Literal["warn", "fail"] = "warn"
    apps: list[Name] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """``[[requires]]`` and ``[[apps.NAME.requires]]``: something that apps need.

    `REQUIREMENT_KEYS` says which keys belong to which kind.
    """

    kind: Literal["directory", "file", "tcp", "http", "env", "module", "command", "disk"]
    path: FilePath | None = None
    host: Text | None = None
    port: Port | None = None
    url: Url | None = None
    token: Token | None = field(default=None, repr=False)
    expect_status: HttpStatus | None = None
    expect_header: HttpHeader | None = None
    expect_json: dict[str, Any] = field(default_factory=dict)
    name: Text | None = None
    default: Value | None = None
    command: list[Text] | None = None
    mounted: bool = False
    writable: bool = False
    free_percent: Percent | None = None
    critical: bool = True
    interval_s: Seconds = 30.0
    timeout_s: Seconds = 5.0
    threshold: Count = 3


# The keys that only some kinds of requirements have: those they need, and the optional ones.
REQUIREMENT_KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "directory": (("path",), ("mounted", "writable")),
    "file": (("path",), ("mounted", "writable")),
    "tcp": (("port",), ("host",)),
    "http": (("url",), ("token", "expect_status", "expect_header", "expect_json")),
    "env": (("name",), ("default",)),
    "module": (("name",), ()),
    "command": (("command",), ()),
    "disk": ((), ("path", "free_percent")),
}


@dataclass(frozen=True, kw_only=True)
class AppSettings:
    """``[apps.NAME]``: one app."""

    target: Target | None = None  # or
    command: list[Text] | None = None
    port: Port | None = None
    host: Host | None = None
    path: FilePath = "."
    enabled: bool = True
    threads: Threads = 4
    max_threads: Threads = 32
    waitress: dict[str, Any] = field(default_factory=dict)
    env: dict[str, Value] = field(default_factory=dict, repr=False)
    env_file: FilePath | None = None
    control: bool = False
    import_timeout_s: Seconds = 120.0
    stop_timeout_s: Seconds = 10.0
    include: list[Below] | None = None
    process: Name | None = None
    workers: Workers = 1
    hang_timeout_s: HangTimeout = 30.0
    request_timeout_s: Seconds | None = None
    max_memory_mb: Count | None = None
    max_requests: Count | None = None
    pin: bool | None = None
    reload: Literal["overlap", "replace"] = "overlap"
    before_start: list[list[Text]] = field(default_factory=list)
    after_import: list[Function] = field(default_factory=list)
    health_path: UrlPath | None = None
    health_interval_s: Seconds = 30.0
    health_threshold: Count = 3
    smoke: list[UrlPath] = field(default_factory=list)
    known_good_after_s: Seconds = 60.0
    deploy_watch_s: Seconds = 10.0
    python: FilePath | None = None
    writable: list[FilePath] = field(default_factory=list)
    bind: Literal["supervisor", "app"] = "supervisor"
    requires: list[Requirement] = field(default_factory=list)
    exclude: list[Below] = field(default_factory=list)
    umask: Umask = "022"
    hardware: list[Hardware] = field(default_factory=list)
    access_log: bool = False

    @property
    def is_pinned(self) -> bool:
        """Whether each worker stays on one core."""
        return self.workers > 1 if self.pin is None else self.pin

    @property
    def entry(self) -> str:
        """The module, or ``module:app``, that its code begins with; "" if nobody can tell."""
        return self.target or entry_of(self.command or ())

    @property
    def runs_once(self) -> bool:
        """Whether it must not be imported while it runs: what it holds can't be held twice."""
        is_steered = self.port is not None and not (self.host or "").startswith("unix:")
        alone = self.command is not None and not is_steered
        return alone or self.reload == "replace" or self.bind == "app"


@dataclass(frozen=True)
class Origins:
    """Where the values of a configuration came from; keys are key paths.

    ``hidden`` are the key paths of values from a variable or from a file of their own, which are
    never shown, and ``secrets`` these values, as far as they can be removed from texts.
    ``variables`` are the environment variables with such values, and those that override keys:
    the main process removes them from its environment. ``environment`` is as it was before.
    """

    by_path: dict[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    variables: frozenset[str] = frozenset()
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole configuration; relative paths in it are relative to ``folder``."""

    supervisor: SupervisorSettings = field(default_factory=SupervisorSettings)
    bind: BindSettings = field(default_factory=BindSettings)
    status: StatusSettings = field(default_factory=StatusSettings)
    host: HostSettings = field(default_factory=HostSettings)
    admin: AdminSettings = field(default_factory=AdminSettings)
    requires: list[Requirement] = field(default_factory=list)
    notify: list[NotifySettings] = field(default_factory=list)
    apps: dict[str, AppSettings] = field(default_factory=dict, repr=False)  # may contain secrets
    # where it comes from, set by `reader`
    file: Path = _no_key(default=Path("supervisor.toml"))
    origins: Origins = _no_key(default_factory=Origins)
    env_files: dict[str, dict[str, str]] = _no_key(default_factory=dict, repr=False)
    text: bytes = _no_key(default=b"", repr=False)
    # set by `last_good` when `file` can't be used: why this one is used, and what is wrong there
    fallback: Cause | None = _no_key(default=None)
    problems: tuple[str, ...] = _no_key(default=())

    @property
    def folder(self) -> Path:
        """The folder of the configuration file."""
        return self.file.parent

    @property
    def state_dir(self) -> Path:
        """The state folder, absolute."""
        return self.resolve(self.supervisor.state_dir)

    def processes(self) -> dict[str, list[str]]:
        """Return the names of the apps by process; an app alone in its process names it."""
        found: dict[str, list[str]] = {}
        for name, app in self.apps.items():
            if app.enabled:
                found.setdefault(app.process or name, []).append(name)
        return found

    def app_path(self, name: str) -> Path:
        """Return the absolute path of an app's folder."""
        return self.resolve(self.apps[name].path)

    def app_python(self, name: str) -> Path | None:
        """Return the absolute path of an app's own interpreter, None if it has none."""
        python = self.apps[name].python
        return None if python is None else self.resolve(python)

    def app_environment(self, name: str) -> dict[str, str]:
        """Return the variables that an app gets: its ``env_file``, overridden by ``env``."""
        return {**self.env_files.get(name, {}), **self.apps[name].env}

    def secret_values(self) -> set[str]:
        """Return every value that no output may contain."""
        found = set(self.origins.secrets).union(*(self.app_secrets(name) for name in self.apps))
        required = [self.requires, *(app.requires for app in self.apps.values())]
        tokens = {one.token for several in required for one in several if one.token}
        return found | tokens | {one.url for one in self.notify} | self._inherited_secrets()

    def app_secrets(self, name: str) -> set[str]:
        """Return those of `secret_values` that the app gets."""
        found = {
            v for k, v in self.apps[name].env.items() if self.is_secret(f"apps.{name}.env.{k}")
        }
        for key, value in self.env_files.get(name, {}).items():
            if has_secret_name(key) or not is_ordinary(value):
                found.add(value)
        in_urls = map(url_passwords, self.app_environment(name).values())
        return found.union(self._inherited_secrets(), *in_urls)

    def _inherited_secrets(self) -> set[str]:
        """Return the values of variables with secret names that every app inherits."""
        return {
            value
            for name, value in self.origins.environment.items()
            if name not in self.origins.variables and is_inherited_secret(name, value)
        }

    def is_secret(self, path: str) -> bool:
        """Return whether the value at a key path must not be shown."""
        return is_secret(path, self.origins.hidden)

    def address(self, name: str) -> tuple[str, int | None]:
        """Return the host and port of an app; the port is None for a Unix socket."""
        app = self.apps[name]
        return self._address(app.host, app.port)

    def is_background(self, name: str) -> bool:
        """Return whether an app is a program without a port."""
        host, port = self.address(name)
        return self.apps[name].command is not None and port is None and "unix:" not in host

    @property
    def status_address(self) -> tuple[str, int | None]:
        """The host and port of the status server."""
        return self._address(self.status.host, self.status.port)

    def resolve(self, path: str) -> Path:
        """Return a path of the configuration, absolute."""
        return Path(os.path.normpath(self.folder / path))

    def _address(self, own_host: str | None, port: int | None) -> tuple[str, int | None]:
        host = own_host or self.supervisor.host
        if host.startswith("unix:"):
            return f"unix:{self.resolve(host.removeprefix('unix:'))}", None
        return host, port
