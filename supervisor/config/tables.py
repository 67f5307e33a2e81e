"""Builds the classes of `settings` from the tables of a TOML document.

The annotation of a field says what its value has to be: ``Annotated[int, Rule(...)]``, ``bool``,
``Literal[...]``, another class, or a list or dict of these. Only whole numbers are converted, to
floats, so that ``"5001"`` is a mistake and not a port.
"""

import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from supervisor.config.problems import Problems, did_you_mean
from supervisor.config.rules import Rule

T = TypeVar("T")


def build(type_: type[T], raw: Any, problems: Problems) -> T | None:
    """Return ``raw`` as an instance of the data class ``type_``.

    Adds every mistake to ``problems``; returns None if there is one.
    """
    before = len(problems.found)
    built = _table(type_, raw, "", problems)
    return built if len(problems.found) == before else None


def _value(kind: Any, raw: Any, path: str, problems: Problems) -> Any:
    """Return ``raw`` as ``kind``; whatever is returned after a mistake is not used."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _by_rule(arguments[0], kind.__metadata__[0], raw, path, problems)
    if origin in (Union, types.UnionType):  # with None, which TOML can't express
        return _value(arguments[0], raw, path, problems)
    if origin is list:
        return _list(arguments[0], raw, path, problems)
    if origin is dict:
        return _mapping(arguments[1], raw, path, problems)
    if origin is Literal:
        return _literal(arguments, raw, path, problems)
    if is_dataclass(kind):
        return _table(kind, raw, path, problems)
    if kind is bool and not isinstance(raw, bool):
        problems.add_value(path, raw, "must be true or false")
    return raw


def _by_rule(base: type, rule: Rule, raw: Any, path: str, problems: Problems) -> Any:
    value = _as_float(raw) if base is float and type(raw) is int else raw
    if type(value) is not base:
        problems.add_value(path, raw, f"must be {rule.accepted}")
    elif not rule.holds(value):
        problems.add_value(path, raw, f"must be {rule.accepted}{rule.advice(value)}")
    return value


def _as_float(number: int) -> float | int:
    try:
        return float(number)
    except OverflowError:
        return number


def _literal(words: tuple[str, ...], raw: Any, path: str, problems: Problems) -> Any:
    if raw not in words:
        accepted = ", ".join(f'"{word}"' for word in words)
        problems.add_value(path, raw, f"must be one of {accepted}")
    return raw


def _list(kind: Any, raw: Any, path: str, problems: Problems) -> Any:
    if not isinstance(raw, list):
        problems.add_value(path, raw, 'must be a list, as ["one", "two"]')
        return raw
    return [_value(kind, item, f"{path}[{n}]", problems) for n, item in enumerate(raw)]


def _mapping(kind: Any, raw: Any, path: str, problems: Problems) -> Any:
    """Return a table whose keys are free."""
    if not isinstance(raw, dict):
        problems.add_value(path, raw, _no_table(raw))
        return raw
    return {key: _value(kind, value, f"{path}.{key}", problems) for key, value in raw.items()}


def _no_table(raw: Any) -> str:
    is_array = isinstance(raw, list) and all(isinstance(one, dict) for one in raw)
    return "must be a table: [NAME] and no [[NAME]]" if is_array else "must be a table"


def _table(type_: Any, raw: Any, path: str, problems: Problems) -> Any:
    """Return a table whose keys are the fields of ``type_``."""
    if not isinstance(raw, dict):
        problems.add_value(path, raw, _no_table(raw))
        return None
    known = {field.name: field for field in fields(type_) if field.metadata.get("key", True)}
    prefix = f"{path}." if path else ""
    for key in sorted(raw.keys() - known.keys()):
        unknown = f"unknown key{did_you_mean(key, known, otherwise='known here')}"
        if not path and isinstance(raw[key], dict) and {"target", "command"} & raw[key].keys():
            unknown = f"the table of an app is [apps.{key}]"
        problems.add(f"{prefix}{key}", unknown)
    values = {
        key: _value(field.type, raw[key], f"{prefix}{key}", problems)
        for key, field in known.items()
        if key in raw
    }
    lacking = [
        key
        for key, field in known.items()
        if key not in raw and field.default is MISSING and field.default_factory is MISSING
    ]
    for key in lacking:
        problems.add(f"{prefix}{key}", "this key is required")
    return None if lacking else type_(**values)
