"""Damaged databases in the app's data folder."""

import contextlib
import os
import sqlite3
import time
from pathlib import Path

_SET_ASIDE = ".corrupt-"
# https://www.sqlite.org/rescode.html; the low byte of an extended code is the primary one
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def set_aside_if_damaged(database: Path) -> Path | None:
    """Rename a damaged database and return its new path; None if it is intact or missing.

    SQLite decides: a database that is locked, or can't be read, stays where it is and raises
    `sqlite3.Error`. The caller holds the folder's lock.
    """
    if not database.exists() or not _is_damaged(database):
        return None
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = database.with_name(f"{database.name}{_SET_ASIDE}{stamp}")
    number = 1
    while target.exists():  # a clock that restarts at each boot repeats its times
        number += 1
        target = database.with_name(f"{database.name}{_SET_ASIDE}{stamp}-{number}")
    # SQLite looks for the write-ahead log beside the database, by its name; -shm holds no data.
    with contextlib.suppress(FileNotFoundError):
        os.rename(f"{database}-wal", f"{target}-wal")
    Path(f"{database}-shm").unlink(missing_ok=True)
    database.rename(target)
    return target


def set_aside_files(database: Path) -> list[str]:
    """Return the names of the damaged databases that were set aside and still exist."""
    found = database.parent.glob(f"{database.name}{_SET_ASIDE}*")
    return sorted(path.name for path in found if not path.name.endswith("-wal"))


def _is_damaged(database: Path) -> bool:
    # Closing a database writes its write-ahead log into it: not before the database is known to be
    # intact. Without such a log there may be a rollback journal, which SQLite has to apply.
    mode = "ro" if Path(f"{database}-wal").exists() else "rw"
    address = f"{database.absolute().as_uri()}?mode={mode}"
    with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
        try:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF in _DAMAGED:
                return True
            raise
    return bool(verdict != ("ok",))
