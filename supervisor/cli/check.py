"""``flask-supervisor check``: everything that can be known before serving."""

import json
import sys
from dataclasses import asdict
from typing import Any

import click

from supervisor.cli.output import COLOURS, app_names, config_option, json_option, load
from supervisor.values.errors import ConfigError
from supervisor.values.states import Status


@click.command(epilog="Example: flask-supervisor check coach")
@click.argument("apps", metavar="[APP]...", nargs=-1, shell_complete=app_names)
@config_option
@json_option
def check(apps: tuple[str, ...], config_file: str | None, as_json: bool) -> None:
    """Check the configuration, import every app (or the named ones), look at what they require.

    Imports happen in throw-away processes, and nothing is served. Ports have to be free, or held
    by the supervisor. Exit code 1 for any finding that would keep an app or a port from working.
    """
    from supervisor.doctor.machine import diagnose_app_ports
    from supervisor.health.app_check import check_apps, check_requires

    try:
        config = load(config_file)
    except ConfigError as error:
        if as_json:
            answer = {
                "ok": False,
                "problems": error.problems,
                "requires": [],
                "apps": {},
                "ports": [],
            }
            click.echo(json.dumps(answer, ensure_ascii=False, indent=2))
        raise
    unknown = [name for name in apps if name not in config.apps]
    if unknown:
        known = ", ".join(config.apps)
        raise click.UsageError(f"there is no app {unknown[0]!r} in {config.file}; known: {known}")
    findings: dict[str, Any] = {}
    for_all = check_requires(config, None)
    if not as_json:
        _print_requires(for_all, "")
    for name, finding in check_apps(config, list(apps)):
        required = check_requires(config, name)
        ok = finding["ok"] and not _unmet(required)
        findings[name] = {**finding, "ok": ok, "requires": required}
        if not as_json:
            _print_finding(name, finding)
            _print_requires(required, "  ")
    failed = [name for name, finding in findings.items() if not finding["ok"]]
    ports = [asdict(diagnosis) for diagnosis in diagnose_app_ports(config, apps)]
    taken = [port for port in ports if port["status"] == Status.FAIL]
    if as_json:
        ok = not failed and not taken and not _unmet(for_all)
        answer = {"ok": ok, "problems": [], "requires": for_all, "apps": findings, "ports": ports}
        click.echo(json.dumps(answer, ensure_ascii=False, indent=2))
        sys.exit(0 if ok else 1)
    for port in ports:
        _print_port(port)
    if _unmet(for_all) and not failed:
        click.echo(f"{config.file} is valid, but something that all apps require is missing")
    elif failed:
        click.echo(f"{len(failed)} of {len(findings)} apps can't be served: {', '.join(failed)}")
    elif not taken:
        click.echo(f"nothing found: {config.file} is valid, and every app can be served")
    sys.exit(1 if failed or taken or _unmet(for_all) else 0)


def _print_port(port: dict[str, Any]) -> None:
    if port["status"] == Status.PASS:
        return
    click.echo(f"{port['topic']}: ", nl=False)
    click.secho(port["text"], fg=COLOURS[port["status"]])
    if port["hint"]:
        click.echo(f"  {port['hint']}")


def _unmet(required: list[dict[str, Any]]) -> bool:
    return any(one["critical"] and not one["ok"] for one in required)


def _print_requires(required: list[dict[str, Any]], indent: str) -> None:
    for one in required:
        click.echo(f"{indent}requires {one['requirement']}: ", nl=False)
        if one["ok"]:
            click.secho("ok", fg="green")
        else:
            click.secho(one["reason"], fg="red" if one["critical"] else "yellow")
            if one["hint"]:
                click.echo(f"{indent}  {one['hint']}")


def _print_finding(name: str, finding: dict[str, Any]) -> None:
    click.echo(f"{name}: ", nl=False)
    if finding["ok"]:
        click.secho("ok", fg="green", nl=False)
        click.echo(f", imported in {finding['seconds']:.2f} s")
    else:
        click.secho(finding["reason"], fg="red")
        if finding["hint"]:
            click.echo(f"  {finding['hint']}")
    if len(finding["missing"]) > 1:
        click.echo("  all that keeps it from being imported:")
        for one in finding["missing"]:
            click.secho(f"    {_place(one)}: {one['detail']}", fg="red")
    for one in finding["notes"]:
        click.secho(f"  note: {_place(one)}: {one['detail']}", fg="yellow")


def _place(finding: dict[str, Any]) -> str:
    if finding["file"] is None:
        return "target"
    return str(finding["file"]) + (f":{finding['line']}" if finding["line"] else "")


COMMANDS = {"check": check}
