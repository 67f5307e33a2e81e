"""``flask-supervisor run``: the main process."""

import asyncio
import gc
import os
import sys
from pathlib import Path

import click

from supervisor.cli.options import config_option
from supervisor.config import reader
from supervisor.config.locate import find
from supervisor.config.settings import Config
from supervisor.config.show import planned


@click.command("run", epilog="Example: flask-supervisor run --config config/supervisor.toml")
@config_option
@click.option(
    "--reload",
    "reload_on_change",
    is_flag=True,
    help="For developers: reload an app when one of its files is saved.",
)
@click.option(
    "--last-good-config",
    is_flag=True,
    help="If the configuration is not valid, run with the last one that worked.",
)
def run_command(config_file: str | None, reload_on_change: bool, last_good_config: bool) -> None:
    """Serve the apps in the foreground until SIGTERM or Ctrl-C.

    SIGHUP reads the configuration again and applies what has changed.
    """
    gc.disable()  # until everything is loaded: see `warm_up`
    from supervisor.systemd.notifier import report_start_failure

    with report_start_failure(dict(os.environ)):
        config = _load(find(config_file), last_good_config)
        from supervisor.daemon.log import Log
        from supervisor.daemon.loop import Supervisor

        log = Log(config.supervisor.log_format, config.supervisor.log_level)
        for text in _notes(config):
            log.event(text, app=None, kind="config", problem=True)
        supervisor = Supervisor(config, log, reload_on_change=reload_on_change)
        sys.exit(asyncio.run(supervisor.run()))


def _load(file: Path, last_good_config: bool) -> Config:
    if not last_good_config:
        return reader.load(file)
    from supervisor.config import last_good

    return last_good.load(file)


def _notes(config: Config) -> list[str]:
    """Return what an operator should know about the configuration that is in effect."""
    fallback = [config.fallback.reason] if config.fallback else []
    without_effect = [
        f"{path} is set, but has no effect in this version" for path in planned(config)
    ]
    return [*config.problems, *fallback, *without_effect]
