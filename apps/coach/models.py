"""Teams and players, in SQLite.

peewee binds its models to one database: `open_database` chooses the file for the whole process.
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
    """A team; ``key`` is its name without regard to upper and lower case."""

    id = AutoField()
    name = CharField(max_length=TEAM_NAME_MAX)
    key = CharField(unique=True)


class Player(_Row):
    """A player of one team, known there by the number."""

    id = AutoField()
    team = ForeignKeyField(Team, backref="players", on_delete="CASCADE")
    name = CharField(max_length=PLAYER_NAME_MAX)
    number = IntegerField(constraints=[Check("number BETWEEN 0 AND 99")])

    class Meta:
        """The number is a player's own, in each team."""

        indexes = ((("team", "number"), True),)


def open_database(path: Path) -> None:
    """Use the file at ``path`` from now on, and make the tables it lacks."""
    database.init(str(path), pragmas={"foreign_keys": 1}, timeout=_BUSY_TIMEOUT_S)
    with database.connection_context():
        # Kept in the file: readers go on while one writes, also in another process.
        database.pragma("journal_mode", "wal")
        database.create_tables([Team, Player])


def close_database(_error: BaseException | None = None) -> None:
    """Close this thread's connection, if it has one."""
    if not database.is_closed():
        database.close()
