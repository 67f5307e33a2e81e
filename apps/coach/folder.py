"""The app's data folder: its lock, its secret key, and damaged databases."""

import contextlib
import fcntl
import os
import re
import secrets
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

_KEY_FILE = "secret_key"
_KEY_DIGITS = 64
_SET_ASIDE = ".corrupt-"
# https://www.sqlite.org/rescode.html; the low byte of an extended code is the primary one
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@contextlib.contextmanager
def prepared_by_one(folder: Path) -> Iterator[None]:
    """Create ``folder`` and hold its lock inside the ``with`` block.

    The kernel releases the lock when its holder exits, so the wait lasts no longer than the start
    of another process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def secret_key(folder: Path) -> str:
    """Return the key in ``folder``; create it at the first start. The caller holds the lock."""
    path = folder / _KEY_FILE
    with contextlib.suppress(FileNotFoundError):
        key = path.read_text(errors="replace")
        if re.fullmatch(f"[0-9a-f]{{{_KEY_DIGITS}}}", key):  # else a power cut truncated it
            return key
    key = secrets.token_hex(_KEY_DIGITS // 2)
    whole = folder / f"{_KEY_FILE}.new"
    whole.unlink(missing_ok=True)
    with open(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    whole.rename(path)
    return key


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
