"""Recognises what the unit's sandbox forbids, and says which key of the configuration allows it.

Under the unit, apps may write to their data folders and to what `writable` names: every other
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
    """Give `HINT` if it is the sandbox around this process that caused ``error``, else None.

    An SD card that has become read-only gives the same error, but then the data folder is too.
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
    """Give the paths that errors printed in ``lines`` name and that the sandbox may have closed."""
    found = [match for line in lines for match in _PRINTED.finditer(line)]
    return list(dict.fromkeys(m[3] for m in found if _may_be(int(m[1]), m[3])))


def folder_to_allow(path: str) -> Path:
    """Give what to write into `writable` for ``path`` to be written: its folder."""
    parent = Path(path).parent
    return Path(path) if parent == Path("/") else parent


def _may_be(number: int | None, path: str) -> bool:
    if number == errno.EROFS:
        return True
    return number == errno.EACCES and path.startswith(_HOMES)
