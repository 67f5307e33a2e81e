"""How commands print: colours, JSON, notes and errors, lines that fit the terminal."""

import json
import shutil
import sys
import textwrap
from typing import IO, Any

import click

from supervisor.values.errors import SupervisorError

COLOURS = {"pass": "green", "warn": "yellow", "fail": "red"}
_WIDTH_MIN = 20  # columns for a text, however narrow the terminal is
_DAY_S, _HOUR_S, _MINUTE_S = 86400, 3600, 60


def print_json(document: Any, *, one_line: bool = False) -> None:
    """Print a JSON document, indented unless ``one_line``."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=None if one_line else 2))


def print_error(error: SupervisorError) -> None:
    """Print on standard error what went wrong, and what to do next."""
    for line in error.message.splitlines():
        click.secho("error: ", fg="red", nl=False, err=True)
        click.echo(line, err=True)
    if error.hint:
        click.echo(f"  {error.hint}", err=True)


def print_note(text: str) -> None:
    """Print on standard error what the reader should know."""
    click.secho("note: ", fg="yellow", nl=False, err=True)
    click.echo(text, err=True)


def print_wrapped(
    text: str, *, indent: int, head: str = "", colour: str | None = None, err: bool = False
) -> None:
    """Print ``head`` and ``text``, which goes on behind ``indent`` spaces if it is too long.

    Only a terminal gets wrapped lines: programs get the text whole. ``head`` may be styled; by
    default it is the indent.
    """
    head = head or " " * indent
    first, *others = _lines(text, click.unstyle(head), indent, sys.stderr if err else sys.stdout)
    click.echo(head, nl=False, err=err)
    click.secho(first, fg=colour, err=err)
    for line in others:
        click.echo(" " * indent, nl=False, err=err)
        click.secho(line, fg=colour, err=err)


def _lines(text: str, head: str, indent: int, stream: IO[str] | None) -> list[str]:
    if stream is None or not stream.isatty():
        return [text]
    wrapper = textwrap.TextWrapper(
        max(shutil.get_terminal_size().columns, indent + _WIDTH_MIN),
        initial_indent=head,
        subsequent_indent=" " * indent,
        break_long_words=False,  # paths and addresses stay whole, so that they can be copied
        break_on_hyphens=False,
    )
    first, *others = wrapper.wrap(text) or [head]
    return [first[len(head) :], *(line[indent:] for line in others)]


def age_text(seconds: float) -> str:
    """Return a duration in its largest whole unit, as ``3 min``."""
    for unit_s, unit in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= unit_s:
            return f"{int(seconds // unit_s)} {unit}"
    return f"{int(seconds)} s"
