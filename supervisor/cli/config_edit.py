"""``flask-supervisor config edit``: edit, check, write and apply the configuration."""

import shutil
import sys
import tempfile
from pathlib import Path

import click

from supervisor.cli.operate import operate
from supervisor.cli.options import client, config_option
from supervisor.cli.output import print_error
from supervisor.config import last_good
from supervisor.config import reader as configuration
from supervisor.config.locate import find
from supervisor.values.errors import ConfigError, NotRunning, SupervisorError


@click.command("edit", epilog="Example: flask-supervisor config edit")
@config_option
def edit(config_file: str | None) -> None:
    """Edit the configuration; write and apply it if it is valid.

    The editor is $VISUAL, else $EDITOR, and gets a copy. The history keeps the text before.
    """
    file = find(config_file)
    text = _read(file)
    folder = Path(tempfile.mkdtemp(prefix="flask-supervisor-"))
    copy = folder / file.name
    copy.write_bytes(text)
    is_written = False
    try:
        changed = _edited(copy, text, file)
        if changed == text:
            click.echo(f"{file} is unchanged")
            return
        if _read(file) != text:
            raise _unchanged(file, "somebody else has changed it meanwhile", copy)
        last_good.history(file).replace(changed, file)
        is_written = True
    finally:
        if is_written or copy.read_bytes() == text:  # else somebody's work would be lost
            shutil.rmtree(folder)
    click.echo(f"wrote {file}")
    _apply(config_file)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        hint = "repeat it with sudo" if isinstance(error, PermissionError) else None
        raise SupervisorError(f"cannot read {file}: {error.strerror}", hint=hint) from error


def _edited(copy: Path, text: bytes, file: Path) -> bytes:
    """Return the text as somebody has edited it, valid or unchanged."""
    while True:
        click.edit(filename=str(copy))
        changed = copy.read_bytes()
        if changed == text:
            return text
        try:
            configuration.parse_text(changed, file)
        except ConfigError as error:
            print_error(error)
            if not sys.stdin.isatty() or not click.confirm("edit it again?", default=True):
                raise _unchanged(file, "the new text is not valid", copy) from error
        else:
            return changed


def _unchanged(file: Path, why: str, copy: Path) -> SupervisorError:
    return SupervisorError(f"{file} is unchanged: {why}", hint=f"your text is in {copy}")


def _apply(config_file: str | None) -> None:
    try:
        client(config_file).call("snapshot")
    except NotRunning:
        click.echo("no supervisor is running: the next start uses it")
        return
    operate("reload", (), config_file, as_json=False)
