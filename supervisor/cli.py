"""The command line: the group, ``run``, ``status`` and ``check``.

Exit codes: 0 done, 1 it failed or was refused (the reason is on standard error), 2 wrong usage.
"""

import asyncio
import json
import sys
import time
from typing import Any

import click

from supervisor import __version__, lastgood
from supervisor import config as configuration
from supervisor.cli_config import config_group
from supervisor.cli_doctor import doctor
from supervisor.cli_operate import events, logs, reload, restart, start, stop
from supervisor.effective import planned
from supervisor.errors import ConfigError, SupervisorError
from supervisor.output import (
    app_names,
    client,
    config_option,
    json_option,
    load,
    load_running,
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
    try:
        cli()
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
    "--last-good-config",
    is_flag=True,
    help="If the configuration can't be used, run with the last one that worked.",
)
def run(config_file: str | None, last_good_config: bool) -> None:
    """Bind the ports and serve the apps, in the foreground, until SIGTERM or Ctrl-C."""
    from supervisor.logs import Log
    from supervisor.loop import Supervisor

    file = configuration.find(config_file)
    config = (lastgood if last_good_config else configuration).load(file)
    log = Log(config.supervisor.log_format, config.supervisor.log_level)
    for problem in config.problems:
        log.event(problem, app=None, kind="config", problem=True)
    if config.fallback is not None:
        log.event(str(config.fallback.reason), app=None, kind="config", problem=True)
    for path in planned(config):
        text = f"{path} is set, but this version doesn't act on it yet"
        log.event(text, app=None, kind="config", problem=True)
    sys.exit(asyncio.run(Supervisor(config, log).run()))


@cli.command(epilog="Example: flask-supervisor status --watch")
@config_option
@json_option
@click.option("--watch", is_flag=True, help="Show it anew every second, until Ctrl-C.")
def status(config_file: str | None, as_json: bool, watch: bool) -> None:
    """Show what every app does and why. Exit code 0 when all are ready, else 1."""
    if watch and as_json:
        raise click.UsageError("--watch is for people, --json for programs: choose one")
    config = load_running(config_file)
    ready = _show_status(config, as_json=as_json, clear=watch)
    while watch:
        try:
            time.sleep(_WATCH_S)
            ready = _show_status(config, as_json=False, clear=True)
        except KeyboardInterrupt:
            break
    sys.exit(0 if ready else 1)


def _show_status(config: Config, *, as_json: bool, clear: bool) -> bool:
    picture = client(config).call("snapshot")
    if clear:
        click.clear()
    if as_json:
        disabled = [name for name, app in config.apps.items() if not app.enabled]
        click.echo(json.dumps({**picture, "disabled": disabled}, ensure_ascii=False, indent=2))
    else:
        print_status(picture)
    return all(app["state"] == "ready" for app in picture["apps"].values())


@cli.command(epilog="Example: flask-supervisor check coach")
@click.argument("apps", metavar="[APP]...", nargs=-1, shell_complete=app_names)
@config_option
@json_option
def check(apps: tuple[str, ...], config_file: str | None, as_json: bool) -> None:
    """Check the configuration, import every app (or the named ones), look at what they require.

    Imports happen in throw-away processes; nothing is served and no port is touched. Exit code 1
    for any finding that would keep an app from working.
    """
    from supervisor.checking import check_apps, check_requires

    try:
        config = load(config_file)
    except ConfigError as error:
        if as_json:
            answer = {"ok": False, "problems": error.problems, "requires": [], "apps": {}}
            click.echo(json.dumps(answer, ensure_ascii=False, indent=2))
        raise
    unknown = [name for name in apps if name not in config.apps]
    if unknown:
        known = ", ".join(config.apps)
        raise click.UsageError(f"there is no app {unknown[0]!r} in {config.file}; known: {known}")
    findings: dict[str, Any] = {}
    for_all = check_requires(config, None)
    if not as_json:
        _print_requires(for_all, "")
    for name, finding in check_apps(config, list(apps)):
        required = check_requires(config, name)
        ok = finding["ok"] and not _unmet(required)
        findings[name] = {**finding, "ok": ok, "requires": required}
        if not as_json:
            _print_finding(name, finding)
            _print_requires(required, "  ")
    failed = [name for name, finding in findings.items() if not finding["ok"]]
    if as_json:
        ok = not failed and not _unmet(for_all)
        answer = {"ok": ok, "problems": [], "requires": for_all, "apps": findings}
        click.echo(json.dumps(answer, ensure_ascii=False, indent=2))
    elif _unmet(for_all) and not failed:
        click.echo(f"{config.file} is valid, but something that all apps require is missing")
    elif failed:
        click.echo(f"{len(failed)} of {len(findings)} apps can't be served: {', '.join(failed)}")
    else:
        click.echo(f"nothing found: {config.file} is valid, and every app can be served")
    sys.exit(1 if failed or _unmet(for_all) else 0)


def _unmet(required: list[dict[str, Any]]) -> bool:
    return any(one["critical"] and not one["ok"] for one in required)


def _print_requires(required: list[dict[str, Any]], indent: str) -> None:
    for one in required:
        click.echo(f"{indent}requires {one['requirement']}: ", nl=False)
        if one["ok"]:
            click.secho("ok", fg="green")
        else:
            click.secho(one["reason"], fg="red" if one["critical"] else "yellow")
            if one["hint"]:
                click.echo(f"{indent}  {one['hint']}")


def _print_finding(name: str, finding: dict[str, Any]) -> None:
    click.echo(f"{name}: ", nl=False)
    if finding["ok"]:
        click.secho("ok", fg="green", nl=False)
        click.echo(f", imported in {finding['seconds']:.2f} s")
    else:
        click.secho(finding["reason"], fg="red")
        if finding["hint"]:
            click.echo(f"  {finding['hint']}")
    if len(finding["missing"]) > 1:
        click.echo("  all that keeps it from being imported:")
        for one in finding["missing"]:
            click.secho(f"    {_place(one)}: {one['detail']}", fg="red")
    for one in finding["notes"]:
        click.secho(f"  note: {_place(one)}: {one['detail']}", fg="yellow")


def _place(finding: dict[str, Any]) -> str:
    if finding["file"] is None:
        return "target"
    return str(finding["file"]) + (f":{finding['line']}" if finding["line"] else "")


for command in (start, stop, restart, reload, logs, events, config_group, doctor):
    cli.add_command(command)
