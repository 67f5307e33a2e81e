"""Levels of log lines, and how a line that a process prints carries one.

Standard library only: workers use it too.
"""

from typing import Literal

Level = Literal["debug", "info", "warning", "error", "critical"]

PRIORITIES: dict[Level, int] = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Of syslog, syslog(3), as the journal has them."""


def of_number(number: int) -> Level:
    """Return the level of a number of `logging`."""
    if number >= 50:
        return "critical"
    if number >= 40:
        return "error"
    if number >= 30:
        return "warning"
    return "info" if number >= 20 else "debug"


def marked(text: str, level: Level) -> str:
    """Return ``text`` with its level before each line: ``<4>text``, of sd-daemon(3)."""
    mark = f"<{PRIORITIES[level]}>"
    return mark + text.replace("\n", f"\n{mark}")
