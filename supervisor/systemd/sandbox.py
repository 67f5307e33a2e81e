"""Recognises errors that the unit's sandbox causes, and names the key that allows the access.

Under the unit, apps may write to their data folders and to what `writable` names. Every other
folder is read-only (EROFS), and home folders may be hidden (EACCES): systemd.exec(5),
ProtectSystem= and ProtectHome=.
"""

import errno
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

DATA_VARIABLE = "FLASK_SUPERVISOR_DATA_DIR"
_UNIT_VARIABLE = "INVOCATION_ID"  # systemd.exec(5): set for every unit
_HOMES = ("/home/", "/root/", "/run/user/")
HINT = (
    "the service may write only to its data folder and to `writable`: add the folder to "
    "`writable` of this app, then: sudo flask-supervisor service install"
)
# As Python prints an OSError: [Errno 30] Read-only file system: '/srv/x'
_PRINTED = re.compile(r"\[Errno (\d+)\] [^:'\"]*: (['\"])(/.*?)\2")


def hint(error: OSError, environ: Mapping[str, str]) -> str | None:
    """Return `HINT` if the sandbox around this process caused ``error``, else None.

    An SD card that has become read-only causes the same error, but then the data folder is
    read-only too.
    """
    if _UNIT_VARIABLE not in environ or not _may_be(error.errno, str(error.filename or "")):
        return None
    data_dir = environ.get(DATA_VARIABLE)
    try:
        if data_dir is None or os.statvfs(data_dir).f_flag & os.ST_RDONLY:
            return None
    except OSError:
        return None
    return HINT


def forbidden_paths(lines: Iterable[str]) -> list[str]:
    """Return the paths that ``lines`` of printed errors name and that the sandbox may forbid."""
    found = [match for line in lines for match in _PRINTED.finditer(line)]
    return list(dict.fromkeys(m[3] for m in found if _may_be(int(m[1]), m[3])))


def folder_to_allow(path: str) -> Path:
    """Return what `writable` has to name so that ``path`` can be written: its folder."""
    parent = Path(path).parent
    return Path(path) if parent == Path("/") else parent


def _may_be(number: int | None, path: str) -> bool:
    if number == errno.EROFS:
        return True
    return number == errno.EACCES and path.startswith(_HOMES)
