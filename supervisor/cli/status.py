"""``flask-supervisor status``: the state of every app, as a table."""

import sys
import time
from typing import Any

import click

from supervisor.cli.options import client, config_option, json_option, load_or_none
from supervisor.cli.output import COLOURS, age_text, print_json, print_wrapped

_WATCH_S = 1.0


@click.command("status", epilog="Example: flask-supervisor status --watch")
@config_option
@json_option
@click.option("--watch", is_flag=True, help="Print it again every second, until Ctrl-C.")
def status_command(config_file: str | None, as_json: bool, watch: bool) -> None:
    """Show the state of every app, and the reason if it has a problem.

    Exit code 0 when all apps are ready, else 1.
    """
    if watch and as_json:
        raise click.UsageError("--watch and --json exclude each other")
    ready = _show(config_file, as_json=as_json, clear=watch)
    while watch:
        try:
            time.sleep(_WATCH_S)
            ready = _show(config_file, as_json=False, clear=True)
        except KeyboardInterrupt:
            break
    sys.exit(0 if ready else 1)


def _show(config_file: str | None, *, as_json: bool, clear: bool) -> bool:
    """Print the state of the apps; return whether all of them are ready."""
    snapshot = client(config_file).call("snapshot")
    if clear:
        click.clear()
    if as_json:
        config = load_or_none(config_file)
        disabled = [name for name, app in config.apps.items() if not app.enabled] if config else []
        print_json({**snapshot, "disabled": disabled})
    else:
        _print_snapshot(snapshot)
    return all(app["state"] == "ready" for app in snapshot["apps"].values())


def _print_snapshot(snapshot: dict[str, Any]) -> None:
    head = f"flask-supervisor {snapshot['version']}, pid {snapshot['pid']}, "
    click.echo(f"{head}up {age_text(snapshot['age_s'])}: ", nl=False)
    click.secho(snapshot["status"], fg=COLOURS[snapshot["status"]])
    width = max([3, *(len(name) for name in snapshot["apps"])])
    click.echo(f"{'APP':<{width}}  {'STATE':<8}  {'SERVING':<15}  {'PORT':<5}  {'PID':<7}  SINCE")
    for name, app in snapshot["apps"].items():
        _print_app(name, app, width)
    for name, check in snapshot["checks"].items():
        if check["reason"]:
            colour = COLOURS[check["status"]]
            print_wrapped(check["reason"], head=f"check {name}: ", indent=2, colour=colour)


def _print_app(name: str, app: dict[str, Any], width: int) -> None:
    """Print the row of an app, its name ``width`` columns wide; its reason and hint below."""
    state = click.style(f"{app['state']:<8}", fg=COLOURS[app["status"]])
    port, pid = app["port"] or "-", app["pid"] or "-"
    click.echo(
        f"{name:<{width}}  {state}  {app['serving']:<15}  {port:<5}  {pid:<7}  "
        f"{age_text(app['age_s'])}"
    )
    for text in (app["reason"], app["hint"]):
        if text:
            print_wrapped(text, indent=width + 2)
