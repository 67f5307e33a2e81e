"""``flask-supervisor config check`` and ``config show``."""

import json
from typing import Any

import click

from supervisor.effective import planned, settings
from supervisor.errors import ConfigError
from supervisor.output import config_option, json_option, load
from supervisor.redaction import HIDDEN


@click.group("config", epilog="Example: flask-supervisor config show")
def config_group() -> None:
    """Check and show the configuration."""


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
