"""What a terminal may be given: colours or none, and no text that it takes for a command.

Standard library only: workers use it too.
"""

from collections.abc import Mapping


def colourless(environment: Mapping[str, str]) -> bool:
    """Return whether a terminal should get no colours; see https://no-color.org."""
    return bool(environment.get("NO_COLOR")) or environment.get("TERM") == "dumb"


def printable(text: str) -> str:
    """Return a text in one line, with dots for line ends and other control characters."""
    return "".join(c if c.isprintable() else "·" for c in text)
