"""``flask-supervisor logs`` and ``events``: what apps printed, and what happened."""

import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from supervisor.cli.options import app_names, client, config_option, json_option
from supervisor.cli.output import local_time, print_json
from supervisor.values.errors import ControlError

_FOLLOW_S = 0.3  # between two requests for new lines
_DEFAULT_LINES = 50
_COLOURS = {"warning": "yellow", "error": "red", "critical": "red"}
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

Record = dict[str, Any]
Fetch = Callable[[int], tuple[list[Record], int]]
"""Returns the records with a number above the given one, and the number of the newest."""

_follow_option = click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")


def _age(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """Return the seconds of ``30s``, ``10m``, ``2h`` or ``1d``; a number alone is seconds."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not found:
        raise click.BadParameter("must be an age such as 30s, 10m, 2h or 1d")
    return float(found[1]) * _UNITS_S[found[2] or "s"]


_newest_option = partial(
    click.option, "-n", "--lines", type=click.IntRange(min=0), default=None, metavar="N"
)


@click.command("logs", epilog="Example: flask-supervisor logs coach -f")
@click.argument("apps", metavar="[APP]...", nargs=-1, shell_complete=app_names)
@config_option
@json_option
@_follow_option
@_newest_option(help=f"Only the newest N. Default: {_DEFAULT_LINES}, or all with --since.")
@click.option("--since", callback=_age, metavar="AGE", help="Not older than 30s, 10m, 2h or 1d.")
def logs_command(
    apps: tuple[str, ...],
    config_file: str | None,
    as_json: bool,
    follow: bool,
    lines: int | None,
    since: float | None,
) -> None:
    """Show what apps printed and what the supervisor logged.

    With APP, only of the named apps, in order of time. The supervisor keeps the newest 500 lines of
    each app; the journal keeps more.
    """
    supervisor = client(config_file)
    if lines is None and since is None:
        lines = _DEFAULT_LINES
    wanted = {"newest": lines, "max_age_s": since}
    first = {name: value for name, value in wanted.items() if value is not None}

    def fetch(after: int) -> tuple[list[Record], int]:
        params = {"after": after, **(first if after == 0 else {})}
        answers = [supervisor.call("logs", app=app, **params) for app in apps or (None,)]
        return _merged(answers, newest=params.get("newest"))

    _show(fetch, _print_line, as_json=as_json, follow=follow)


def _merged(answers: list[dict[str, Any]], *, newest: float | None) -> tuple[list[Record], int]:
    """Return the lines of several answers by number, each once, and the number to go on from.

    A line that came after the first of the answers waits for the next turn: an answer that was
    given before it may lack a line with a lower number.
    """
    last = min(answer["last"] for answer in answers)
    lines = {line["number"]: line for answer in answers for line in answer["lines"]}
    ordered = [lines[number] for number in sorted(lines) if number <= last]
    return _newest(ordered, newest), last


def _newest(records: list[Record], count: float | None) -> list[Record]:
    """Return the last ``count`` records, all for None."""
    return records if count is None else records[max(0, len(records) - int(count)) :]


@click.command("events", epilog="Example: flask-supervisor events -f")
@config_option
@json_option
@_follow_option
@_newest_option(help="Only the newest N. Default: all, up to 500.")
@click.option("--since", callback=_age, metavar="AGE", help="Not older than 30s, 10m, 2h or 1d.")
def events_command(
    config_file: str | None, as_json: bool, follow: bool, lines: int | None, since: float | None
) -> None:
    """Show starts, failures, repairs and operators' commands.

    Those of before a restart of the supervisor or the machine too, up to 200 in all.
    """
    supervisor = client(config_file)

    def fetch(after: int) -> tuple[list[Record], int]:
        limit = {"max_age_s": since} if since is not None and after == 0 else {}
        answer = supervisor.call("events", after=after, **limit)
        return _newest(answer["events"], lines if after == 0 else None), answer["last"]

    _show(fetch, _print_event, as_json=as_json, follow=follow)


def _show(
    fetch: Fetch, print_one: Callable[[Record], None], *, as_json: bool, follow: bool
) -> None:
    """Print the records there are, and with ``follow`` those that come; JSON on one line each."""
    seen = 0
    try:
        while True:
            found, last = fetch(seen)
            for record in found:
                if as_json:
                    print_json(record, one_line=True)
                else:
                    print_one(record)
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


def _print_line(line: Record) -> None:
    head = f"{local_time(line['time'])} {line['app']:<10} {'|' if line['output'] else ' '} "
    click.secho(head, dim=True, nl=False)
    colour = _COLOURS.get(line["level"], None if line["output"] else "cyan")
    click.secho(line["text"], fg=colour)


def _print_event(event: Record) -> None:
    click.secho(f"{local_time(event['time'])} {event['app'] or '-':<10} ", dim=True, nl=False)
    click.echo(event["text"])
