"""What is wrong with a configuration, in words: key path, value, what is accepted."""

import json
from collections.abc import Callable, Iterable

from supervisor.config.secrecy import without_url_passwords
from supervisor.values.records import dataclass
from supervisor.values.redaction import HIDDEN
from supervisor.values.terminal import printable

_SHOWN_MAX = 80


@dataclass(frozen=True)
class Problem:
    """A mistake at a key path; ``text`` follows the path without a space."""

    path: str
    text: str


class Problems:
    """Collects the mistakes in one configuration.

    ``is_hidden`` returns whether the value at a key path is a secret: no text shows it then.
    """

    def __init__(self, is_hidden: Callable[[str], bool] = lambda _path: False) -> None:
        self._is_hidden = is_hidden
        self.found: list[Problem] = []

    def add(self, path: str, text: str) -> None:
        """Add a mistake whose ``text`` shows no value."""
        self.found.append(Problem(path, f": {text}"))

    def add_value(self, path: str, value: object, text: str) -> None:
        """Add a mistake in ``value``; ``text`` says why it can't be used."""
        text_of_value = HIDDEN if self._is_hidden(path) else shown(value)
        self.found.append(Problem(path, f" = {text_of_value}: {text}"))


def shown(value: object) -> str:
    """Return a value as it would be written in the file, cut if it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    try:
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
    except ValueError:  # Python writes no whole number of more than 4300 digits
        text = "a number of thousands of digits"
    text = printable(without_url_passwords(text)[: 2 * _SHOWN_MAX])
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"


def did_you_mean(name: str, known: Iterable[str], *, otherwise: str) -> str:
    """Return what follows an unknown ``name``: the known one that it resembles, or all of them.

    ``otherwise`` introduces the list of all.
    """
    import difflib  # only after a mistake

    known = sorted(known)
    close = difflib.get_close_matches(name.lower(), known, n=1)
    return f'; did you mean "{close[0]}"?' if close else f" ({otherwise}: {', '.join(known)})"
