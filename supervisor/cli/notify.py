"""``flask-supervisor notify``: messages to people."""

import socket
import sys

import click

from supervisor.cli.options import config_option, json_option, load
from supervisor.cli.output import print_json
from supervisor.health.notifier import send_in_child
from supervisor.values.errors import SupervisorError


@click.group("notify", epilog="Example: flask-supervisor notify test")
def notify_command() -> None:
    """Tell people of changes, as [[notify]] of the configuration says."""


@notify_command.command("test", epilog="Example: flask-supervisor notify test")
@config_option
@json_option
def test(config_file: str | None, as_json: bool) -> None:
    """Send a test message to each destination.

    Exit code 1 if one could not be delivered.
    """
    destinations = load(config_file).notify
    if not destinations:
        raise SupervisorError(
            "nobody is to be told: the configuration has no [[notify]]",
            hint='add [[notify]] with url = { env = "NOTIFY_URL" }, see docs/health.md',
        )
    title = f"{socket.gethostname()}: a test of flask-supervisor"
    body = "This message was sent by: flask-supervisor notify test"
    problems = [send_in_child(one.url, title, body, "pass") for one in destinations]
    if as_json:
        print_json([{"notify": n, "problem": problem} for n, problem in enumerate(problems)])
    else:
        for number, problem in enumerate(problems):
            click.echo(f"notify[{number}]: ", nl=False)
            click.secho(problem or "delivered", fg="red" if problem else "green")
    sys.exit(1 if any(problems) else 0)
