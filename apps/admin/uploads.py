"""Uploaded archives, on the disk until they are deployed."""

import contextlib
import os
import secrets
import time
from pathlib import Path

from flask import abort
from werkzeug.datastructures import FileStorage
from werkzeug.utils import secure_filename

from apps.admin import link
from supervisor.client import SOCKET_VARIABLE, ControlError

SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip", ".py")
_FRESH_S = 60.0
MODES = ("", "only", "delete")  # see `flask-supervisor deploy`


def safe_name(given: str) -> str:
    """Return a file's name that stays in its folder, and says what it is.

    >>> safe_name("../../etc/passwd.zip")
    'etc_passwd.zip'
    """
    return secure_filename(given)[-80:].lstrip(".-") or "archive"


def save(uploaded: FileStorage) -> str:
    """Keep an uploaded archive, and return its path; aborts with 415 for another kind of file."""
    name = safe_name(uploaded.filename or "")
    if not name.lower().endswith(SUFFIXES):
        abort(415, f"An archive is a file {', '.join(SUFFIXES[:-1])}, or a single {SUFFIXES[-1]}.")
    tidy()
    folder = _folder() / secrets.token_hex(8)  # two uploads may have one name
    folder.mkdir(parents=True, mode=0o700)
    try:
        uploaded.save(folder / name)
    except OSError as error:
        _remove(folder)
        abort(507, f"The archive could not be stored: {error.strerror}. Nothing was changed.")
    return str(folder / name)


def remove(source: str) -> None:
    """Remove an archive that is not deployed after all."""
    _remove(Path(source).parent)


def tidy() -> None:
    """Remove what earlier uploads have left, unless a deploy is under way."""
    with contextlib.suppress(ControlError):
        if link.ask("release.progress")["running"]:
            return
        with contextlib.suppress(OSError):
            for folder in _folder().iterdir():
                if time.time() - folder.stat().st_mtime > _FRESH_S:  # else it waits for its deploy
                    _remove(folder)


def _remove(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def _folder() -> Path:
    return Path(os.environ[SOCKET_VARIABLE]).parent / "admin" / "uploads"
