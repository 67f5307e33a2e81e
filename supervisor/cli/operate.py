"""Commands that ask the running supervisor: start, stop, restart, reload, logs, events."""

import json
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from supervisor.cli.output import app_names, client, config_option, json_option, load_or_none
from supervisor.config.settings import AppSettings
from supervisor.values.errors import ControlError

_FOLLOW_S = 0.3  # between two looks for new lines
_OUTCOME_MARGIN_S = 15.0  # beyond the limits of an app
_DEFAULT_LINES = 50
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_apps_argument = click.argument(
    "apps", metavar="APP...|all", nargs=-1, required=True, shell_complete=app_names
)


def _operate(method: str, apps: tuple[str, ...], config_file: str | None, as_json: bool) -> None:
    """Ask for ``method`` on the apps, wait, and exit 1 unless it worked for each of them."""
    config = load_or_none(config_file)
    settings = list(config.apps.values()) if config else [AppSettings(target="")]
    longest_s = max(app.import_timeout_s * 2 + app.stop_timeout_s * 2 for app in settings)
    asking = client(config_file, timeout_s=longest_s + _OUTCOME_MARGIN_S)
    answer = asking.call(method, apps=list(apps)) if apps else asking.call(method)
    outcomes = answer["apps"]
    failed = [name for name, outcome in outcomes.items() if not outcome["ok"]]
    if as_json:
        text = json.dumps({"ok": not failed, **answer}, ensure_ascii=False, indent=2)
        click.echo(text)
    elif "configuration" in answer:
        click.echo(f"the configuration: {answer['configuration']}")
    for name, outcome in outcomes.items() if not as_json else ():
        click.secho(f"{name}: ", nl=False, err=not outcome["ok"])
        click.secho(outcome["reason"], fg=None if outcome["ok"] else "red", err=not outcome["ok"])
        if outcome["hint"]:
            click.echo(f"  {outcome['hint']}", err=True)
    sys.exit(1 if failed else 0)


@click.command(epilog="Example: flask-supervisor start coach")
@_apps_argument
@config_option
@json_option
def start(apps: tuple[str, ...], config_file: str | None, as_json: bool) -> None:
    """Start apps, and wait until they serve; one that serves already is left alone."""
    _operate("start", apps, config_file, as_json)


@click.command(epilog="Example: flask-supervisor stop coach")
@_apps_argument
@config_option
@json_option
def stop(apps: tuple[str, ...], config_file: str | None, as_json: bool) -> None:
    """Stop apps: requests in flight are finished, then the port answers 503.

    An app stays stopped until it is started, or the supervisor ends.
    """
    _operate("stop", apps, config_file, as_json)


@click.command(epilog="Example: flask-supervisor restart all")
@_apps_argument
@config_option
@json_option
def restart(apps: tuple[str, ...], config_file: str | None, as_json: bool) -> None:
    """End the workers of apps, start them anew at once, and wait until they serve."""
    _operate("restart", apps, config_file, as_json)


@click.command(epilog="Example: flask-supervisor reload coach")
@click.argument("apps", metavar="[APP...|all]", nargs=-1, shell_complete=app_names)
@config_option
@json_option
def reload(apps: tuple[str, ...], config_file: str | None, as_json: bool) -> None:
    """Bring up the code on disk beside what runs, and let it take over when it serves.

    No request is refused or cut. An app whose new code can't be imported is refused: what runs
    goes on. Without APP the configuration is read anew, and only what it changes is touched, and
    apps whose files have changed.
    """
    _operate("reload", apps, config_file, as_json)


def _age(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """Read ``30s``, ``10m``, ``2h`` or ``1d``; a number alone is seconds."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not found:
        raise click.BadParameter("give an age, as 30s, 10m, 2h or 1d")
    return float(found[1]) * _UNITS_S[found[2] or "s"]


@click.command(epilog="Example: flask-supervisor logs coach -f")
@click.argument("app", required=False, shell_complete=app_names)
@config_option
@json_option
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines, until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=None,
    help=f"How many of the newest lines. Default: {_DEFAULT_LINES}, or all with --since.",
)
@click.option("--since", callback=_age, metavar="AGE", help="Not older than 30s, 10m, 2h, 1d.")
def logs(
    app: str | None,
    config_file: str | None,
    as_json: bool,
    follow: bool,
    lines: int | None,
    since: float | None,
) -> None:
    """Show what apps printed, and what the supervisor says of them: the newest lines.

    The supervisor keeps the newest 500 lines of each app; the journal keeps more.
    """
    asking = client(config_file)
    if lines is None and since is None:
        lines = _DEFAULT_LINES
    wanted = {"newest": lines, "max_age_s": since}
    first = {name: value for name, value in wanted.items() if value is not None}

    def ask(after: int) -> tuple[list[dict[str, Any]], int]:
        answer = asking.call("logs", app=app, after=after, **(first if after == 0 else {}))
        return answer["lines"], answer["last"]

    _show(ask, _print_line, as_json=as_json, follow=follow)


@click.command(epilog="Example: flask-supervisor events -f")
@config_option
@json_option
@click.option("-f", "--follow", is_flag=True, help="Go on with new events, until Ctrl-C.")
def events(config_file: str | None, as_json: bool, follow: bool) -> None:
    """Show what happened: starts, failures, repairs, ports, what operators asked for."""
    asking = client(config_file)

    def ask(after: int) -> tuple[list[dict[str, Any]], int]:
        answer = asking.call("events", after=after)
        return answer["events"], answer["last"]

    _show(ask, _print_event, as_json=as_json, follow=follow)


def _show(
    ask: Callable[[int], tuple[list[dict[str, Any]], int]],
    print_one: Callable[[dict[str, Any]], None],
    *,
    as_json: bool,
    follow: bool,
) -> None:
    """Print what there is, and with ``follow`` what comes; one JSON object a line for programs."""
    seen = 0
    try:
        while True:
            found, last = ask(seen)
            for one in found:
                if as_json:
                    click.echo(json.dumps(one, ensure_ascii=False))
                else:
                    print_one(one)
            seen = last
            if not follow:
                return
            time.sleep(_FOLLOW_S)
    except KeyboardInterrupt:
        return
    except ControlError as error:
        if not (follow and seen):
            raise
        raise ControlError("the supervisor has ended", code=error.code) from error


def _print_line(line: dict[str, Any]) -> None:
    head = f"{_clock(line['time'])} {line['app']:<10} {'|' if line['output'] else ' '} "
    click.secho(head, dim=True, nl=False)
    click.secho(line["text"], fg=None if line["output"] else "cyan")


def _print_event(event: dict[str, Any]) -> None:
    click.secho(f"{_clock(event['time'])} {event['app'] or '-':<10} ", dim=True, nl=False)
    click.echo(event["text"])


def _clock(rfc3339: str) -> str:
    """Give date and time without the letters between, in UTC as in the file."""
    return rfc3339.replace("T", " ").removesuffix("Z")


COMMANDS = {
    "start": start,
    "stop": stop,
    "restart": restart,
    "reload": reload,
    "logs": logs,
    "events": events,
}
