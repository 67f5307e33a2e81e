"""Reads the configuration: the file, what the environment overrides, secrets from elsewhere.

Everything that is wrong is said at once, each problem with where it stands, its key path, its
value and what is accepted.
"""

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from supervisor.config.rules import Problem, shown
from supervisor.config.settings import (
    REQUIREMENT_KEYS,
    RESERVED_NAMES,
    Config,
    Sources,
    is_app_name,
    is_secret,
)
from supervisor.config.waitress_options import checked_options
from supervisor.values.errors import ConfigError

FILE_VARIABLE = "FLASK_SUPERVISOR_CONFIG"
OVERRIDE_PREFIX = "FLASK_SUPERVISOR__"
SEARCHED = (
    Path("supervisor.toml"),
    Path("config/supervisor.toml"),
    Path("/etc/flask-supervisor/supervisor.toml"),
)
_SECRET_FILE_MAX = 64 * 1024
_PLACES = frozenset({"host", "port", "path", "target", "state_dir"})  # log and status name them

Raw = dict[str, Any]


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


def load(file: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """Read and check ``file``; raises `ConfigError` with every problem found."""
    return parse_text(_read(file), file, environment)


def load_state_dir(file: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Read of ``file`` only where the state folder is, whatever else is wrong with it.

    That is enough to find the supervisor that runs, which may know secrets that this user
    doesn't, and may have been started before somebody broke the file. Raises `ConfigError`.
    """
    from supervisor.config.structuring import structure

    raw = _parsed(_read(file), file)
    reading = _Reading(file, environment)
    reading.override(raw)
    table = raw.get("supervisor", {})
    if isinstance(table, dict):
        reading.resolve_references(table, ("supervisor",))
        kept = {"supervisor": {k: v for k, v in table.items() if k == "state_dir"}}
        config, _ = structure(kept, Config)
        wrong = any(problem.path == "supervisor.state_dir" for problem in reading.problems)
        if config is not None and not wrong:
            object.__setattr__(config, "file", file.absolute())
            return config.state_dir
    load(file, environment)  # raises, and says it with all the rest
    raise AssertionError("a configuration without a state folder is none")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(
            [f"{file}: there is no such file"], hint="name the right one with --config FILE"
        ) from error
    except OSError as error:
        hint = "use sudo, or be its owner" if isinstance(error, PermissionError) else None
        raise ConfigError([f"{file}: cannot read it: {error.strerror}"], hint=hint) from error


def parse_text(text: bytes, file: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """Check a configuration that may stand in ``file``; raises `ConfigError`, as `load` does."""
    config = parse(_parsed(text, file), file, environment)
    object.__setattr__(config, "text", text)
    return config


def _parsed(text: bytes, file: Path) -> Raw:
    try:
        return tomllib.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError([f"{file}: is not UTF-8 text (byte {error.start})"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{file}: is not valid TOML: {error}"]) from error
    except RecursionError as error:
        raise ConfigError([f"{file}: is not valid TOML: it is nested too deeply"]) from error


def parse(raw: Raw, file: Path, environment: Mapping[str, str] | None = None) -> Config:
    """Turn a parsed TOML document into a `Config`; raises `ConfigError` with every problem.

    ``environment`` (None: an empty one) may override keys, and gives the values of
    ``{ env = "NAME" }``.
    """
    from supervisor.config.structuring import structure  # cattrs: see `configchild`

    reading = _Reading(file, environment or {})
    reading.override(raw)
    reading.resolve_references(raw, ())
    env_files = reading.read_env_files(raw)
    config, problems = structure(raw, Config, is_hidden=reading.is_hidden)
    problems += reading.problems
    problems += _cross_check(raw)
    problems += _check_waitress(raw, reading.is_hidden)
    if config is not None:
        object.__setattr__(config, "file", file.absolute())  # not a key, so not an argument
        object.__setattr__(config, "sources", reading.sources())
        object.__setattr__(config, "env_files", env_files)
    if config is None or problems:
        raise ConfigError(sorted({reading.text_of(problem) for problem in problems}))
    return config


class _Reading:
    """What is known of one configuration beyond its values: origins, secrets, problems."""

    def __init__(self, file: Path, environment: Mapping[str, str]) -> None:
        self._file = file
        self._environment = environment
        self._origins: dict[str, str] = {}
        self._made: dict[str, str] = {}  # tables that only a variable speaks of
        self._variables: set[str] = set()
        self._values: set[str] = set()
        self.hidden: set[str] = set()
        self.problems: list[Problem] = []

    def override(self, raw: Raw) -> None:
        """Put the values of ``FLASK_SUPERVISOR__TABLE__KEY`` variables over those of the file."""
        for variable, text in sorted(self._environment.items()):
            if not variable.startswith(OVERRIDE_PREFIX):
                continue
            *tables, key = _keys_of(variable)
            path = ".".join([*tables, key])
            self._origins[path] = variable
            self._variables.add(variable)
            table: Any = raw
            for depth, name in enumerate(tables, 1):
                if isinstance(table, dict) and name not in table:
                    self._made[".".join(tables[:depth])] = variable
                table = table.setdefault(name, {}) if isinstance(table, dict) else None
            if isinstance(table, dict):
                table[key] = text if _is_app_variable((*tables, key)) else _toml_value(text)
            else:
                self.problems.append(Problem(path, ": what it is in is no table"))

    def resolve_references(self, table: Raw, path: tuple[str, ...]) -> None:
        """Put in the values that ``{ env = "NAME" }`` and ``{ file = "/path" }`` stand for."""
        for key, value in table.items():
            inner = (*path, key)
            if isinstance(value, list):
                for number, item in enumerate(value):
                    if isinstance(item, dict):
                        self.resolve_references(item, (*path, f"{key}[{number}]"))
            elif isinstance(value, dict):
                if _is_reference(value, inner):
                    text = self._referenced(value, ".".join(inner))
                    table[key] = text if _is_app_variable(inner) else _toml_value(text)
                    if isinstance(table[key], str) and key not in _PLACES:
                        self._values.add(text)
                else:
                    self.resolve_references(value, inner)
            self._origins.setdefault(".".join(inner), self._file.name)

    def _referenced(self, reference: dict[str, str], path: str) -> str:
        [(kind, name)] = reference.items()
        self.hidden.add(path)
        if kind == "env":
            self._variables.add(name)
            self._origins[path] = f"variable {name}"
            if name not in self._environment:
                self.problems.append(Problem(path, f": the variable {name} is not set"))
                return ""
            return self._environment[name]
        file = self._file.absolute().parent / name
        self._origins[path] = f"file {name}"
        try:
            with file.open(encoding="utf-8") as stream:
                text = stream.read(_SECRET_FILE_MAX).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8 text"
            self.problems.append(Problem(path, f": cannot read {name}: {why}"))
            return ""
        return text

    def read_env_files(self, raw: Raw) -> dict[str, dict[str, str]]:
        """Read the ``env_file`` of each app that has one."""
        found = {}
        apps = raw.get("apps")
        for name, app in apps.items() if isinstance(apps, dict) else ():
            given = app.get("env_file") if isinstance(app, dict) else None
            if not isinstance(given, str) or not given:
                continue
            path = f"apps.{name}.env_file"
            try:
                text = (self._file.absolute().parent / given).read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or "it is not UTF-8 text"
                self.problems.append(Problem(path, f": cannot read {given}: {why}"))
                continue
            found[name], wrong = _parse_env_file(text)
            self.problems += [
                Problem(path, f": {given}, line {line}: {why}") for line, why in wrong
            ]
        return found

    def is_hidden(self, path: str) -> bool:
        """Say whether the value at ``path`` is a secret, or holds one."""
        return is_secret(path, self.hidden)

    def sources(self) -> Sources:
        """Give where the values came from."""
        return Sources(
            self._origins,
            frozenset(self.hidden),
            frozenset(self._variables),
            frozenset(self._values),
            dict(self._environment),
        )

    def text_of(self, problem: Problem) -> str:
        """Say where a problem stands: in the file, or in the variable that overrides it."""
        origin = self._origins.get(problem.path) or self._maker_of(problem.path)
        place = origin if origin.startswith(OVERRIDE_PREFIX) else self._file
        return f"{place}: {problem.path}{problem.text}"

    def _maker_of(self, path: str) -> str:
        """Give the variable without which the table of a key would not be there."""
        while "." in path:
            path = path.rpartition(".")[0]
            if path in self._made:
                return self._made[path]
        return ""


def _keys_of(variable: str) -> list[str]:
    """Give the keys that an overriding variable names; an app's own variable keeps its case."""
    given = variable.removeprefix(OVERRIDE_PREFIX).split("__")
    keys = [key.lower() for key in given]
    if len(given) > 3 and keys[0] == "apps" and keys[2] == "env":
        return [*keys[:3], "__".join(given[3:])]
    return keys


def _is_app_variable(path: tuple[str, ...]) -> bool:
    return len(path) == 4 and path[0] == "apps" and path[2] == "env"


def _is_reference(value: dict[str, Any], path: tuple[str, ...]) -> bool:
    is_env_table = len(path) == 3 and path[0] == "apps" and path[2] == "env"  # holds any name
    return (
        not is_env_table
        and len(value) == 1
        and set(value) <= {"env", "file"}
        and all(isinstance(name, str) for name in value.values())
    )


def _toml_value(text: str) -> Any:
    """Read ``text`` as a TOML value, else take it as it is."""
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return document["value"] if len(document) == 1 else text


def _parse_env_file(text: str) -> tuple[dict[str, str], list[tuple[int, str]]]:
    """Read ``NAME=value`` lines; quotes around a value go, nothing is expanded."""
    values: dict[str, str] = {}
    wrong = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip().removeprefix("export ")
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name or " " in name or "\0" in line:
            wrong.append((number, "is not NAME=value"))
            continue
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        values[name] = value
    return values, wrong


def _cross_check(raw: Raw) -> Iterator[Problem]:
    """Give what is wrong between keys, as far as the single values allow to tell."""
    apps = raw.get("apps", {})
    if not isinstance(apps, dict):
        return
    if not apps:
        yield Problem(
            "apps", ": no app is configured; add a table [apps.NAME] with `target` and `port`"
        )
    for name in apps:
        if not is_app_name(name):
            yield Problem(
                f"apps.{name}",
                ": this name can't be used; a name starts with a letter a-z, goes on with a-z, "
                f"0-9 or _, and is none of {', '.join(sorted(RESERVED_NAMES))}",
            )
    yield from _check_requires("requires", raw.get("requires"))
    tables = {name: app for name, app in apps.items() if isinstance(app, dict)}
    yield from _check_ports(raw, tables)
    yield from _check_threads(tables)
    yield from _check_processes(tables)
    for name, app in tables.items():
        yield from _check_requires(f"apps.{name}.requires", app.get("requires"))


def _check_requires(path: str, requirements: object) -> Iterator[Problem]:
    """Give the keys of requirements that their kind needs, or that it doesn't know."""
    known = {key for keys in REQUIREMENT_KEYS.values() for key in (*keys[0], *keys[1])}
    for number, one in enumerate(requirements if isinstance(requirements, list) else ()):
        kind = one.get("kind") if isinstance(one, dict) else None
        if not isinstance(kind, str) or kind not in REQUIREMENT_KEYS:
            continue
        needed, possible = REQUIREMENT_KEYS[kind]
        for key in needed:
            if key not in one or one[key] == []:
                yield Problem(f"{path}[{number}].{key}", f": this key is required for {kind}")
        for key in sorted(known & one.keys() - {*needed, *possible}):
            yield Problem(f"{path}[{number}].{key}", f": this key has no meaning for {kind}")


def _check_threads(apps: dict[str, Raw]) -> Iterator[Problem]:
    for name, app in apps.items():
        threads, most = app.get("threads", 4), app.get("max_threads", 32)
        numbers = isinstance(threads, int) and isinstance(most, int)
        if numbers and "max_threads" in app and most < threads:
            text = f" = {most}: must be at least `threads`, which is {threads}"
            yield Problem(f"apps.{name}.max_threads", text)


def _check_waitress(raw: Raw, is_hidden: Callable[[str], bool]) -> Iterator[Problem]:
    apps = raw.get("apps")
    for name, app in apps.items() if isinstance(apps, dict) else ():
        options = app.get("waitress") if isinstance(app, dict) else None
        if isinstance(options, dict):
            yield from checked_options(options, f"apps.{name}.waitress", is_hidden=is_hidden)


_SAME = {"path": ".", "python": None}  # keys that the apps of one process have in common


def _check_processes(apps: dict[str, Raw]) -> Iterator[Problem]:
    """Give what keeps apps from sharing a process."""
    shared: dict[str, list[str]] = {}
    for name, app in apps.items():
        process = app.get("process")
        if isinstance(process, str) and app.get("enabled") is not False:
            shared.setdefault(process, []).append(name)
        if app.get("bind") == "app" and str(app.get("host", "")).startswith("unix:"):
            yield Problem(f"apps.{name}.host", ': an app with bind = "app" has a TCP port')
        if app.get("bind") == "app" and app.get("workers", 1) != 1:
            yield Problem(
                f"apps.{name}.workers", ': only one process can bind a port: bind = "app"'
            )
    for process, names in shared.items():
        if process in RESERVED_NAMES or (process in apps and process not in names):
            text = f" = {shown(process)}: is the name of something else"
            yield Problem(f"apps.{names[0]}.process", text)
        yield from _check_mates(names, apps)


def _check_mates(names: list[str], apps: dict[str, Raw]) -> Iterator[Problem]:
    first, *others = names
    for name in others:
        for key, default in _SAME.items():
            ours, theirs = apps[name].get(key, default), apps[first].get(key, default)
            if _plain(ours) != _plain(theirs):
                given = "" if ours is None else f" = {shown(ours)}"
                other = "none" if theirs is None else shown(theirs)
                text = f"{given}: apps of one process have the same, and {first} has {other}"
                yield Problem(f"apps.{name}.{key}", text)
    yield from _check_environment(names, apps)
    for name in names if others else ():
        if apps[name].get("workers", 1) != 1:
            text = ": apps that share a process have one worker, since they share its memory"
            yield Problem(f"apps.{name}.workers", text)


def _check_environment(names: list[str], apps: dict[str, Raw]) -> Iterator[Problem]:
    set_by: dict[str, str] = {}
    for name in names:
        for variable, value in _env(apps[name]).items():
            other = set_by.setdefault(variable, name)
            if _env(apps[other])[variable] != value:
                text = f": apps of one process share their environment, and {other} sets another"
                yield Problem(f"apps.{name}.env.{variable}", f"{text} value")


def _plain(path: object) -> object:
    return os.path.normpath(path) if isinstance(path, str) else path


def _env(app: Raw) -> Raw:
    env = app.get("env")
    return env if isinstance(env, dict) else {}


def _check_ports(raw: Raw, apps: dict[str, Raw]) -> Iterator[Problem]:
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
            yield Problem(f"apps.{name}.port", ": this key is required")
            continue
        if isinstance(port, int | str) and port in users:
            key, value = ("host", host) if port is path else ("port", port)
            text = f" = {shown(value)}: is taken by {users[port]} already"
            yield Problem(f"apps.{name}.{key}", text)
        elif isinstance(port, int | str):
            users[port] = f"app '{name}'"


def _socket_path(host: object) -> str | None:
    """Give the path of a Unix socket, in one way of writing it; None for another host."""
    if not isinstance(host, str) or not host.startswith("unix:") or host == "unix:":
        return None
    return os.path.normpath(host.removeprefix("unix:"))


def _get(raw: Raw, table: str, key: str, default: Any) -> Any:
    section = raw.get(table)
    return section.get(key, default) if isinstance(section, dict) else default
