"""The states of an app, and what serves it, in the words that monitors see."""

from enum import StrEnum


class AppState(StrEnum):
    """The state of an app."""

    STARTING = "starting"  # a worker is importing it
    READY = "ready"  # a worker accepts connections
    BACKOFF = "backoff"  # waits for the next start
    FAILED = "failed"  # has failed often; tried again at long intervals
    STOPPED = "stopped"  # an operator stopped it
    BLOCKED = "blocked"  # its port is not bound yet


class Serving(StrEnum):
    """What answers on an app's port."""

    APP = "app"
    LAST_KNOWN_GOOD = "last-known-good"
    STAND_IN = "stand-in"
    NOTHING = "nothing"


class CodeSource(StrEnum):
    """Where the code that a worker runs comes from."""

    LIVE = "live"  # the app's folder
    KNOWN_GOOD = "known-good"  # the last known good release


class Status(StrEnum):
    """The status words of ``application/health+json``."""

    PASS = "pass"  # noqa: S105 - a word of the health format, not a password
    WARN = "warn"
    FAIL = "fail"
