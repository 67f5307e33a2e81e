"""The command line: the group, ``run`` and ``status``.

Exit codes: 0 done, 1 it failed or was refused (the reason is on standard error), 2 wrong usage.
"""

import asyncio
import gc
import importlib
import json
import os
import sys
import time
from pathlib import Path

import click

from supervisor import __version__
from supervisor.cli.output import (
    client,
    config_option,
    json_option,
    load_or_none,
    print_error,
    print_status,
)
from supervisor.config import reader
from supervisor.config.locate import find
from supervisor.config.settings import Config
from supervisor.config.show import planned
from supervisor.process.fork import open_standard_streams
from supervisor.values.errors import SupervisorError

_WATCH_S = 1.0
_ELSEWHERE = {
    "check": ("check",),
    "config": ("config",),
    "doctor": ("doctor",),
    "operate": ("start", "stop", "restart", "reload", "logs", "events"),
    "releases": ("deploy", "rollback", "releases", "compare"),
    "service": ("service",),
}
"""The other commands, by the module that has them."""


class Commands(click.Group):
    """Loads the module of a command when that is used: `run` starts sooner without the others."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Give the names of all commands."""
        return sorted({*self.commands, *(name for names in _ELSEWHERE.values() for name in names)})

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Give a command, or None where there is none of that name."""
        for module, names in _ELSEWHERE.items():
            if name in names:
                found = importlib.import_module(f"supervisor.cli.{module}").COMMANDS[name]
                assert isinstance(found, click.Command)
                return found
        return self.commands.get(name)


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
    cls=Commands,
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
    from supervisor.systemd.notifier import told

    with told(dict(os.environ)):
        config = _load(find(config_file), last_good_config)
        from supervisor.daemon.log import Log
        from supervisor.daemon.loop import Supervisor

        log = Log(config.supervisor.log_format, config.supervisor.log_level)
        notes = [*config.problems, *([config.fallback.reason] if config.fallback else [])]
        notes += [f"{path} is set, but has no effect in this version" for path in planned(config)]
        for text in notes:
            log.event(text, app=None, kind="config", problem=True)
        supervisor = Supervisor(config, log, reload_on_change=reload_on_change)
        sys.exit(asyncio.run(supervisor.run()))


def _load(file: Path, last_good_config: bool) -> Config:
    if not last_good_config:
        return reader.load(file)
    from supervisor.config import last_good

    return last_good.load(file)


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
    snapshot = client(config_file).call("snapshot")
    if clear:
        click.clear()
    if as_json:
        config = load_or_none(config_file)
        disabled = [name for name, app in config.apps.items() if not app.enabled] if config else []
        click.echo(json.dumps({**snapshot, "disabled": disabled}, ensure_ascii=False, indent=2))
    else:
        print_status(snapshot)
    return all(app["state"] == "ready" for app in snapshot["apps"].values())
