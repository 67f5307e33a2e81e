"""How commands print: colours, JSON, notes and errors, lines that fit the terminal."""

import codecs
import contextlib
import io
import json
import os
import re
import shlex
import shutil
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from supervisor.values.errors import SupervisorError

T = TypeVar("T")

COLOURS = {"pass": "green", "warn": "yellow", "fail": "red"}
_WIDTH_MIN = 20  # columns for a text, however narrow the terminal is
_PIP = re.compile(r"(?:^|(?<=: ))pip(?= (?:un)?install )")
_DAY_S, _HOUR_S, _MINUTE_S = 86400, 3600, 60


def accept_every_character() -> None:
    """Let standard output and error escape what their encoding doesn't have, not raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_json(document: Any, *, one_line: bool = False) -> None:
    """Print a JSON document, indented unless ``one_line``; it is valid in every encoding."""
    encoding = codecs.lookup(getattr(sys.stdout, "encoding", None) or "utf-8").name
    indent = None if one_line else 2
    click.echo(json.dumps(document, ensure_ascii=encoding != "utf-8", indent=indent))


def print_error(error: SupervisorError) -> None:
    """Print on standard error what went wrong, and what to do next."""
    for line in error.message.splitlines():
        print_wrapped(line, head=click.style("error: ", fg="red"), indent=2, err=True)
    if error.hint:
        print_wrapped(error.hint, indent=2, err=True)


def print_note(text: str) -> None:
    """Print on standard error what the reader should know."""
    print_wrapped(text, head=click.style("note: ", fg="yellow"), indent=2, err=True)


def show_again(show: Callable[[bool], T], *, watch: bool, every_s: float) -> T:
    """Call ``show``, and with ``watch`` again every ``every_s`` seconds, until Ctrl-C.

    It gets whether to clear the screen first. Return what it returned last.
    """
    shown = show(watch)
    with contextlib.suppress(KeyboardInterrupt):
        while watch:
            time.sleep(every_s)
            shown = show(True)
    return shown


def print_wrapped(
    text: str, *, indent: int, head: str = "", colour: str | None = None, err: bool = False
) -> None:
    """Print ``head`` and ``text``, which goes on behind ``indent`` spaces if it is too long.

    Only a terminal gets wrapped lines: programs get the text whole. ``head`` may be styled; by
    default it is the indent. Where the text says pip, this environment's is meant.
    """
    text = _PIP.sub(_own_pip, text)
    if "\n" in text:  # an excerpt of a file, whose columns matter
        click.echo(textwrap.indent(text, " " * indent), err=err)
        return
    head = head or " " * indent
    first, *others = _lines(text, click.unstyle(head), indent, sys.stderr if err else sys.stdout)
    click.echo(head, nl=False, err=err)
    click.secho(first, fg=colour, err=err)
    for line in others:
        click.echo(" " * indent, nl=False, err=err)
        click.secho(line, fg=colour, err=err)


def _own_pip(_match: "re.Match[str]") -> str:
    """Return how this user calls the pip of this environment, which need not be the one in PATH."""
    found, own = shutil.which("pip"), Path(sys.executable).with_name("pip")
    if not own.exists() or (found and Path(found).resolve() == own.resolve()):
        return "pip"
    return f"{'' if os.access(sys.prefix, os.W_OK) else 'sudo '}{shlex.quote(str(own))}"


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


def local_time(moment: str | float, *, timespec: str = "seconds") -> str:
    """Return a time in the zone of this machine, with its offset: ``2026-11-23 10:15:03+01:00``.

    ``moment`` is a time in RFC 3339, as the supervisor reports them, or seconds since 1970. A text
    that is no such time is returned unchanged.
    """
    try:
        known = (
            datetime.fromisoformat(moment)
            if isinstance(moment, str)
            else datetime.fromtimestamp(moment, UTC)
        )
        return known.astimezone().isoformat(sep=" ", timespec=timespec)
    except (ValueError, OverflowError, OSError):
        return str(moment)


def age_text(seconds: float) -> str:
    """Return a duration in its largest whole unit, as ``3 min``."""
    for unit_s, unit in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= unit_s:
            return f"{int(seconds // unit_s)} {unit}"
    return f"{int(seconds)} s"
