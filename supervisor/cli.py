"""The command line: the group, ``run`` and ``status``.

Exit codes: 0 done, 1 it failed or was refused (the reason is on standard error), 2 wrong usage.
"""

import asyncio
import gc
import json
import os
import sys
import time
from pathlib import Path

import click

from supervisor import __version__
from supervisor import config as configuration
from supervisor.cli_check import check
from supervisor.cli_config import config_group
from supervisor.cli_doctor import doctor
from supervisor.cli_operate import events, logs, reload, restart, start, stop
from supervisor.cli_releases import compare, deploy, releases, rollback
from supervisor.cli_service import service_group
from supervisor.effective import planned
from supervisor.errors import SupervisorError
from supervisor.output import (
    client,
    config_option,
    json_option,
    load_or_none,
    print_error,
    print_status,
)
from supervisor.process import open_standard_streams
from supervisor.settings import Config

_WATCH_S = 1.0


def main() -> None:
    """Run the command line and exit."""
    if sys.platform != "linux":
        click.echo("error: flask-supervisor runs on Linux only", err=True)
        sys.exit(1)
    open_standard_streams()
    gc.enable()
    try:
        cli(prog_name="flask-supervisor")
    except SupervisorError as error:
        print_error(error)
        sys.exit(1)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: flask-supervisor run --config config/supervisor.toml",
)
@click.version_option(__version__, message="flask-supervisor %(version)s")
def cli() -> None:
    """Keep several Flask apps answering on their ports, whatever happens to one of them."""


@cli.command(epilog="Example: flask-supervisor run --config config/supervisor.toml")
@config_option
@click.option(
    "--reload",
    "reload_on_change",
    is_flag=True,
    help="For developers: reload an app when a file of it is saved.",
)
@click.option(
    "--last-good-config",
    is_flag=True,
    help="If the configuration can't be used, run with the last one that worked.",
)
def run(config_file: str | None, reload_on_change: bool, last_good_config: bool) -> None:
    """Bind the ports and serve the apps, in the foreground, until SIGTERM or Ctrl-C.

    SIGHUP reads the configuration anew and changes what it changes.
    """
    gc.disable()  # until everything is loaded: see `warm_up`
    from supervisor.logs import Log
    from supervisor.loop import Supervisor
    from supervisor.notifier import told

    with told(dict(os.environ)):
        file = configuration.find(config_file)
        config = _load(file, last_good=last_good_config)
        log = Log(config.supervisor.log_format, config.supervisor.log_level)
        notes = [*config.problems, *([config.fallback.reason] if config.fallback else [])]
        notes += [f"{path} is set, but has no effect in this version" for path in planned(config)]
        for text in notes:
            log.event(text, app=None, kind="config", problem=True)
        supervisor = Supervisor(config, log, reload_on_change=reload_on_change)
        sys.exit(asyncio.run(supervisor.run()))


def _load(file: Path, *, last_good: bool) -> Config:
    if not last_good:
        return configuration.load(file)
    from supervisor import lastgood  # a person who starts it by hand needs no history

    return lastgood.load(file)


@cli.command(epilog="Example: flask-supervisor status --watch")
@config_option
@json_option
@click.option("--watch", is_flag=True, help="Show it anew every second, until Ctrl-C.")
def status(config_file: str | None, as_json: bool, watch: bool) -> None:
    """Show what every app does and why. Exit code 0 when all are ready, else 1."""
    if watch and as_json:
        raise click.UsageError("--watch is for people, --json for programs: choose one")
    ready = _show_status(config_file, as_json=as_json, clear=watch)
    while watch:
        try:
            time.sleep(_WATCH_S)
            ready = _show_status(config_file, as_json=False, clear=True)
        except KeyboardInterrupt:
            break
    sys.exit(0 if ready else 1)


def _show_status(config_file: str | None, *, as_json: bool, clear: bool) -> bool:
    picture = client(config_file).call("snapshot")
    if clear:
        click.clear()
    if as_json:
        config = load_or_none(config_file)
        disabled = [name for name, app in config.apps.items() if not app.enabled] if config else []
        click.echo(json.dumps({**picture, "disabled": disabled}, ensure_ascii=False, indent=2))
    else:
        print_status(picture)
    return all(app["state"] == "ready" for app in picture["apps"].values())


for command in (
    check,
    start,
    stop,
    restart,
    reload,
    logs,
    events,
    deploy,
    rollback,
    releases,
    compare,
    config_group,
    doctor,
    service_group,
):
    cli.add_command(command)
