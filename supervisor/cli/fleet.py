"""``flask-supervisor fleet``: the health of many machines, asked at the same time."""

import sys
import time
import tomllib
from pathlib import Path

import click

from supervisor.cli.options import json_option
from supervisor.cli.output import COLOURS, age_text, print_json, print_wrapped
from supervisor.files import text as text_file
from supervisor.health.status_client import StatusAddress, ask_all, status_address
from supervisor.policy.fleet_overview import Machine, machine_document, overview
from supervisor.values.errors import ConfigError, SupervisorError

_PLACES = (Path("hosts.toml"), Path("/etc/flask-supervisor/hosts.toml"))
_HOSTS_MAX = 500  # each is a thread while it is asked
_TIMEOUT_S = 5.0
_WATCH_S = 5.0
_EXAMPLE = (
    'for example:\n    [hosts]\n    kitchen = "192.168.4.20"\n    garage = "garage.local:6000"'
)


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
    hosts = read_hosts(_find(file))
    machines = _ask(hosts, timeout_s)
    if as_json:
        print_json([machine_document(machine) for machine in machines])
    else:
        _show(machines, clear=watch)
    while watch:
        try:
            time.sleep(_WATCH_S)
            machines = _ask(hosts, timeout_s)
        except KeyboardInterrupt:
            break
        _show(machines, clear=True)
    sys.exit(0 if all(machine.is_well for machine in machines) else 1)


def _find(file: str | None) -> Path:
    if file is not None:
        return Path(file)
    for place in _PLACES:
        if place.exists():
            return place
    places = " nor ".join(str(place) for place in _PLACES)
    raise ConfigError([f"no file names the machines: there is neither {places}"], hint=_EXAMPLE)


def read_hosts(file: Path) -> dict[str, StatusAddress]:
    """Return the addresses in a file of hosts, by name. Raises `ConfigError` with every problem."""
    try:
        content = tomllib.loads(text_file.read(file))
    except OSError as error:
        raise ConfigError([f"cannot read {file}: {error.strerror}"], hint=_EXAMPLE) from error
    except (tomllib.TOMLDecodeError, text_file.NotText) as error:
        raise ConfigError([f"{file}: {error}"], hint=_EXAMPLE) from error
    hosts = content.get("hosts")
    problems = [
        f"{file}: {key}: unknown key; known here: hosts" for key in content if key != "hosts"
    ]
    if not isinstance(hosts, dict) or not 0 < len(hosts) <= _HOSTS_MAX:
        problems.append(f"{file}: hosts: must be a table of 1 to {_HOSTS_MAX} machines")
        raise ConfigError(problems, hint=_EXAMPLE)
    found: dict[str, StatusAddress] = {}
    for name, address in hosts.items():
        if not isinstance(address, str):
            problems.append(f"{file}: hosts.{name} = {address!r}: must be an address, as a text")
            continue
        try:
            found[name] = status_address(address)
        except SupervisorError as error:
            problems.append(f"{file}: hosts.{name}: {error.message}")
    if problems:
        raise ConfigError(problems, hint=_EXAMPLE)
    return found


def _ask(hosts: dict[str, StatusAddress], timeout_s: float) -> list[Machine]:
    answers = ask_all(hosts, timeout_s=timeout_s)
    return overview(
        {name: answer.document for name, answer in answers.items()},
        {name: answer.problem for name, answer in answers.items() if answer.problem},
    )


def _show(machines: list[Machine], *, clear: bool) -> None:
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
