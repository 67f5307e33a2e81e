"""``flask-supervisor status``: the state of every app, as a table."""

import sys
from typing import Any

import click

from supervisor.cli.options import app_names, client, config_option, json_option, load_or_none
from supervisor.cli.output import (
    COLOURS,
    age_text,
    local_time,
    print_json,
    print_wrapped,
    show_again,
)
from supervisor.cli.process_usage import CpuMeter, with_usage

_WATCH_S = 1.0

Snapshot = dict[str, Any]


@click.command("status", epilog="Example: flask-supervisor status --watch")
@click.argument("apps", metavar="[APP]...", nargs=-1, shell_complete=app_names)
@config_option
@json_option
@click.option("-v", "--verbose", is_flag=True, help="Show CPU, memory and times too.")
@click.option("--watch", is_flag=True, help="Print it again every second, until Ctrl-C.")
def status_command(
    apps: tuple[str, ...], config_file: str | None, as_json: bool, verbose: bool, watch: bool
) -> None:
    """Show the state of every app, and the reason if it has a problem.

    With APP, only of the named apps. Exit code 0 when all of them are ready and nothing fails,
    else 1.
    """
    if watch and as_json:
        raise click.UsageError("--watch and --json exclude each other")
    meter = CpuMeter() if verbose else None

    def show(clear: bool) -> Snapshot:
        snapshot = _fetch(config_file, apps, meter)
        if as_json:
            _print_document(snapshot, config_file)
        else:
            _print_snapshot(snapshot, clear=clear)
        return snapshot

    snapshot = show_again(show, watch=watch, every_s=_WATCH_S)
    sys.exit(0 if _is_well(snapshot, whole=not apps) else 1)


def _is_well(snapshot: Snapshot, *, whole: bool) -> bool:
    """Return whether the apps are ready and nothing of them fails; ``whole``: nothing at all."""
    failing = whole and snapshot["status"] == "fail"
    shown = snapshot["apps"].values()
    return not failing and all(a["state"] == "ready" and a["status"] != "fail" for a in shown)


def _fetch(config_file: str | None, names: tuple[str, ...], meter: CpuMeter | None) -> Snapshot:
    """Return the snapshot with the named apps (without names, all), and with CPU and memory."""
    snapshot: Snapshot = client(config_file).call("snapshot", apps=names)
    apps = {n: app for n, app in snapshot["apps"].items() if not names or n in names}
    snapshot = {**snapshot, "apps": apps}
    return snapshot if meter is None else with_usage(snapshot, meter)


def _print_document(snapshot: Snapshot, config_file: str | None) -> None:
    config = load_or_none(config_file)
    disabled = [name for name, app in config.apps.items() if not app.enabled] if config else []
    print_json({**snapshot, "disabled": disabled})


def _print_snapshot(snapshot: Snapshot, *, clear: bool) -> None:
    if clear:
        click.clear()
    head = f"flask-supervisor {snapshot['version']}, pid {snapshot['pid']}, "
    click.echo(f"{head}up {age_text(snapshot['age_s'])}: ", nl=False)
    click.secho(snapshot["status"], fg=COLOURS[snapshot["status"]])
    if "cpu_percent" in snapshot:
        click.echo(f"started {local_time(snapshot['started'])}, {_usage_text(snapshot)}")
        print_wrapped(_machine_text(snapshot["host"]), indent=2)
    width = max([3, *(len(name) for name in snapshot["apps"])])
    click.echo(f"{'APP':<{width}}  {'STATE':<8}  {'SERVING':<15}  {'PORT':<5}  {'PID':<7}  SINCE")
    for name, app in snapshot["apps"].items():
        _print_app(name, app, width)
        if "cpu_percent" in snapshot:
            _print_details(app, width + 2)
    for name, check in snapshot["checks"].items():
        if check["reason"]:
            colour = COLOURS[check["status"]]
            print_wrapped(check["reason"], head=f"check {name}: ", indent=2, colour=colour)
            if check["hint"]:
                print_wrapped(check["hint"], indent=2)


def _print_app(name: str, app: dict[str, Any], width: int) -> None:
    """Print the row of an app, its name ``width`` columns wide; its reason and hint below."""
    state = click.style(f"{app['state']:<8}", fg=COLOURS[app["status"]])
    port, pid = app["port"] or "-", app["pid"] or "-"
    click.echo(
        f"{name:<{width}}  {state}  {app['serving']:<15}  {port:<5}  {pid:<7}  "
        f"{age_text(app['age_s'])}"
    )
    for text in (app["reason"], app["hint"]):
        if text:
            print_wrapped(text, indent=width + 2)


def _print_details(app: dict[str, Any], indent: int) -> None:
    """Print the times of an app, and the CPU and memory of its workers."""
    count = app["restarts"]
    restarts = "1 restart" if count == 1 else f"{count} restarts"
    print_wrapped(f"since {local_time(app['since'])}, {restarts}", indent=indent)
    for worker in app["workers"]:
        head = f"worker {worker['pid']}: generation {worker['generation']}, {worker['state']}"
        print_wrapped(f"{head}, {_usage_text(worker)}", indent=indent)


def _machine_text(host: dict[str, Any]) -> str:
    """Return what is known of the machine on one line; see docs/health.md."""
    cpu, memory = host.get("cpu", {}).get("percent"), host.get("memory", {}).get("free_percent")
    disk = host.get("disks", {}).get("state_dir", {}).get("free_percent")
    heat, up = host.get("temperature_c"), host.get("uptime_s")
    known = [
        host.get("model"),
        None if heat is None else f"{heat:.0f} °C",
        None if cpu is None else f"CPU {cpu:.0f} %",
        None if memory is None else f"memory {memory:.0f} % free",
        None if disk is None else f"disk {disk:.0f} % free",
        None if up is None else f"up {age_text(up)}",
    ]
    return "machine: " + (", ".join(one for one in known if one) or "nothing is known yet")


def _usage_text(measured: dict[str, Any]) -> str:
    """Return CPU and memory, as ``CPU 0.4 %, 31.2 MiB``; unknown values are ``-``."""
    cpu, memory = measured["cpu_percent"], measured["memory_mb"]
    shown = "-" if memory is None else f"{memory:.1f} MiB"
    return f"CPU {'-' if cpu is None else f'{cpu:.1f} %'}, {shown}"
