"""The pages for failures of the database."""

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
    "Restart this app: it keeps the damaged file under another name, and starts with an empty "
    "database.",
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


def add_pages(app: Flask) -> None:
    """Answer failures of SQLite that the storage causes with a page that names the cause."""
    app.register_error_handler(DatabaseError, _page)


def _page(error: DatabaseError) -> tuple[str, int]:
    origin = error.__context__  # SQLite's own error
    code = getattr(origin, "sqlite_errorcode", -1)
    if code & 0xFF not in _PAGES:
        raise error
    status, title, text = _PAGES[code & 0xFF]
    # Only its text: a reference to the error keeps the connection open through its traceback.
    current_app.logger.error("cannot use the database: %s", str(origin))
    return render_template("error.html", title=title, text=text), status
