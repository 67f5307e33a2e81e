"""The keys of the configuration: one class a table, one field a key."""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from supervisor.config.rules import (
    NAME,
    Attempts,
    Below,
    Celsius,
    Count,
    Factor,
    Function,
    HangTimeout,
    Host,
    HttpHeader,
    HttpStatus,
    Name,
    Percent,
    Port,
    Seconds,
    Target,
    Text,
    Threads,
    Token,
    Url,
    UrlPath,
    Value,
    Workers,
)
from supervisor.values.records import dataclass
from supervisor.values.reports import Cause

_SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSW|PASSPHRASE|CREDENTIAL|(^|_)KEY$", re.IGNORECASE)
_ORDINARY = re.compile(r"[A-Za-z]*|[\d.:]*|(/[\w.-]+)+/?")  # a word, a number, an address, a path
_INHERITED_SECRET_MIN = 8
RESERVED_NAMES = frozenset({"status", "all"})


def is_app_name(name: str) -> bool:
    """Return whether an app may have this name."""
    return NAME.fullmatch(name) is not None and name not in RESERVED_NAMES


def is_secret(path: str, hidden: Collection[str]) -> bool:
    """Return whether the value at a key path must not be shown.

    That holds for the ``hidden`` paths, for tables and lists that contain one of them, and for
    variables of an app whose name says it.
    """
    if any(path == one or one.startswith((f"{path}.", f"{path}[")) for one in hidden):
        return True
    return ".env." in path and has_secret_name(path.rpartition(".")[2])


def has_secret_name(variable: str) -> bool:
    """Return whether the name of a variable says that its value is a secret."""
    return _SECRET_NAME.search(variable) is not None


def _no_key(**options: Any) -> Any:
    """Declare a field that is not a key of the file."""
    return field(metadata={"key": False}, **options)


