"""Commands that change the state of apps: start, stop, restart, reload."""

import sys

import click

from supervisor.cli.options import app_names, client, config_option, json_option, load_or_none
from supervisor.cli.output import print_json, print_wrapped
from supervisor.config.settings import AppSettings

_OUTCOME_MARGIN_S = 15.0  # beyond the limits of an app

_apps_argument = click.argument(
    "apps", metavar="APP...|all", nargs=-1, required=True, shell_complete=app_names
)


def operate(method: str, apps: tuple[str, ...], config_file: str | None, as_json: bool) -> None:
    """Call ``method`` on the apps, print the outcomes, and exit: 1 if one of them failed."""
    supervisor = client(config_file, timeout_s=_longest_s(config_file))
    answer = supervisor.call(method, apps=list(apps)) if apps else supervisor.call(method)
    ok = all(outcome["ok"] for outcome in answer["apps"].values())
    if as_json:
        print_json({"ok": ok, **answer})
        sys.exit(0 if ok else 1)
    if "configuration" in answer:
        click.echo(f"the configuration: {answer['configuration']}")
    for name, outcome in answer["apps"].items():
        failed = not outcome["ok"]
        colour = "red" if failed else None
        print_wrapped(outcome["reason"], head=f"{name}: ", indent=2, colour=colour, err=failed)
        if outcome["hint"]:
            print_wrapped(outcome["hint"], indent=2, err=True)
    sys.exit(0 if ok else 1)


def _longest_s(config_file: str | None) -> float:
    """Return how long the supervisor may need for an answer, in seconds."""
    config = load_or_none(config_file)
    settings = list(config.apps.values()) if config else [AppSettings(target="")]
    longest_s = max(app.import_timeout_s * 2 + app.stop_timeout_s * 2 for app in settings)
    return longest_s + _OUTCOME_MARGIN_S


@click.command("start", epilog="Example: flask-supervisor start coach")
@_apps_argument
@config_option
@json_option
def start_command(apps: tuple[str, ...], config_file: str | None, as_json: bool) -> None:
    """Start apps, and wait until they are ready.

    An app that is ready already is left alone; one that waits after a failure starts at once.
    """
    operate("start", apps, config_file, as_json)


@click.command("stop", epilog="Example: flask-supervisor stop coach")
@_apps_argument
@config_option
@json_option
def stop_command(apps: tuple[str, ...], config_file: str | None, as_json: bool) -> None:
    """Stop apps: finish their requests, then answer 503.

    An app stays stopped until it is started, or until the supervisor exits.
    """
    operate("stop", apps, config_file, as_json)


@click.command("restart", epilog="Example: flask-supervisor restart all")
@_apps_argument
@config_option
@json_option
def restart_command(apps: tuple[str, ...], config_file: str | None, as_json: bool) -> None:
    """Restart the workers of apps, and wait until they are ready.

    The workers exit before the new ones start; `reload` has no such gap.
    """
    operate("restart", apps, config_file, as_json)


@click.command("reload", epilog="Example: flask-supervisor reload coach")
@click.argument("apps", metavar="[APP...|all]", nargs=-1, shell_complete=app_names)
@config_option
@json_option
def reload_command(apps: tuple[str, ...], config_file: str | None, as_json: bool) -> None:
    """Load new code or a new configuration without a gap.

    With APP, a new generation starts beside the current one and takes over when it is ready. No
    connection is refused. If the new code can't be imported, the reload is refused and the current
    generation goes on.

    Without APP, the supervisor reads the configuration again and changes only the apps that differ,
    and those whose files have changed.
    """
    operate("reload", apps, config_file, as_json)
