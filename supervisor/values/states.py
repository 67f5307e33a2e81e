"""The states of an app, and what they are called by monitors."""

from enum import StrEnum


class AppState(StrEnum):
    """What an app is doing."""

    STARTING = "starting"  # a worker imports it
    READY = "ready"  # a worker accepts connections
    BACKOFF = "backoff"  # waits to be started again
    FAILED = "failed"  # fails often: still tried, slowly
    STOPPED = "stopped"  # by an operator
    BLOCKED = "blocked"  # has no port yet


class Serving(StrEnum):
    """What answers an app's port now."""

    APP = "app"
    LAST_KNOWN_GOOD = "last-known-good"
    STAND_IN = "stand-in"
    NOTHING = "nothing"


class CodeSource(StrEnum):
    """Which code a worker runs."""

    LIVE = "live"  # what lies in the app's folder
    KNOWN_GOOD = "known-good"  # the last release that has proven good


class Status(StrEnum):
    """The three words of ``application/health+json``."""

    PASS = "pass"  # noqa: S105 - a word of the health format, not a password
    WARN = "warn"
    FAIL = "fail"
