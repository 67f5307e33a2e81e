"""The outcome of one thing that doctor checks."""

from collections.abc import Callable
from dataclasses import dataclass

from supervisor.values.states import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One thing that was checked: ``text`` says what was found, ``hint`` what to do."""

    topic: str
    status: Status
    text: str
    hint: str | None = None


def passed(topic: str, text: str) -> Diagnosis:
    """Return a diagnosis without a problem."""
    return Diagnosis(topic=topic, status=Status.PASS, text=text)


def warned(topic: str, text: str, hint: str | None = None) -> Diagnosis:
    """Return a diagnosis that keeps nothing from working."""
    return Diagnosis(topic=topic, status=Status.WARN, text=text, hint=hint)


def failed(topic: str, text: str, hint: str | None = None) -> Diagnosis:
    """Return a diagnosis that keeps an app or a port from working."""
    return Diagnosis(topic=topic, status=Status.FAIL, text=text, hint=hint)


def guarded(topic: str, diagnose: Callable[[], Diagnosis]) -> Diagnosis:
    """Return what ``diagnose`` returns, or a warning if it raises OSError."""
    try:
        return diagnose()
    except OSError as error:
        where = f" {error.filename}" if error.filename else " it"
        text = f"cannot check{where}: {error.strerror or error}"
        return warned(topic, text, "repeat the command with sudo")
