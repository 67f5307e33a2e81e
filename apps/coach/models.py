"""Teams and players, in SQLite.

peewee binds models to one database: `open_database` selects the file for the whole process.
"""

from pathlib import Path

from peewee import (
    AutoField,
    CharField,
    Check,
    ForeignKeyField,
    IntegerField,
    Model,
    SqliteDatabase,
)

FILE_NAME = "coach.db"
TEAM_NAME_MAX = 60
PLAYER_NAME_MAX = 40
_BUSY_TIMEOUT_S = 5

database = SqliteDatabase(None)


class _Row(Model):
    class Meta:
        database = database


class Team(_Row):
    """A team; ``key`` is its name in a form that ignores case."""

    id = AutoField()
    name = CharField(max_length=TEAM_NAME_MAX)
    key = CharField(unique=True)


class Player(_Row):
    """A player of one team, identified there by the number."""

    id = AutoField()
    team = ForeignKeyField(Team, backref="players", on_delete="CASCADE")
    name = CharField(max_length=PLAYER_NAME_MAX)
    number = IntegerField(constraints=[Check("number BETWEEN 0 AND 99")])

    class Meta:
        """A number is unique within a team."""

        indexes = ((("team", "number"), True),)


def open_database(path: Path) -> None:
    """Use the file at ``path`` from now on, and create the tables that it lacks."""
    database.init(str(path), pragmas={"foreign_keys": 1}, timeout=_BUSY_TIMEOUT_S)
    with database.connection_context():
        # Stored in the file: processes can read while one of them writes.
        database.pragma("journal_mode", "wal")
        database.create_tables([Team, Player])


def close_database(_error: BaseException | None = None) -> None:
    """Close this thread's connection, if it has one."""
    if not database.is_closed():
        database.close()
