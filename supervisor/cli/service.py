"""``flask-supervisor service install``, ``uninstall`` and ``show``."""

import json
import os
import time
from pathlib import Path
from typing import Any

import click

from supervisor.cli import options
from supervisor.cli.options import client, config_option, group_config_option, load
from supervisor.cli.output import print_wrapped
from supervisor.config.installed import installed_config, installed_value
from supervisor.config.settings import Config
from supervisor.systemd import unit_file
from supervisor.values.errors import ConfigError, ControlError, SupervisorError

_SETTLE_S = 30.0  # for imports; apps that take longer become ready later
_POLL_S = 0.1

_user_option = click.option(
    "--user",
    metavar="NAME",
    help="The service's user, for apps in a person's folder. Default: the installed service's "
    f"user, else the system user {unit_file.DEFAULT_USER}.",
)


@click.group("service", epilog="Example: sudo flask-supervisor service install")
@group_config_option
def service_command() -> None:
    """Install, remove or show the systemd service."""


@service_command.command("install", epilog="Example: flask-supervisor service install --user pi")
@config_option
@_user_option
def install(config_file: str | None, user: str | None) -> None:
    """Install or upgrade the service, and start it.

    The command returns when the ports answer. It may be repeated; an upgrade refuses no
    connection. The service runs this installation of flask-supervisor, with the named
    configuration, else with the one that the service has.
    """
    from supervisor.systemd import installation, preflight

    config = load(_file(config_file))
    preflight.require_root_and_systemd("install the service")
    for line in installation.create_user(user or installed_value("User")):
        click.echo(line)
    machine = installation.machine_for(_user(user))
    notes = preflight.check_folders(config, machine)
    notes += [f"under the unit: {problem}" for problem in preflight.problems_under_the_unit(config)]
    preflight.refuse_second_supervisor(config)
    notes += filter(None, [_apps_that_go(config)])
    for line in installation.write(config, machine):
        click.echo(line)
    for note in notes:
        print_wrapped(note, head="note: ", indent=2, colour="yellow")
    installation.start()
    os.sync()  # else a power cut in the next half minute could leave empty or truncated files
    _print_outcome(config)


def _file(given: str | None) -> str | None:
    """Return the named configuration, else the installed service's; None where neither is known.

    The current folder must not change which configuration an installed service runs.
    """
    installed = installed_config()
    return given or (str(installed) if installed else None)


def _user(given: str | None) -> str:
    return given or installed_value("User") or unit_file.DEFAULT_USER


def _apps_that_go(config: Config) -> str | None:
    """Return a note on what the installed service serves, if it is to run another configuration."""
    from supervisor.config import last_good

    installed = installed_config()
    if installed is None or os.path.realpath(installed) == os.path.realpath(config.file):
        return None
    text = f"the service ran {installed} until now, and runs {config.file} from now on"
    try:
        before = last_good.load(installed)
    except ConfigError:
        return f"{text}; which apps go is unknown, since the former one can't be read"
    gone = [name for name, app in before.apps.items() if app.enabled and name not in config.apps]
    return f"{text}; apps that go: {', '.join(gone)}" if gone else f"{text}; no app goes"


def _print_outcome(config: Config) -> None:
    from supervisor.systemd.systemctl import own_address, properties

    snapshot = _settled_snapshot(config)
    pid = properties(unit_file.UNIT, "MainPID")["MainPID"]
    click.echo(f"the service is running as pid {pid}, and starts at every boot")
    here = own_address()
    apps = snapshot["apps"]
    width = max(len(name) for name in [*apps, "status"])
    for name, app in apps.items():
        _print_address(name, width, _url(*config.address(name), here), app["reason"])
    reason = snapshot["checks"].get("status_port", {}).get("reason")
    url = _url(*config.status_address, here)
    _print_address("status", width, f"{url} (for monitors)", reason)
    if _has_first_password(config.state_dir):
        journal = f"sudo journalctl -u {unit_file.UNIT}"
        click.echo(f'log in to the admin app with: {journal} | grep "first password"')


def _has_first_password(state_dir: Path) -> bool:
    """Return whether nobody has chosen a password of the admin app yet."""
    try:
        kept = json.loads((state_dir / "admin" / "password").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(kept, dict) and kept.get("one_time") is True


def _print_address(name: str, width: int, url: str, reason: str | None) -> None:
    click.echo(f"{name:<{width}}  {url}", nl=not reason)
    if reason:
        click.secho(f"  {reason}", fg="red")


def _url(host: str, port: int | None, here: str) -> str:
    if port is None:
        return host if host.startswith("unix:") else "in the background"
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return f"http://{here}:{port}"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _settled_snapshot(config: Config) -> dict[str, Any]:
    """Return the snapshot when no app is starting any more, at the latest after `_SETTLE_S`."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        try:
            snapshot: dict[str, Any] = client(str(config.file)).call("snapshot")
        except ControlError:
            if time.monotonic() >= deadline:
                raise
        else:
            states = {app["state"] for app in snapshot["apps"].values()}
            if "starting" not in states or time.monotonic() >= deadline:
                return snapshot
        time.sleep(_POLL_S)


@service_command.command("uninstall", epilog="Example: flask-supervisor service uninstall")
@config_option
@click.option("--delete-data", is_flag=True, help="Also delete the state folder, with all data.")
def uninstall(config_file: str | None, delete_data: bool) -> None:
    """Stop the service and remove its files.

    Data, configuration and code stay.
    """
    from supervisor.systemd import installation, preflight

    preflight.require_root_and_systemd("uninstall the service")
    state_dir = unit_file.STATE_DIR
    if delete_data:
        state_dir = _state_dir(_file(config_file))
    done = list(installation.remove())
    if delete_data:
        done += installation.delete_data(state_dir)
    for line in done or ["nothing to do: the service is not installed"]:
        click.echo(line)


def _state_dir(file: str | None) -> Path:
    """Return the state folder of a configuration, valid or not; without one, the unit's."""
    try:
        return options.state_dir(file)
    except ConfigError:
        if file is not None:
            raise
        return unit_file.STATE_DIR


@service_command.command("show", epilog="Example: flask-supervisor service show")
@config_option
@_user_option
def show(config_file: str | None, user: str | None) -> None:
    """Print the unit and its drop-ins; install nothing."""
    from supervisor.systemd import installation

    config = load(_file(config_file))
    try:
        machine = installation.machine_for(_user(user))
    except KeyError as error:
        raise SupervisorError(f"there is no user {_user(user)}", hint="correct --user") from error
    for path, text in unit_file.files(config, machine).items():
        click.secho(f"# {path}", fg="blue")
        click.echo(text)
