"""``flask-supervisor init``: writes a configuration for the apps of a folder."""

import os
import sys
from pathlib import Path

import click

from supervisor.cli.check import print_summary, run_checks
from supervisor.cli.config_text import new_configuration
from supervisor.cli.output import print_wrapped
from supervisor.cli.project import Project, Proposal, read_project
from supervisor.config import reader as configuration
from supervisor.values.errors import ConfigError, SupervisorError

_FILE_NAME = "supervisor.toml"


@click.command("init", epilog="Example: flask-supervisor init")
@click.argument(
    "folder",
    metavar="[FOLDER]",
    default=".",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
def init_command(folder: Path) -> None:
    """Write a configuration for the apps of a folder.

    It reads the Python files of FOLDER (default: the current one) without running them, shows what
    it found, writes supervisor.toml, and runs `check`, which imports the apps in throw-away
    children. It never overwrites a configuration.
    """
    file = folder / _FILE_NAME
    if os.path.lexists(file):
        raise SupervisorError(
            f"{file} exists: init never overwrites a configuration",
            hint="add an app to it: flask-supervisor add APP TARGET --port N",
        )
    project = read_project(folder.absolute())
    _print_project(project)
    if not project.proposals:
        raise SupervisorError(
            f"found no app to serve in {folder.absolute()}",
            hint=f"if there is one, name it in {_FILE_NAME}: a table [apps.NAME], with "
            'target = "module:app" and port = 5001',
        )
    _write_new(file, new_configuration(project))
    click.echo(f"wrote {file}")
    option = "" if folder == Path() else f" -c {file}"
    again = f"correct these problems, then: flask-supervisor check{option}"
    try:
        config = configuration.load(file)
    except ConfigError as error:  # of a file that it names
        raise ConfigError(error.problems, hint=again) from error
    document = run_checks(config, [], quiet=False)
    print_summary(config, document)
    if not document["ok"]:
        click.echo(f"next: {again}")
        sys.exit(1)
    click.echo(f"next: flask-supervisor run{option}")


def _print_project(project: Project) -> None:
    count = f"the first {project.files_read}" if project.is_cut else str(project.files_read)
    click.echo(f"read {count} Python files in {project.folder}, and ran none:")
    for proposal in project.proposals:
        _print_proposal(proposal)
    for what, why in project.skipped:
        print_wrapped(f"{what} is not served: {why}", indent=4, head="  ", colour="yellow")
    for what, why in project.unreadable:
        print_wrapped(f"{what} is not valid: {why}", indent=4, head="  ", colour="yellow")
    for name in project.requirements:
        click.echo(f"  {name}")


def _print_proposal(app: Proposal) -> None:
    port = f"port {app.port}" + (f" (from {app.port_from})" if app.port_from else " (chosen)")
    text = f"{app.framework} app {app.target} ({app.place}), {port}"
    print_wrapped(text, indent=4, head=f"  {app.name}: ")
    if app.command:
        print_wrapped(f"served by {' '.join(app.command)}", indent=4)
    if app.python is not None:
        print_wrapped(f"its own virtual environment: {app.python}", indent=4)
    if app.env_file is not None:
        print_wrapped(f"its environment: {app.env_file}", indent=4)
    if app.device is not None:
        text = f'reload = "replace", since {app.device.module} holds {app.device.kind}'
        print_wrapped(f"{text} ({app.device_place})", indent=4)


def _write_new(file: Path, text: str) -> None:
    """Create ``file``; raise `SupervisorError` if that fails, or if it exists by now."""
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise SupervisorError(f"cannot write {file}: {error.strerror}") from error
