"""What the pages say when the database can't do its work."""

import sqlite3

from flask import Flask, current_app, render_template
from peewee import DatabaseError

_FULL = (
    507,
    "The storage is full",
    "Nothing was saved. Free some space on this device, then try again.",
)
_BUSY = (503, "Somebody else is saving", "Nothing was saved. Try again in a moment.")
_STORAGE = (
    503,
    "The storage does not work",
    "Nothing was saved: the teams can't be read or written. The disk or SD card may be "
    "read-only or failing.",
)
_DAMAGED = (
    503,
    "The teams' database is damaged",
    "Restart this app: it sets the damaged file aside, where it can be recovered, and starts "
    "with an empty one.",
)
# https://www.sqlite.org/rescode.html
_PAGES = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_READONLY: _STORAGE,
    sqlite3.SQLITE_CANTOPEN: _STORAGE,
    sqlite3.SQLITE_PERM: _STORAGE,
    sqlite3.SQLITE_IOERR: _STORAGE,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}


def explain(app: Flask) -> None:
    """Answer the failures of SQLite that aren't this app's own with a page in words."""
    app.register_error_handler(DatabaseError, _show)


def _show(error: DatabaseError) -> tuple[str, int]:
    origin = error.__context__  # SQLite's own error
    code = getattr(origin, "sqlite_errorcode", -1)
    if code & 0xFF not in _PAGES:
        raise error
    status, title, text = _PAGES[code & 0xFF]
    # Only its text: who keeps the error keeps the database open, by way of its traceback.
    current_app.logger.error("cannot use the database: %s", str(origin))
    return render_template("error.html", title=title, text=text), status
