"""Reads single fields of a snapshot; a value of an unexpected type becomes None."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

LEVELS = ("pass", "warn", "fail")  # best first


def mappings(raw: object) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the members of an object of objects; a member that isn't an object is empty."""
    if not isinstance(raw, dict):
        return []
    return [(name, value if isinstance(value, dict) else {}) for name, value in raw.items()]


def inner(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the object that is the member ``name``; an empty one if there is none."""
    found = raw.get(name)
    return found if isinstance(found, dict) else {}


def level(raw: object) -> str | None:
    """Return one of `LEVELS`."""
    return raw if isinstance(raw, str) and raw in LEVELS else None


def text(raw: object) -> str | None:
    """Return a text that isn't blank."""
    return raw if isinstance(raw, str) and raw.strip() else None


def count(raw: object) -> int | None:
    """Return a whole number."""
    return raw if isinstance(raw, int) and not isinstance(raw, bool) else None


def seconds(raw: object) -> float | None:
    """Return a finite number of seconds."""
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not isfinite(raw):
        return None
    return float(raw)


def age(raw: Mapping[str, Any]) -> str | None:
    """Return the ``age_s`` of an object as a duration in words."""
    known_s = seconds(raw.get("age_s"))
    return None if known_s is None else duration(known_s)


def duration(length_s: float) -> str:
    """Return a duration in its largest whole unit: "12 s", "3 min", "5 h", "2 days".

    >>> duration(200)
    '3 min'
    """
    for limit_s, size_s, unit in ((60, 1, "s"), (3600, 60, "min"), (48 * 3600, 3600, "h")):
        if length_s < limit_s:
            return f"{max(0, int(length_s // size_s))} {unit}"
    return f"{int(length_s // 86400)} days"
