"""Options and arguments that commands share, and what they stand for."""

import contextlib
import shlex
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from supervisor.cli.output import print_note
from supervisor.client import Client
from supervisor.config import reader as configuration
from supervisor.config.installed import installed_config
from supervisor.config.locate import OF_THE_MACHINE, find
from supervisor.config.settings import Config, SupervisorSettings
from supervisor.files.state_dir import StateDir
from supervisor.values.errors import ConfigError

_Command = TypeVar("_Command", bound=Callable[..., Any] | click.Command)

_META_KEY = "supervisor.config_file"  # of click.Context.meta, which nested contexts share


def _named_config(
    context: click.Context, _parameter: click.Parameter, given: str | None
) -> str | None:
    """Return the file named at this place, else the one named before the command, else None."""
    if given is not None:
        context.meta[_META_KEY] = given
    named: str | None = context.meta.get(_META_KEY)
    return named


def _config_option(command: _Command, *, is_group: bool) -> _Command:
    option = click.option(
        "-c",
        "--config",
        "config_file",
        metavar="FILE",
        callback=_named_config,
        expose_value=not is_group,
        help="The configuration file; -c may follow the command too."
        if is_group
        else "The configuration file. Default: see `flask-supervisor --help`.",
    )
    return option(command)


config_option = partial(_config_option, is_group=False)
group_config_option = partial(_config_option, is_group=True)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def load(config_file: str | None) -> Config:
    """Load the named configuration file, else the first that exists; raises `ConfigError`."""
    return configuration.load(find(config_file))


def load_or_none(config_file: str | None) -> Config | None:
    """Return what `load` returns, None if the configuration is not valid."""
    try:
        return load(config_file)
    except ConfigError:
        return None


def state_dir(config_file: str | None) -> Path:
    """Return the state folder that the configuration names, even if the rest is not valid.

    A supervisor that serves an app from this folder, without a configuration, comes before that of
    the machine.
    """
    here = _served_from_here() if config_file is None else None
    try:
        file = find(config_file)
    except ConfigError:
        if here is not None:
            return here
        raise
    if here is not None and file in (installed_config(), OF_THE_MACHINE):
        return here
    try:
        return configuration.load_state_dir(file)
    except ConfigError:
        from supervisor.config import last_good

        config = last_good.load(file)  # raises the same error if no configuration was kept
        if config.fallback is not None:
            print_note(config.fallback.reason)
        return config.state_dir


def _served_from_here() -> Path | None:
    with contextlib.suppress(OSError):  # the current folder is gone
        here = Path(SupervisorSettings().state_dir).absolute()
        if StateDir(here).control_socket.exists():
            return here
    return None


def client(config_file: str | None, *, timeout_s: float = 5.0) -> Client:
    """Return a client of the supervisor that runs this configuration."""
    socket = StateDir(state_dir(config_file)).control_socket
    return Client(socket, timeout_s=timeout_s, start=_start_command(config_file))


def _start_command(config_file: str | None) -> str:
    """Return what starts the supervisor: systemd, if its service runs this configuration."""
    installed = installed_config()
    with contextlib.suppress(ConfigError):  # none is found: `run TARGET` needs none
        if installed is not None and find(config_file).resolve() == installed.resolve():
            return "sudo systemctl start flask-supervisor"
    return "flask-supervisor run"


def naming(config_file: str | None) -> str:
    """Return the option that names the configuration in a command to type, as this one did."""
    return "" if config_file is None else f" -c {shlex.quote(config_file)}"


def no_such_app(name: str, known: Iterable[str]) -> str:
    """Return the message for an app that does not exist."""
    return f"there is no app {name!r}; known: {', '.join(known)}"


def app_names(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Return the apps whose names begin with ``begun``, for completion in a shell."""
    config = load_or_none(context.params.get("config_file"))
    return [name for name in config.apps if name.startswith(begun)] if config else []
