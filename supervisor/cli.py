"""The command line: ``flask-supervisor run``, ``status``, ``check``.

Exit codes: 0 done, 1 it failed or was refused (the reason is on standard error), 2 wrong usage.
"""

import asyncio
import json
import sys
from typing import Any

import click

from supervisor import __version__
from supervisor import config as configuration
from supervisor.client import Client
from supervisor.config import Config
from supervisor.errors import SupervisorError
from supervisor.process import open_standard_streams
from supervisor.statedir import StateDir

_COLOURS = {"pass": "green", "warn": "yellow", "fail": "red"}
_DAY_S, _HOUR_S, _MINUTE_S = 86400, 3600, 60

_config_option = click.option(
    "--config",
    "config_file",
    metavar="FILE",
    help="The configuration file. Default: the first that exists of "
    "$FLASK_SUPERVISOR_CONFIG, ./supervisor.toml, ./config/supervisor.toml, "
    "/etc/flask-supervisor/supervisor.toml.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def main() -> None:
    """Run the command line and exit."""
    if sys.platform != "linux":
        click.echo("error: flask-supervisor runs on Linux only", err=True)
        sys.exit(1)
    open_standard_streams()
    try:
        cli()
    except SupervisorError as error:
        _print_error(error)
        sys.exit(1)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: flask-supervisor run --config config/supervisor.toml",
)
@click.version_option(__version__, message="flask-supervisor %(version)s")
def cli() -> None:
    """Keep several Flask apps answering on their ports, whatever happens to one of them."""


@cli.command(epilog="Example: flask-supervisor run --config config/supervisor.toml")
@_config_option
def run(config_file: str | None) -> None:
    """Bind the ports and serve the apps, in the foreground, until SIGTERM or Ctrl-C."""
    from supervisor.logs import Log
    from supervisor.loop import Supervisor

    config = _load(config_file)
    log = Log(config.supervisor.log_format, config.supervisor.log_level)
    sys.exit(asyncio.run(Supervisor(config, log).run()))


@cli.command(epilog="Example: flask-supervisor status --json")
@_config_option
@_json_option
def status(config_file: str | None, as_json: bool) -> None:
    """Show what every app does and why. Exit code 0 when all are ready, else 1."""
    config = _load(config_file)
    picture = Client(StateDir(config.state_dir).control_socket).call("snapshot")
    disabled = [name for name, app in config.apps.items() if not app.enabled]
    if as_json:
        click.echo(json.dumps({**picture, "disabled": disabled}, ensure_ascii=False, indent=2))
    else:
        _print_status(picture)
    ready = all(app["state"] == "ready" for app in picture["apps"].values())
    sys.exit(0 if ready else 1)


@cli.command(epilog="Example: flask-supervisor check coach")
@click.argument("apps", metavar="[APP]...", nargs=-1)
@_config_option
@_json_option
def check(apps: tuple[str, ...], config_file: str | None, as_json: bool) -> None:
    """Check the configuration, and import every app (or the named ones) in a throw-away process.

    Nothing is served and no port is touched. Exit code 1 for any finding that would keep an app
    from working.
    """
    from supervisor.checking import check_apps

    try:
        config = _load(config_file)
    except SupervisorError as error:
        if as_json:
            problems = getattr(error, "problems", [error.message])
            click.echo(json.dumps({"ok": False, "problems": problems, "apps": {}}, indent=2))
        raise
    unknown = [name for name in apps if name not in config.apps]
    if unknown:
        known = ", ".join(config.apps)
        raise click.UsageError(f"there is no app {unknown[0]!r} in {config.file}; known: {known}")
    findings: dict[str, Any] = {}
    for name, finding in check_apps(config, list(apps)):
        findings[name] = finding
        if not as_json:
            _print_finding(name, finding)
    failed = [name for name, finding in findings.items() if not finding["ok"]]
    if as_json:
        answer = {"ok": not failed, "problems": [], "apps": findings}
        click.echo(json.dumps(answer, ensure_ascii=False, indent=2))
    elif failed:
        click.echo(f"{len(failed)} of {len(findings)} apps can't be served: {', '.join(failed)}")
    else:
        click.echo(f"nothing found: {config.file} is valid, and every app can be served")
    sys.exit(1 if failed else 0)


def _load(config_file: str | None) -> Config:
    return configuration.load(configuration.find(config_file))


def _print_error(error: SupervisorError) -> None:
    click.secho("error: ", fg="red", nl=False, err=True)
    click.echo(error.message, err=True)
    if error.hint:
        click.echo(f"  {error.hint}", err=True)


def _print_status(picture: dict[str, Any]) -> None:
    head = f"flask-supervisor {picture['version']}, pid {picture['pid']}, "
    click.echo(f"{head}up {age_text(picture['age_s'])}: ", nl=False)
    click.secho(picture["status"], fg=_COLOURS[picture["status"]])
    width = max([3, *(len(name) for name in picture["apps"])])
    click.echo(f"{'APP':<{width}}  {'STATE':<8}  {'SERVING':<15}  {'PORT':<5}  {'PID':<7}  SINCE")
    for name, app in picture["apps"].items():
        state = click.style(f"{app['state']:<8}", fg=_COLOURS[app["status"]])
        port, pid = app["port"] or "-", app["pid"] or "-"
        click.echo(
            f"{name:<{width}}  {state}  {app['serving']:<15}  {port:<5}  {pid:<7}  "
            f"{age_text(app['age_s'])}"
        )
        _print_reason(app, indent=width + 2)
    for name, found in picture["checks"].items():
        if found["reason"]:
            click.echo(f"check {name}: ", nl=False)
            click.secho(found["reason"], fg=_COLOURS[found["status"]])


def _print_reason(app: dict[str, Any], *, indent: int) -> None:
    for text in (app["reason"], app["hint"]):
        if text:
            click.echo(" " * indent + text)


def _print_finding(name: str, finding: dict[str, Any]) -> None:
    if finding["ok"]:
        click.echo(f"{name}: ", nl=False)
        click.secho("ok", fg="green", nl=False)
        click.echo(f", imported in {finding['seconds']:.2f} s")
        return
    click.echo(f"{name}: ", nl=False)
    click.secho(finding["reason"], fg="red")
    if finding["hint"]:
        click.echo(f"  {finding['hint']}")


def age_text(seconds: float) -> str:
    """Say a duration in words as short as ``3 min``."""
    for unit_s, unit in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= unit_s:
            return f"{int(seconds // unit_s)} {unit}"
    return f"{int(seconds)} s"
