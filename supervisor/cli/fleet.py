"""``flask-supervisor fleet``: the health of many machines, asked at the same time."""

import sys
from pathlib import Path

import click

from supervisor.cli.options import json_option
from supervisor.cli.output import COLOURS, age_text, print_json, print_wrapped, show_again
from supervisor.health import fleet_hosts
from supervisor.policy.fleet_overview import Machine, machine_document
from supervisor.values.errors import ConfigError

_TIMEOUT_S = 5.0
_WATCH_S = 5.0


@click.command("fleet", epilog="Example: flask-supervisor fleet --file hosts.toml --watch")
@click.option(
    "--file",
    "file",
    metavar="FILE",
    help='Which machines: name = "address" in a table [hosts]. Default: ./hosts.toml, else '
    "/etc/flask-supervisor/hosts.toml.",
)
@click.option("--watch", is_flag=True, help=f"Print it again every {_WATCH_S:g} s, until Ctrl-C.")
@json_option
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0.1, 600),
    default=_TIMEOUT_S,
    show_default=True,
    help="Seconds that all machines together have to answer.",
)
def fleet_command(file: str | None, watch: bool, as_json: bool, timeout_s: float) -> None:
    """Show the health of many machines in one table.

    It has who is reachable and ready, what fails, and who runs other code than most.

    Exit code 0 when every machine answers, is ready and runs the same releases, else 1.
    """
    if watch and as_json:
        raise click.UsageError("--watch and --json exclude each other")
    hosts = fleet_hosts.read(_find(file))

    def show(clear: bool) -> list[Machine]:
        machines = fleet_hosts.ask_machines(hosts, timeout_s=timeout_s)
        if as_json:
            print_json([machine_document(machine) for machine in machines])
        else:
            _print_table(machines, clear=clear)
        return machines

    machines = show_again(show, watch=watch, every_s=_WATCH_S)
    sys.exit(0 if all(machine.is_well for machine in machines) else 1)


def _find(file: str | None) -> Path:
    if file is not None:
        return Path(file)
    found = fleet_hosts.find(Path())
    if found is not None:
        return found
    places = " nor ".join(str(place) for place in fleet_hosts.PLACES)
    raise ConfigError(
        [f"no file names the machines: there is neither {places}"], hint=fleet_hosts.EXAMPLE
    )


def _print_table(machines: list[Machine], *, clear: bool) -> None:
    if clear:
        click.clear()
    width = max([4, *(len(machine.name) for machine in machines)])
    click.echo(f"{'HOST':<{width}}  {'STATUS':<11}  READY    VERSION   TEMP   UP")
    for machine in machines:
        status = click.style(f"{machine.status:<11}", fg=COLOURS.get(machine.status, "red"))
        ready = "-" if machine.apps is None else f"{machine.apps_ready}/{machine.apps}"
        heat = "-" if machine.temperature_c is None else f"{machine.temperature_c:.0f} °C"
        up = "-" if machine.age_s is None else age_text(machine.age_s)
        click.echo(
            f"{machine.name:<{width}}  {status}  {ready:<7}  {machine.version or '-':<8}  "
            f"{heat:<5}  {up}"
        )
        for text in (*machine.troubles, *(f"other code: {one}" for one in machine.drift)):
            print_wrapped(text, indent=width + 2)
    well = sum(machine.is_well for machine in machines)
    click.echo(f"{well} of {len(machines)} machines are well")
