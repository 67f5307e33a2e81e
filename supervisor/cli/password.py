"""``flask-supervisor password``: the password of the admin app."""

import json
import os
import secrets
import sys
from pathlib import Path

import click

from supervisor.cli.options import config_option, state_dir
from supervisor.files import safe_folder
from supervisor.files.atomic_file import write_whole
from supervisor.files.state_dir import opened_state
from supervisor.values.errors import SupervisorError

_LENGTH_MIN = 8
_LENGTH_MAX = 200  # more only costs time to hash


@click.command("password", epilog="Example: flask-supervisor password")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read it from standard input, one line.")
@config_option
def password_command(from_stdin: bool, config_file: str | None) -> None:
    """Set the password of the admin app.

    It is asked for twice. Everybody who is logged in has to log in again. The supervisor may run
    meanwhile, or not.
    """
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt(
            "New password", hide_input=True, confirmation_prompt=True, err=True, default=""
        )
    if not _LENGTH_MIN <= len(password) <= _LENGTH_MAX:
        raise SupervisorError(
            f"the password has {len(password)} characters: nothing was changed",
            hint=f"choose one of {_LENGTH_MIN} to {_LENGTH_MAX}",
        )
    _write(state_dir(config_file), password)
    click.echo("the password is set: log in again, also where you are logged in")


def _write(state: Path, password: str) -> None:
    from werkzeug.security import generate_password_hash

    # read by apps/admin/access/store.py
    content = {
        "hash": generate_password_hash(password),  # scrypt
        "one_time": False,
        "id": secrets.token_hex(8),
    }
    try:
        with opened_state(state) as folder:
            status = os.fstat(folder)
            owner = (status.st_uid, status.st_gid)
        with safe_folder.opened(state / "admin", create_mode=0o700) as folder:
            if os.geteuid() == 0:  # the service's user has to be able to write there
                os.fchown(folder, *owner)
        write_whole(state / "admin" / "password", json.dumps(content).encode(), owner=owner)
    except OSError as error:
        hint = "repeat it with sudo" if isinstance(error, PermissionError) else None
        raise SupervisorError(
            f"cannot write the password into {state}: {error.strerror}", hint=hint
        ) from error
