"""``flask-supervisor config check``, ``show``, ``history`` and ``restore``."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from supervisor.cli.config_edit import edit
from supervisor.cli.options import config_option, group_config_option, json_option, load, naming
from supervisor.cli.output import local_time, print_json
from supervisor.config import last_good
from supervisor.config import reader as configuration
from supervisor.config.history import ConfigHistory, HistoryError, KeptConfig, digest_of
from supervisor.config.locate import find
from supervisor.config.show import settings
from supervisor.values.errors import ConfigError
from supervisor.values.redaction import HIDDEN

_VALUE_COLUMNS = 60  # origins stand behind values that are not longer


@click.group("config", epilog="Example: flask-supervisor config show")
@group_config_option
def config_command() -> None:
    """Check, show and edit the configuration; restore an earlier one."""


config_command.add_command(edit)


@config_command.command("check", epilog="Example: flask-supervisor config check")
@config_option
@json_option
def check(config_file: str | None, as_json: bool) -> None:
    """Report every problem of the configuration.

    Exit code 1 if there is one.
    """
    try:
        config = load(config_file)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"ok": False, "problems": error.problems}, one_line=True)
        raise SystemExit(1) from error
    if as_json:
        print_json({"ok": True, "problems": []}, one_line=True)
    else:
        click.echo(f"{config.file} is valid")


@config_command.command("show", epilog="Example: flask-supervisor config show")
@config_option
@json_option
def show(config_file: str | None, as_json: bool) -> None:
    """Show every value in effect and its origin.

    Secrets are not shown.
    """
    found = list(settings(load(config_file)))
    if as_json:
        print_json({s.path: {"value": s.value, "origin": s.origin} for s in found})
        return
    width = max(len(f"{s.path} = {_text(s.value)}") for s in found if s.origin != "default")
    for setting in found:
        line = f"{setting.path} = {_text(setting.value)}"
        default = setting.origin == "default"
        click.secho(f"{line:<{min(width, _VALUE_COLUMNS)}}  # {setting.origin}", dim=default)


def _text(value: Any) -> str:
    if value is None:
        return "(not set)"
    return value if value == HIDDEN else json.dumps(value, ensure_ascii=False)


@config_command.command("history", epilog="Example: flask-supervisor config history --show 12")
@config_option
@json_option
@click.option("--show", "wanted", metavar="N", help="Print the text of configuration N.")
def history(config_file: str | None, as_json: bool, wanted: str | None) -> None:
    """List the configurations that came up, newest first.

    Those that `restore` replaced are listed too.
    """
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
        print_json({"configurations": [_document(entry, present) for entry in entries]})
        return
    if not entries:
        click.echo("the history is empty: it gets each configuration that comes up")
    for entry in entries:
        click.echo(f"{entry.name:<14}  {_kept_at(entry)}{_note(entry, present, file)}")


def _note(entry: KeptConfig, present: str | None, file: Path) -> str:
    if entry.digest == present:
        return f"  in {file.name} now" + ("" if entry.worked else ", never came up")
    return "" if entry.worked else "  replaced, never came up"


@config_command.command("restore", epilog="Example: flask-supervisor config restore 12")
@click.argument("wanted", metavar="[N]", required=False)
@config_option
def restore(wanted: str | None, config_file: str | None) -> None:
    """Restore a configuration from the history.

    N is its number; by default, the newest that differs from the file. The history gets what is in
    the file now.
    """
    file = find(config_file)
    kept = last_good.history(file)
    entry = _newest_other(kept, _digest_in(file)) if wanted is None else kept.find(wanted)
    kept.restore(entry, file)
    click.echo(f"{file}: restored {entry.name} of {_kept_at(entry)}")
    try:
        configuration.load(file)
    except ConfigError as error:
        raise HistoryError(
            f"the restored configuration is not valid:\n{error.message}",
            hint="choose another one: flask-supervisor config history",
        ) from error
    click.echo(f"apply it to a running supervisor: flask-supervisor reload{naming(config_file)}")


def _newest_other(kept: ConfigHistory, present: str | None) -> KeptConfig:
    for entry in kept.entries():
        if entry.worked and entry.digest != present:
            return entry
    raise HistoryError(
        "the history has no other configuration that came up",
        hint="see: flask-supervisor config history",
    )


def _digest_in(file: Path) -> str | None:
    try:
        return digest_of(file.read_bytes())
    except OSError:
        return None


def _kept_at(entry: KeptConfig) -> str:
    return local_time(entry.time_s, timespec="minutes")


def _document(entry: KeptConfig, present: str | None) -> dict[str, Any]:
    return {
        "number": entry.number,
        "digest": entry.digest,
        "time": datetime.fromtimestamp(entry.time_s, UTC).isoformat(timespec="seconds"),
        "came_up": entry.worked,
        "in_file": entry.digest == present,
    }
