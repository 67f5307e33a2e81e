"""What the commands share: options, loading, words and colours on a terminal."""

import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

import click

from supervisor.client import Client
from supervisor.config import reader as configuration
from supervisor.config.locate import find
from supervisor.config.settings import Config
from supervisor.files.state_dir import StateDir
from supervisor.values.errors import ConfigError, SupervisorError

COLOURS = {"pass": "green", "warn": "yellow", "fail": "red"}
_WIDTH_MIN = 20  # of a text: on a narrower terminal it may look as it likes
_DAY_S, _HOUR_S, _MINUTE_S = 86400, 3600, 60

config_option = click.option(
    "--config",
    "config_file",
    metavar="FILE",
    help="The configuration file. Default: the first that exists of "
    "$FLASK_SUPERVISOR_CONFIG, supervisor.toml or config/supervisor.toml in this folder or one "
    "above it, /etc/flask-supervisor/supervisor.toml.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def load(config_file: str | None) -> Config:
    """Load the given configuration file, or the one that is found."""
    return configuration.load(find(config_file))


def load_or_none(config_file: str | None) -> Config | None:
    """Load as `load` does, for a command that can do without."""
    try:
        return load(config_file)
    except ConfigError:
        return None


def state_dir(config_file: str | None) -> Path:
    """Give the state folder that the configuration names, mistakes in the rest of it aside."""
    file = find(config_file)
    try:
        return configuration.load_state_dir(file)
    except ConfigError:
        from supervisor.config import last_good

        config = last_good.load(file)  # raises the same, where there is none
        assert config.fallback is not None
        click.secho("note: ", fg="yellow", nl=False, err=True)
        click.echo(config.fallback.reason, err=True)
        return config.state_dir


def client(config_file: str | None, *, timeout_s: float = 5.0) -> Client:
    """Give the client of the supervisor that runs this configuration."""
    return Client(StateDir(state_dir(config_file)).control_socket, timeout_s=timeout_s)


def print_error(error: SupervisorError) -> None:
    """Say on standard error what went wrong and what to do next."""
    for line in error.message.splitlines():
        click.secho("error: ", fg="red", nl=False, err=True)
        click.echo(line, err=True)
    for line in (error.hint or "").splitlines():
        click.echo(f"  {line}", err=True)


def print_indented(text: str, indent: int, *, begun: int = 0) -> None:
    """Print ``text``, on a terminal in lines that fit its width, each behind an indent.

    ``begun`` characters stand on the first line already.
    """
    lines = text.splitlines()
    if sys.stdout.isatty():
        room = max(_WIDTH_MIN, shutil.get_terminal_size().columns - indent)
        # a path or an address has to stay fit for copying
        wrap = textwrap.TextWrapper(room, break_long_words=False, break_on_hyphens=False)
        lines = [part for line in lines for part in wrap.wrap(line)]
    lines = lines or [""]
    click.echo(" " * (indent - begun) + lines[0])
    for line in lines[1:]:
        click.echo(" " * indent + line)


def print_status(snapshot: dict[str, Any]) -> None:
    """Print the health document as a table."""
    head = f"flask-supervisor {snapshot['version']}, pid {snapshot['pid']}, "
    click.echo(f"{head}up {age_text(snapshot['age_s'])}: ", nl=False)
    click.secho(snapshot["status"], fg=COLOURS[snapshot["status"]])
    width = max([3, *(len(name) for name in snapshot["apps"])])
    click.echo(f"{'APP':<{width}}  {'STATE':<8}  {'SERVING':<15}  {'PORT':<5}  {'PID':<7}  SINCE")
    for name, app in snapshot["apps"].items():
        state = click.style(f"{app['state']:<8}", fg=COLOURS[app["status"]])
        port, pid = app["port"] or "-", app["pid"] or "-"
        click.echo(
            f"{name:<{width}}  {state}  {app['serving']:<15}  {port:<5}  {pid:<7}  "
            f"{age_text(app['age_s'])}"
        )
        for text in (app["reason"], app["hint"]):
            if text:
                print_indented(text, width + 2)
    for name, found in snapshot["checks"].items():
        if found["reason"]:
            click.echo(f"check {name}: ", nl=False)
            click.secho(found["reason"], fg=COLOURS[found["status"]])


def age_text(seconds: float) -> str:
    """Say a duration in words as short as ``3 min``."""
    for unit_s, unit in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= unit_s:
            return f"{int(seconds // unit_s)} {unit}"
    return f"{int(seconds)} s"


def app_names(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Complete the name of an app, for the shell; nothing where there is no configuration."""
    config = load_or_none(_context.params.get("config_file"))
    return [name for name in config.apps if name.startswith(begun)] if config else []
