"""``flask-supervisor health``: a plugin for Nagios, Icinga and other monitors."""

import sys
from typing import Any, NoReturn

import click

from supervisor.cli.options import config_option, load, load_or_none
from supervisor.health.status_client import StatusAddress, ask, status_address
from supervisor.policy.plugin_output import PluginStatus, plugin_line, plugin_output
from supervisor.values.errors import SupervisorError

_TIMEOUT_S = 10.0


class _WrongUsage(click.UsageError):
    """Wrong usage of a plugin."""

    exit_code = PluginStatus.UNKNOWN


class _Plugin(click.Command):
    """A command whose wrong usage ends with 3, as monitors expect of a plugin."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise _WrongUsage(error.message, error.ctx) from error


@click.command("health", cls=_Plugin, epilog="Example: flask-supervisor health pi.local:6000")
@click.argument("url", required=False)
@config_option
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0.1, 3600),
    default=_TIMEOUT_S,
    show_default=True,
    help="Seconds until an answer counts as missing.",
)
def health_command(url: str | None, config_file: str | None, timeout_s: float) -> None:
    """Ask a status port for its health, as a monitoring plugin.

    It prints one line with performance data.

    URL is pi.local, pi.local:6000 or http://pi.local:6000/health/coach; without it, the status port
    of this machine's configuration. Exit code 0 OK, 1 WARNING, 2 CRITICAL (also when there is no
    answer), 3 UNKNOWN (also for wrong usage).
    """
    try:
        address = status_address(url) if url else _own_address(config_file)
    except SupervisorError as error:
        _end(PluginStatus.UNKNOWN, error.message)
    answer = ask(address, timeout_s=timeout_s)
    if answer.document is None:
        status = PluginStatus.CRITICAL
        if answer.is_reachable and "no health document" in str(answer.problem):
            status = PluginStatus.UNKNOWN
        _end(status, f"{address.host}: {answer.problem}")
    try:
        status, line = plugin_output(answer.document, seconds=answer.seconds)
    except (KeyError, TypeError, ValueError, AttributeError):
        _end(PluginStatus.UNKNOWN, f"{address.host}: answers a document that isn't understood")
    click.echo(line)
    sys.exit(status)


def _own_address(config_file: str | None) -> StatusAddress:
    config = load(config_file) if config_file else load_or_none(None)
    if config is None:  # there may be a supervisor all the same, on its last good configuration
        return status_address("127.0.0.1")
    host, port = config.status_address
    return StatusAddress("http", host, port, "/health")


def _end(status: PluginStatus, text: Any) -> NoReturn:
    click.echo(plugin_line(status, str(text)))
    sys.exit(status)
