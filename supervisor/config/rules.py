"""What a value of the configuration has to be, and how it is said that one isn't.

Apart from `structuring`, which applies the rules: whoever uses a configuration knows these, but
only whoever reads one loads cattrs.
"""

import json
from collections.abc import Callable
from typing import Any

from supervisor.values.records import dataclass

_SHOWN_MAX = 80


@dataclass(frozen=True)
class Rule:
    """What a value has to be, beyond its type; ``accepted`` completes "must be ..."."""

    accepted: str
    holds: Callable[[Any], Any]


@dataclass(frozen=True)
class Problem:
    """Something wrong at a key path; ``text`` goes on right behind it."""

    path: str
    text: str


def shown(value: object) -> str:
    """Give a value as it would stand in the file, cut if it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
    text = "".join(c if c.isprintable() else "·" for c in text[: 2 * _SHOWN_MAX])
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"
