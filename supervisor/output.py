"""What the commands share: options, loading, words and colours on a terminal."""

from typing import Any

import click

from supervisor import config as configuration
from supervisor import lastgood
from supervisor.client import Client
from supervisor.errors import SupervisorError
from supervisor.settings import Config
from supervisor.statedir import StateDir

COLOURS = {"pass": "green", "warn": "yellow", "fail": "red"}
_DAY_S, _HOUR_S, _MINUTE_S = 86400, 3600, 60

config_option = click.option(
    "--config",
    "config_file",
    metavar="FILE",
    help="The configuration file. Default: the first that exists of "
    "$FLASK_SUPERVISOR_CONFIG, ./supervisor.toml, ./config/supervisor.toml, "
    "/etc/flask-supervisor/supervisor.toml.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def load(config_file: str | None) -> Config:
    """Load the given configuration file, or the one that is found."""
    return configuration.load(configuration.find(config_file))


def load_running(config_file: str | None) -> Config:
    """Load what the running supervisor may go by: the last that worked where the file is broken.

    So that an operator can look at a supervisor, and act on it, whatever became of the file.
    """
    config = lastgood.load(configuration.find(config_file))
    if config.fallback is not None:
        click.secho("note: ", fg="yellow", nl=False, err=True)
        click.echo(config.fallback.reason, err=True)
    return config


def client(config: Config, *, timeout_s: float = 5.0) -> Client:
    """Give the client of the supervisor that runs this configuration."""
    return Client(StateDir(config.state_dir).control_socket, timeout_s=timeout_s)


def print_error(error: SupervisorError) -> None:
    """Say on standard error what went wrong and what to do next."""
    for line in error.message.splitlines():
        click.secho("error: ", fg="red", nl=False, err=True)
        click.echo(line, err=True)
    if error.hint:
        click.echo(f"  {error.hint}", err=True)


def print_status(picture: dict[str, Any]) -> None:
    """Print the health document as a table."""
    head = f"flask-supervisor {picture['version']}, pid {picture['pid']}, "
    click.echo(f"{head}up {age_text(picture['age_s'])}: ", nl=False)
    click.secho(picture["status"], fg=COLOURS[picture["status"]])
    width = max([3, *(len(name) for name in picture["apps"])])
    click.echo(f"{'APP':<{width}}  {'STATE':<8}  {'SERVING':<15}  {'PORT':<5}  {'PID':<7}  SINCE")
    for name, app in picture["apps"].items():
        state = click.style(f"{app['state']:<8}", fg=COLOURS[app["status"]])
        port, pid = app["port"] or "-", app["pid"] or "-"
        click.echo(
            f"{name:<{width}}  {state}  {app['serving']:<15}  {port:<5}  {pid:<7}  "
            f"{age_text(app['age_s'])}"
        )
        for text in (app["reason"], app["hint"]):
            if text:
                click.echo(" " * (width + 2) + text)
    for name, found in picture["checks"].items():
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
    try:
        names = load(_context.params.get("config_file")).apps
    except SupervisorError:
        return []
    return [name for name in names if name.startswith(begun)]
