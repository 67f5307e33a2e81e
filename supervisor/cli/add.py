"""``flask-supervisor add``: adds an app to the configuration."""

import os

import click

from supervisor.cli.config_text import with_app
from supervisor.cli.options import config_option, naming
from supervisor.cli.targets import read_target
from supervisor.config import last_good
from supervisor.config import reader as configuration
from supervisor.config.locate import find
from supervisor.config.settings import RESERVED_NAMES, is_app_name
from supervisor.files import text as text_file
from supervisor.values.errors import SupervisorError


@click.command("add", epilog="Example: flask-supervisor add coach coach:app --port 5001")
@click.argument("app", metavar="APP")
@click.argument("target", metavar="TARGET")
@click.option("--port", metavar="N", type=click.IntRange(1, 65535), required=True, help="Its port.")
@click.option("--path", metavar="DIR", help="The first folder of its sys.path.")
@config_option
def add_command(
    app: str, target: str, port: int, path: str | None, config_file: str | None
) -> None:
    """Add an app to the configuration; its comments stay.

    TARGET is module:app, module:factory(), or a file with an app, which is read but not run. The
    configuration is checked before it is written.
    """
    if not is_app_name(app):
        reserved = ", ".join(sorted(RESERVED_NAMES))
        raise click.UsageError(
            f"{app!r} is no name for an app: it needs a letter a-z, then a-z, 0-9 or _, and must "
            f"not be one of {reserved}"
        )
    file = find(config_file)
    config = configuration.load(file, may_lack_apps=True)
    if app in config.apps:
        raise SupervisorError(
            f"there is an app {app!r} already in {file}",
            hint=f"choose another name, or edit [apps.{app}]",
        )
    found = read_target(target)
    folder = path or os.path.relpath(found.path, config.folder)
    keys: dict[str, str | int] = {"target": found.target, "port": port}
    if folder != ".":
        keys["path"] = folder
    changed = with_app(text_file.decode(config.text), app, keys)
    text = text_file.encode_like(changed, config.text)
    configuration.parse_text(text, file)
    last_good.history(file).replace(text, file)
    click.echo(f"added app {app!r} to {file}")
    option = naming(config_file)
    click.echo(f"next: flask-supervisor check {app}{option}, then: flask-supervisor reload{option}")
