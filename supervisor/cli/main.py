"""The command `flask-supervisor`: its options, and the table of its commands.

Exit codes: 0 done, 1 failed or refused (the reason is on standard error), 2 wrong usage.
"""

import contextlib
import errno
import gc
import importlib
import os
import sys
from typing import NoReturn

import click

from supervisor import __version__
from supervisor.cli.options import group_config_option
from supervisor.cli.output import accept_every_character, print_error
from supervisor.process.fork import open_standard_streams
from supervisor.values.errors import SupervisorError
from supervisor.values.terminal import colourless

_MODULES = {
    "add": ("add",),
    "check": ("check",),
    "config": ("config",),
    "deploy": ("deploy", "rollback"),
    "doctor": ("doctor",),
    "fleet": ("fleet",),
    "health": ("health",),
    "init": ("init",),
    "logs": ("logs", "events"),
    "notify": ("notify",),
    "password": ("password",),
    "operate": ("start", "stop", "restart", "reload"),
    "releases": ("releases", "compare"),
    "run": ("run",),
    "service": ("service",),
    "status": ("status",),
}
"""The commands, by the module of this package that has them."""

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class LazyGroup(click.Group):
    """Imports the module of a command when the command is used: `run` starts sooner."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of all commands, sorted."""
        lazy = (name for names in _MODULES.values() for name in names)
        return sorted({*super().list_commands(context), *lazy})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return the command of that name, None if there is none."""
        for module, names in _MODULES.items():
            if name in names:
                loaded = importlib.import_module(f"supervisor.cli.{module}")
                command: click.Command = getattr(loaded, f"{name}_command")
                return command
        return super().get_command(context, name)

    def invoke(self, context: click.Context) -> object:
        """Run a command; print its `SupervisorError` and exit with code 1."""
        try:
            return super().invoke(context)
        except SupervisorError as error:
            print_error(error)
            context.exit(1)


def main() -> None:
    """Run the command line and exit."""
    if sys.platform != "linux":
        click.echo("error: flask-supervisor runs on Linux only", err=True)
        sys.exit(1)
    open_standard_streams()
    accept_every_character()
    gc.enable()
    try:
        cli(prog_name="flask-supervisor", color=False if colourless(os.environ) else None)
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        _give_up(error)


def _give_up(error: OSError) -> NoReturn:
    """Report that a disk doesn't take what a command writes, its output included, and exit."""
    text = f"cannot write {error.filename or 'the output'}: {error.strerror}"
    with contextlib.suppress(OSError):
        print_error(SupervisorError(text, hint="df -h and df -i show what is full"))
    os._exit(1)  # an exit would try to write again what is left


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: flask-supervisor run --config config/supervisor.toml",
)
@group_config_option
@click.version_option(__version__, message="flask-supervisor %(version)s")
def cli() -> None:
    """Serve several Flask apps, each on its own port, and keep every port answering.

    \b
    Without --config, commands use the first of these files that exists:
      $FLASK_SUPERVISOR_CONFIG, supervisor.toml or config/supervisor.toml in
      this folder or one above it, that of the installed service,
      /etc/flask-supervisor/supervisor.toml
    """


def _command_names(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    return [name for name in cli.list_commands(click.Context(cli)) if name.startswith(begun)]


@cli.command("help", epilog="Example: flask-supervisor help logs")
@click.argument("words", metavar="[COMMAND]...", nargs=-1, shell_complete=_command_names)
@click.pass_context
def help_command(context: click.Context, words: tuple[str, ...]) -> None:
    """Show the help of a command, as `COMMAND --help` does."""
    shown = context.find_root()
    for number, word in enumerate(words, 1):
        group = shown.command
        inner = group.get_command(shown, word) if isinstance(group, click.Group) else None
        if inner is None:
            raise click.UsageError(f"there is no command {' '.join(words[:number])!r}")
        shown = click.Context(inner, info_name=word, parent=shown)
    click.echo(shown.get_help())
