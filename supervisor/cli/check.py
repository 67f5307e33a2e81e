"""``flask-supervisor check``: everything that can be known before serving."""

import contextlib
import sys
from dataclasses import asdict
from typing import Any

import click

from supervisor.cli.options import app_names, config_option, json_option, load, no_such_app
from supervisor.cli.output import COLOURS, print_json, print_note, print_wrapped
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

    Each app, or each APP, is imported in a throw-away child; nothing is served, and no file of an
    app changed. One that runs and can't run twice is read only. Its port has to be free, or held
    by the supervisor. Exit code 1 for every problem that would keep an app or a port from working.
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
    notes: list[str] | None = None,
    **how: str | None,
) -> Document:
    return {
        "ok": ok,
        "problems": problems or [],
        "requires": requires or [],
        "apps": apps or {},
        "ports": ports or [],
        "notes": notes or [],
        **how,
    }


def run_checks(config: Config, names: list[str], *, quiet: bool) -> Document:
    """Run all checks; print each outcome as it comes, unless ``quiet``; return the document."""
    from supervisor.cli import check_user
    from supervisor.doctor.machine import diagnose_app_ports
    from supervisor.health.app_check import check_app, check_requires

    user = check_user.service_user(config)
    isolation = check_user.isolation_for(config, user)
    folders, unprotected = check_user.protection(config)
    if not quiet:
        _print_how(user, unprotected)
    ports = [asdict(diagnosis) for diagnosis in diagnose_app_ports(config, names)]
    running = check_user.running_apps(config) | {
        one["topic"].removeprefix("port of ") for one in ports if one["status"] != Status.PASS
    }
    shared = check_requires(config, None, isolation)
    if not quiet:
        _print_requires(shared, "")
    wanted = names or [name for name, app in config.apps.items() if app.enabled]
    required = {name: check_requires(config, name, isolation) for name in wanted}
    apps: dict[str, Document] = {}
    with contextlib.ExitStack() as stack:
        if unprotected is None:  # only now: what apps require is about the machine's own mounts
            isolation = stack.enter_context(isolation.protected(folders))
        for name, requires in required.items():
            only_read = check_user.runs_once(config, name) and name in running
            outcome = check_app(config, name, isolation, only_read=only_read)
            apps[name] = {
                **outcome,
                "ok": outcome["ok"] and not _unmet(requires),
                "only_read": only_read,
                "requires": requires,
            }
            if not quiet:
                _print_import(name, outcome)
                _print_requires(requires, "  ")
    notes = _shared_cookies(apps)
    if not quiet:
        for note in notes:
            print_wrapped(note, head="note: ", indent=2, colour="yellow")
    ok = (
        all(app["ok"] for app in apps.values())
        and all(port["status"] != Status.FAIL for port in ports)
        and not _unmet(shared)
    )
    return _document(
        ok=ok,
        requires=shared,
        apps=apps,
        ports=ports,
        notes=notes,
        user=user,
        unprotected=unprotected,
    )


def _shared_cookies(apps: dict[str, Document]) -> list[str]:
    """Take the session cookies out of the results, and return a note for each that two apps share.

    Apps that share their secret key too are meant to.
    """
    cookies = {name: app.pop("session_cookie", None) for name, app in apps.items()}
    first: dict[str, str] = {}
    notes = []
    for name, cookie in cookies.items():
        if cookie is None:
            continue
        other = first.setdefault(cookie["scope"], name)
        if cookies[other]["key"] != cookie["key"]:
            notes.append(
                f"{other} and {name} both use the cookie {cookie['name']!r}, which browsers send "
                "to every port of a host: each ends the other's sessions. Set another "
                "SESSION_COOKIE_NAME in one of them"
            )
    return notes


def _print_how(user: str | None, unprotected: str | None) -> None:
    if user is not None:
        print_note(f"checked as user {user}, as whom the supervisor runs")
    if unprotected is not None:
        print_note(
            "this machine lets a check protect no more than each app's own folder, and that only "
            f"from what Python writes ({unprotected})"
        )


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
        if "program" in outcome:
            click.echo(f", {outcome['program']} is there; it was not started")
        elif outcome["seconds"] is None:
            click.echo(", read but not imported, since it runs and can't run twice")
        else:
            click.echo(f", imported in {outcome['seconds']:.2f} s")
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
