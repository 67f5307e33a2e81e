"""``flask-supervisor config edit``: edit, check, write and apply the configuration."""

import os
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
    if not os.access(file.parent, os.W_OK):
        raise SupervisorError(f"cannot write into {file.parent}", hint="repeat it with sudo")
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
            raise _unchanged(file, "somebody else has changed it meanwhile", copy, text)
        try:
            last_good.history(file).replace(changed, file)
        except (SupervisorError, OSError) as error:
            raise _unchanged(file, str(error).splitlines()[0], copy, text) from error
        is_written = True
    finally:
        if is_written or not _has_work(copy, text):
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
        try:
            click.edit(filename=str(copy))
            changed = copy.read_bytes()
        except (click.ClickException, ValueError, OSError) as error:  # ValueError: an open quote
            why = str(error) or type(error).__name__
            raise _unchanged(file, f"the editor failed ({why})", copy, text) from error
        if changed == text:
            return text
        try:
            configuration.parse_text(changed, file)
        except ConfigError as error:
            print_error(error)
            if not sys.stdin.isatty() or not click.confirm("edit it again?", default=True):
                raise _unchanged(file, "the new text is not valid", copy, text) from error
        else:
            return changed


def _has_work(copy: Path, text: bytes) -> bool:
    """Return whether somebody's work would be lost with the copy."""
    return copy.is_file() and copy.read_bytes() != text


def _unchanged(file: Path, why: str, copy: Path, text: bytes) -> SupervisorError:
    hint = "name another editor: EDITOR=nano flask-supervisor config edit"
    if _has_work(copy, text):
        hint = f"your text is in {copy}"
    return SupervisorError(f"{file} is unchanged: {why}", hint=hint)


def _apply(config_file: str | None) -> None:
    try:
        client(config_file).call("snapshot")
    except NotRunning:
        click.echo("no supervisor is running: the next start uses it")
        return
    operate("reload", (), config_file, as_json=False)
