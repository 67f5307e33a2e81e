"""``flask-supervisor check``: everything that can be known before serving."""

import sys
from dataclasses import asdict
from typing import Any

import click

from supervisor.cli.options import app_names, config_option, json_option, load, no_such_app
from supervisor.cli.output import COLOURS, print_json, print_wrapped
from supervisor.config.settings import Config
from supervisor.values.errors import ConfigError
from supervisor.values.states import Status

Document = dict[str, Any]


@click.command("check", epilog="Example: flask-supervisor check coach")
@click.argument("apps", metavar="[APP]...", nargs=-1, shell_complete=app_names)
@config_option
@json_option
def check_command(apps: tuple[str, ...], config_file: str | None, as_json: bool) -> None:
    """Check the configuration, imports, requirements and ports.

    Each app, or each APP, is imported in a throw-away child; nothing is served. Its port has to be
    free, or held by the supervisor. Exit code 1 for every problem that would keep an app or a port
    from working.
    """
    try:
        config = load(config_file)
    except ConfigError as error:
        if as_json:
            print_json(_document(ok=False, problems=error.problems))
        raise
    for name in apps:
        if name not in config.apps:
            raise click.UsageError(f"{no_such_app(name, config.apps)} (in {config.file})")
    document = run_checks(config, list(apps), quiet=as_json)
    if as_json:
        print_json(document)
    else:
        print_summary(config, document)
    sys.exit(0 if document["ok"] else 1)


def _document(
    *,
    ok: bool,
    problems: list[str] | None = None,
    requires: list[Document] | None = None,
    apps: dict[str, Document] | None = None,
    ports: list[Document] | None = None,
) -> Document:
    return {
        "ok": ok,
        "problems": problems or [],
        "requires": requires or [],
        "apps": apps or {},
        "ports": ports or [],
    }


def run_checks(config: Config, names: list[str], *, quiet: bool) -> Document:
    """Run all checks; print each outcome as it comes, unless ``quiet``; return the document."""
    from supervisor.doctor.machine import diagnose_app_ports
    from supervisor.health.app_check import check_apps, check_requires

    shared = check_requires(config, None)
    if not quiet:
        _print_requires(shared, "")
    apps: dict[str, Document] = {}
    for name, outcome in check_apps(config, names):
        requires = check_requires(config, name)
        apps[name] = {
            **outcome,
            "ok": outcome["ok"] and not _unmet(requires),
            "requires": requires,
        }
        if not quiet:
            _print_import(name, outcome)
            _print_requires(requires, "  ")
    ports = [asdict(diagnosis) for diagnosis in diagnose_app_ports(config, names)]
    ok = (
        all(app["ok"] for app in apps.values())
        and all(port["status"] != Status.FAIL for port in ports)
        and not _unmet(shared)
    )
    return _document(ok=ok, requires=shared, apps=apps, ports=ports)


def _unmet(requires: list[Document]) -> bool:
    return any(one["critical"] and not one["ok"] for one in requires)


def _print_requires(requires: list[Document], indent: str) -> None:
    for one in requires:
        head = f"{indent}requires {one['requirement']}: "
        if one["ok"]:
            _print_outcome(head, "ok", "green", None)
        else:
            _print_outcome(head, one["reason"], "red" if one["critical"] else "yellow", one["hint"])


def _print_outcome(head: str, text: str, colour: str, hint: str | None) -> None:
    """Print ``head``, a coloured ``text``, and below them the hint, two columns further right."""
    indent = len(head) - len(head.lstrip()) + 2
    print_wrapped(text, head=head, indent=indent, colour=colour)
    if hint:
        print_wrapped(hint, indent=indent)


def _print_import(name: str, outcome: Document) -> None:
    if outcome["ok"]:
        click.echo(f"{name}: ", nl=False)
        click.secho("ok", fg="green", nl=False)
        seconds = outcome["seconds"]
        if seconds is None:
            click.echo(f", {outcome['program']} is there; it was not started")
        else:
            click.echo(f", imported in {seconds:.2f} s")
    else:
        _print_outcome(f"{name}: ", outcome["reason"], "red", outcome["hint"])
    if len(outcome["missing"]) > 1:
        click.echo("  every problem in its files:")
        for one in outcome["missing"]:
            print_wrapped(f"{_place(one)}: {one['detail']}", indent=4, colour="red")
    for one in outcome["notes"]:
        print_wrapped(f"note: {_place(one)}: {one['detail']}", indent=2, colour="yellow")


def _place(problem: Document) -> str:
    if problem["file"] is None:
        return "target"
    return str(problem["file"]) + (f":{problem['line']}" if problem["line"] else "")


def print_summary(config: Config, document: Document) -> None:
    """Print the ports that have a problem, and a last line on the whole."""
    for port in document["ports"]:
        if port["status"] != Status.PASS:
            colour = COLOURS[port["status"]]
            _print_outcome(f"{port['topic']}: ", port["text"], colour, port["hint"])
    apps = document["apps"]
    failed = [name for name, app in apps.items() if not app["ok"]]
    if failed:
        click.echo(f"{len(failed)} of {len(apps)} apps cannot be served: {', '.join(failed)}")
    elif _unmet(document["requires"]):
        click.echo(f"{config.file} is valid, but a requirement of all apps is not met")
    elif document["ok"]:
        click.echo(f"no problems: {config.file} is valid, and every app can be served")
