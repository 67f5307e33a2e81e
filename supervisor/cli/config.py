"""``flask-supervisor config check``, ``show``, ``history`` and ``restore``."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from supervisor.cli.output import config_option, json_option, load
from supervisor.config import last_good
from supervisor.config import reader as configuration
from supervisor.config.history import ConfigHistory, HistoryError, KeptConfig, digest_of, time_text
from supervisor.config.locate import find
from supervisor.config.show import planned, settings
from supervisor.values.errors import ConfigError
from supervisor.values.redaction import HIDDEN


@click.group("config", epilog="Example: flask-supervisor config show")
def config_group() -> None:
    """Check and show the configuration, and go back to an earlier one."""


@config_group.command("check", epilog="Example: flask-supervisor config check")
@config_option
@json_option
def check(config_file: str | None, as_json: bool) -> None:
    """Say everything that is wrong with the configuration. Exit code 1 if something is."""
    try:
        config = load(config_file)
    except ConfigError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"ok": False, "problems": error.problems}, ensure_ascii=False))
        raise SystemExit(1) from error
    not_yet = planned(config)
    if as_json:
        answer = {"ok": True, "problems": [], "not_in_effect": not_yet}
        click.echo(json.dumps(answer, ensure_ascii=False))
        return
    click.echo(f"{config.file} is valid")
    for path in not_yet:
        click.secho(f"note: {path} is set, but this version doesn't act on it yet", fg="yellow")


@config_group.command("show", epilog="Example: flask-supervisor config show")
@config_option
@json_option
def show(config_file: str | None, as_json: bool) -> None:
    """Show every value in effect, and where it came from. Secrets are never shown."""
    found = list(settings(load(config_file)))
    if as_json:
        values = {s.path: {"value": s.value, "origin": s.origin} for s in found}
        click.echo(json.dumps(values, ensure_ascii=False, indent=2))
        return
    width = max(len(f"{s.path} = {_text(s.value)}") for s in found if s.origin != "default")
    for setting in found:
        line = f"{setting.path} = {_text(setting.value)}"
        default = setting.origin == "default"
        click.secho(f"{line:<{min(width, 60)}}  # {setting.origin}", dim=default)


def _text(value: Any) -> str:
    if value is None:
        return "(not set)"
    return value if value == HIDDEN else json.dumps(value, ensure_ascii=False)


@config_group.command("history", epilog="Example: flask-supervisor config history --show 12")
@config_option
@json_option
@click.option("--show", "wanted", metavar="N", help="Print the text of one of them.")
def history(config_file: str | None, as_json: bool, wanted: str | None) -> None:
    """List the configurations that came up, newest first, and those that were replaced."""
    if wanted is not None and as_json:
        raise click.UsageError("--show prints a text, --json the list: choose one")
    file = find(config_file)
    kept = last_good.history(file)
    if wanted is not None:
        click.echo(kept.read(kept.find(wanted)), nl=False)
        return
    present = _digest_in(file)
    entries = kept.entries()
    if as_json:
        documents = [_document(entry, present) for entry in entries]
        click.echo(json.dumps({"configurations": documents}, ensure_ascii=False, indent=2))
        return
    if not entries:
        click.echo("no configuration has been kept yet: the first one that comes up will be")
    for entry in entries:
        note = "" if entry.worked else "  was replaced, never came up"
        if entry.digest == present:
            note = f"  is in {file.name}{'' if entry.worked else ', never came up'}"
        click.echo(f"{entry.name:<14}  {time_text(entry)}{note}")


@config_group.command("restore", epilog="Example: flask-supervisor config restore 12")
@click.argument("wanted", metavar="[N]", required=False)
@config_option
def restore(wanted: str | None, config_file: str | None) -> None:
    """Put a configuration of the history back into the file: N, else the last that differs.

    What is in the file now is kept first.
    """
    file = find(config_file)
    kept = last_good.history(file)
    entry = _last_other(kept, _digest_in(file)) if wanted is None else kept.find(wanted)
    kept.restore(entry, file)
    click.echo(f"{file} is as it was in {entry.name}, of {time_text(entry)}")
    try:
        configuration.load(file)
    except ConfigError as error:
        raise HistoryError(
            f"but it can't be used now:\n{error.message}",
            hint="choose another one: flask-supervisor config history",
        ) from error
    click.echo("a supervisor that runs goes on with what it has read: restart it")


def _last_other(kept: ConfigHistory, present: str | None) -> KeptConfig:
    for entry in kept.entries():
        if entry.worked and entry.digest != present:
            return entry
    raise HistoryError(
        "there is no other configuration that came up",
        hint="see: flask-supervisor config history",
    )


def _digest_in(file: Path) -> str | None:
    try:
        return digest_of(file.read_bytes())
    except OSError:
        return None


def _document(entry: KeptConfig, present: str | None) -> dict[str, Any]:
    return {
        "number": entry.number,
        "digest": entry.digest,
        "time": datetime.fromtimestamp(entry.time_s, UTC).isoformat(timespec="seconds"),
        "came_up": entry.worked,
        "in_file": entry.digest == present,
    }


COMMANDS = {"config": config_group}
