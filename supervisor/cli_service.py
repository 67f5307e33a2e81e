"""``flask-supervisor service install``, ``uninstall`` and ``show``."""

import time
from typing import Any

import click

from supervisor import unitfile
from supervisor.errors import ControlError, SupervisorError
from supervisor.output import client, config_option, load
from supervisor.settings import Config

_SETTLE_S = 30.0  # for imports that take their time; what is ready later is ready later
_POLL_S = 0.1

_user_option = click.option(
    "--user",
    metavar="NAME",
    help="Run as this user: for apps that live in a person's folder. Default: the user of the "
    f"service that is installed, else the system user {unitfile.DEFAULT_USER}.",
)


@click.group("service", epilog="Example: sudo flask-supervisor service install")
def service_group() -> None:
    """Let systemd start and watch the supervisor, from the boot on."""


@service_group.command("install", epilog="Example: flask-supervisor service install --user pi")
@config_option
@_user_option
def install(config_file: str | None, user: str | None) -> None:
    """Install the service, start it, and wait until its ports answer.

    Doing it again brings everything up to date; no client of a running service is refused. The
    service runs this installation of flask-supervisor, with the configuration given, or with the
    one it has.
    """
    from supervisor import installing, preflight

    config = _load(config_file)
    preflight.require("install the service")
    for line in installing.make_user(user or installing.installed_user()):
        click.echo(line)
    machine = installing.machine_for(_user(user))
    notes = preflight.look(config, machine)
    notes += [
        f"as the unit starts it: {problem}" for problem in preflight.as_the_unit_sees_it(config)
    ]
    preflight.refuse_beside_a_copy(config)
    for line in installing.write(config, machine):
        click.echo(line)
    for note in notes:
        click.secho(f"note: {note}", fg="yellow")
    installing.start()
    _print_outcome(config)


def _load(given: str | None) -> Config:
    """Load the given configuration, else that of the service, else the one that is found.

    Which one lies in the current folder must not change what a service runs.
    """
    from supervisor import installing

    installed = installing.installed_config()
    return load(given or (str(installed) if installed else None))


def _user(given: str | None) -> str:
    from supervisor import installing

    return given or installing.installed_user() or unitfile.DEFAULT_USER


def _print_outcome(config: Config) -> None:
    from supervisor.systemctl import own_address, properties

    picture = _settled_picture(config)
    pid = properties(unitfile.UNIT, "MainPID")["MainPID"]
    click.echo(f"the service runs as pid {pid}, and starts at every boot")
    here = own_address()
    apps = picture["apps"]
    width = max(len(name) for name in [*apps, "status"])
    for name, app in apps.items():
        _print_address(name, width, _url(*config.address(name), here), app["reason"])
    reason = picture["checks"].get("status_port", {}).get("reason")
    _print_address("status", width, _url(*config.status_address, here), reason)


def _print_address(name: str, width: int, url: str, reason: str | None) -> None:
    click.echo(f"{name:<{width}}  {url}", nl=not reason)
    if reason:
        click.secho(f"  {reason}", fg="red")


def _url(host: str, port: int | None, here: str) -> str:
    if port is None:
        return host
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return f"http://{here}:{port}"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _settled_picture(config: Config) -> dict[str, Any]:
    """Give the picture when no app is starting any more, or after a while as it is then."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        try:
            picture: dict[str, Any] = client(str(config.file)).call("snapshot")
        except ControlError:
            if time.monotonic() >= deadline:
                raise
        else:
            states = {app["state"] for app in picture["apps"].values()}
            if "starting" not in states or time.monotonic() >= deadline:
                return picture
        time.sleep(_POLL_S)


@service_group.command("uninstall", epilog="Example: flask-supervisor service uninstall")
@config_option
@click.option("--delete-data", is_flag=True, help="Delete the state folder and all data in it too.")
def uninstall(config_file: str | None, delete_data: bool) -> None:
    """Stop the service and remove its files. Data, configuration and code stay."""
    from supervisor import installing, preflight

    preflight.require("uninstall the service")
    state_dir = unitfile.STATE_DIR
    if delete_data:
        state_dir = load(config_file).state_dir
    said = list(installing.remove())
    if delete_data:
        said += installing.delete_data(state_dir)
    for line in said:
        click.echo(line)
    if not said:
        click.echo("nothing to do: the service is not installed")


@service_group.command("show", epilog="Example: flask-supervisor service show")
@config_option
@_user_option
def show(config_file: str | None, user: str | None) -> None:
    """Print the unit and its drop-ins as `install` would write them."""
    from supervisor import installing

    config = _load(config_file)
    try:
        machine = installing.machine_for(_user(user))
    except KeyError as error:
        raise SupervisorError(f"there is no user {_user(user)}") from error
    for path, text in unitfile.files(config, machine).items():
        click.secho(f"# {path}", fg="blue")
        click.echo(text)


COMMANDS = {"service": service_group}
