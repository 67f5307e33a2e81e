"""``flask-supervisor run``: the main process."""

import asyncio
import gc
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from supervisor.cli.options import config_option
from supervisor.config import reader
from supervisor.config.installed import installed_config, running_service
from supervisor.config.locate import find
from supervisor.config.settings import Config

_DISK_TIMEOUT_S = 5.0  # a card that is checked, or wakes up, takes less
_NO_FILE = "<command line>"  # in place of a configuration file, in messages


@click.command("run", epilog="Example: flask-supervisor run --config config/supervisor.toml")
@click.argument("target", metavar="[TARGET]", required=False)
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
@click.option("--port", metavar="N", type=click.IntRange(1, 65535), help="The port for TARGET.")
@click.option("--host", metavar="ADDRESS", help="The address for TARGET. Default: 0.0.0.0.")
def run_command(
    target: str | None,
    config_file: str | None,
    reload_on_change: bool,
    last_good_config: bool,
    port: int | None,
    host: str | None,
) -> None:
    """Serve the apps in the foreground until SIGTERM or Ctrl-C.

    SIGHUP reads the configuration again and applies what has changed.

    With TARGET, serve one app without a configuration: a file such as hello.py, or module:app.
    """
    gc.disable()  # until everything is loaded: see `warm_up`
    from supervisor.systemd.notifier import report_start_failure

    if target is None and (port is not None or host is not None):
        raise click.UsageError("--port and --host need a TARGET")
    if target is not None and (config_file is not None or last_good_config):
        raise click.UsageError("TARGET is served without a configuration: name one of them")
    with report_start_failure(dict(os.environ)):
        if target is None:
            config = _load(find(config_file), last_good_config)
        else:
            config = _config_for(target, port, host)
        _serve(config, reload_on_change=reload_on_change)


def _config_for(target: str, port: int | None, host: str | None) -> Config:
    """Return a configuration with one app, which no file contains."""
    from supervisor.cli.targets import DEFAULT_PORT, read_target

    found = read_target(target)
    app = {"target": found.target, "port": port or found.port or DEFAULT_PORT}
    tables = {
        "supervisor": {} if host is None else {"host": host},
        "apps": {found.name: {**app, "path": str(found.path)}},
    }
    return reader.parse(tables, Path(_NO_FILE), os.environ)


def _serve(config: Config, *, reload_on_change: bool) -> NoReturn:
    """Be the main process, and exit with its exit code."""
    from supervisor.daemon.log import Log
    from supervisor.daemon.loop import Supervisor
    from supervisor.process.compiled_code import withstand_damage

    log = Log(config.supervisor.log_format, config.supervisor.log_level)
    withstand_damage(lambda text: log.event(text, app=None, kind="started", problem=True))
    for text in _notes(config):
        log.event(text, app=None, kind="config", problem=True)
    supervisor = Supervisor(config, log, reload_on_change=reload_on_change)
    sys.exit(asyncio.run(supervisor.run()))


def _load(file: Path, last_good_config: bool) -> Config:
    from supervisor.process.hanging_disks import hanging

    hangs = bool(hanging([file], timeout_s=_DISK_TIMEOUT_S))
    if not last_good_config and not hangs:
        return reader.load(file)
    from supervisor.config import last_good

    if not last_good_config:
        raise last_good.silent_disk(file)
    return last_good.load(file, hangs=hangs)


def _notes(config: Config) -> list[str]:
    """Return what an operator should know about the configuration that is in effect."""
    fallback = [config.fallback.reason] if config.fallback else []
    return [*config.problems, *fallback, *_beside(config)]


def _beside(config: Config) -> list[str]:
    """Return that the service runs too, if this is a second supervisor that was started by hand."""
    pid = running_service()
    if pid is None or "NOTIFY_SOCKET" in os.environ:
        return []
    served = installed_config()
    return [
        f"the service flask-supervisor runs beside this one, as pid {pid}, with "
        f"{served or 'a configuration of its own'}: a port that it has can't be bound here. To run "
        f"{config.file.name} in its place: sudo systemctl stop flask-supervisor"
    ]