@dataclass(frozen=True, kw_only=True)
class SupervisorSettings:
    """``[supervisor]``: what holds for all apps."""

    host: Host = "0.0.0.0"  # noqa: S104 - phones in the field reach the apps by Wi-Fi
    state_dir: Text = ".flask-supervisor"
    log_format: Literal["auto", "console", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    shutdown_timeout_s: Seconds = 2.0


@dataclass(frozen=True, kw_only=True)
class BindSettings:
    """``[bind]``: how a port that can't be bound is tried again."""

    attempts: Attempts = 5
    first_delay_s: Seconds = 2.0
    factor: Factor = 2.0
    max_delay_s: Seconds = 30.0


@dataclass(frozen=True, kw_only=True)
class StatusSettings:
    """``[status]``: where monitors ask."""

    port: Port = 6000
    host: Host | None = None


@dataclass(frozen=True, kw_only=True)
class HostSettings:
    """``[host]``: when a fact about the machine becomes a warning."""

    disk_free_percent: Percent = 5.0
    temperature_c: Celsius = 80.0
    memory_free_percent: Percent = 5.0


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """``[[requires]]`` and ``[[apps.NAME.requires]]``: something that has to be there.

    Which key belongs to which kind: see `REQUIREMENT_KEYS`.
    """

    kind: Literal["directory", "file", "tcp", "http", "env", "module", "command", "disk"]
    path: Text | None = None
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


# The keys of a requirement that only some kinds know, and which of these they need.
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

    target: Target
    port: Port | None = None
    host: Host | None = None
    path: Text = "."
    enabled: bool = True
    threads: Threads = 4
    max_threads: Threads = 32
    waitress: dict[str, Any] = field(default_factory=dict)
    env: dict[str, Value] = field(default_factory=dict, repr=False)
    env_file: Text | None = None
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
    python: Text | None = None
    writable: list[Text] = field(default_factory=list)
    bind: Literal["supervisor", "app"] = "supervisor"
    requires: list[Requirement] = field(default_factory=list)

    @property
    def is_pinned(self) -> bool:
        """Whether each worker is kept on one core."""
        return self.workers > 1 if self.pin is None else self.pin


@dataclass(frozen=True)
class Sources:
    """Where the values of a configuration came from; keys are key paths.

    ``hidden`` values were read from a variable or a file of their own: they are never printed.
    ``variables`` are the names of the environment variables that are nobody else's business:
    they hold such values, or override keys. ``values`` are the hidden values themselves, as far
    as they can be kept out of texts. ``environment`` is what the configuration was read with, as
    it was before those variables were taken out of this process.
    """

    origins: dict[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    variables: frozenset[str] = frozenset()
    values: frozenset[str] = field(default=frozenset(), repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole configuration; relative paths in it are relative to ``folder``."""

    supervisor: SupervisorSettings = field(default_factory=SupervisorSettings)
    bind: BindSettings = field(default_factory=BindSettings)
    status: StatusSettings = field(default_factory=StatusSettings)
    host: HostSettings = field(default_factory=HostSettings)
    requires: list[Requirement] = field(default_factory=list)
    apps: dict[str, AppSettings] = field(default_factory=dict, repr=False)  # it may hold secrets
    # where it comes from, set by `reader`
    file: Path = _no_key(default=Path("supervisor.toml"))
    sources: Sources = _no_key(default_factory=Sources)
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
        """Give the names of the apps of each process; an app alone gives it its name."""
        found: dict[str, list[str]] = {}
        for name, app in self.apps.items():
            if app.enabled:
                found.setdefault(app.process or name, []).append(name)
        return found

    def app_path(self, name: str) -> Path:
        """Give the folder of an app's code, absolute."""
        return self.resolve(self.apps[name].path)

    def app_environment(self, name: str) -> dict[str, str]:
        """Give the variables that an app gets: its ``env_file``, and ``env`` over it."""
        return {**self.env_files.get(name, {}), **self.apps[name].env}

    def secret_values(self) -> set[str]:
        """Give every value that no text may hold, whoever wrote it."""
        found = set(self.sources.values).union(*(self.app_secrets(name) for name in self.apps))
        required = [self.requires, *(app.requires for app in self.apps.values())]
        tokens = {one.token for several in required for one in several if one.token}
        return found | tokens | self._inherited_secrets()

    def app_secrets(self, name: str) -> set[str]:
        """Give those of `secret_values` that the app knows."""
        found = {
            v for k, v in self.apps[name].env.items() if self.is_secret(f"apps.{name}.env.{k}")
        }
        for key, value in self.env_files.get(name, {}).items():
            # what stands in texts anyway would make them unreadable
            if has_secret_name(key) or not _ORDINARY.fullmatch(value):
                found.add(value)
        return found | self._inherited_secrets()

    def _inherited_secrets(self) -> set[str]:
        """Give the values of secret-named variables that every app sees."""
        return {
            value
            for name, value in self.sources.environment.items()
            if has_secret_name(name)
            and name not in self.sources.variables
            and len(value) >= _INHERITED_SECRET_MIN
            and not value.startswith("/")  # CREDENTIALS_DIRECTORY, for one
        }

    def is_secret(self, path: str) -> bool:
        """Say whether the value at a key path must not be printed."""
        return is_secret(path, self.sources.hidden)

    def address(self, name: str) -> tuple[str, int | None]:
        """Give the host and port of an app; the port is None for a Unix socket."""
        app = self.apps[name]
        return self._address(app.host, app.port)

    @property
    def status_address(self) -> tuple[str, int | None]:
        """The host and port of the status server."""
        return self._address(self.status.host, self.status.port)

    def resolve(self, path: str) -> Path:
        """Give a path of the configuration, absolute."""
        return Path(os.path.normpath(self.folder / path))

    def _address(self, own_host: str | None, port: int | None) -> tuple[str, int | None]:
        host = own_host or self.supervisor.host
        if host.startswith("unix:"):
            return f"unix:{self.resolve(host.removeprefix('unix:'))}", None
        return host, port
