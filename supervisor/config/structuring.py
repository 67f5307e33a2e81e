"""Turns plain tables into data classes, and collects everything that is wrong with them.

A field's type says what its value has to be: ``Annotated[int, Rule(...)]``, ``bool``,
``Literal[...]``, another class, or a dict of these. Nothing is converted but whole numbers to
floats, so that ``"5001"`` is a mistake and not a port.
"""

import difflib
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin

import cattrs
from cattrs.cols import list_structure_factory
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn, mapping_structure_factory

from supervisor.config.rules import Problem, Rule, shown
from supervisor.values.redaction import HIDDEN

T = TypeVar("T")


class RejectedValue(ValueError):
    """A value breaks its rule."""

    def __init__(self, value: object, accepted: str) -> None:
        super().__init__(f"must be {accepted}")
        self.value = value


def structure(
    raw: Any, type_: type[T], *, is_hidden: Callable[[str], bool] = lambda _path: False
) -> tuple[T | None, list[Problem]]:
    """Give ``raw`` as an instance of ``type_``, or None and every problem.

    The values at key paths that ``is_hidden`` are not shown.
    """
    try:
        return _converter().structure(raw, type_), []
    except ClassValidationError as error:
        return None, list(_explain(error, "", is_hidden))


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook_func(
        lambda type_: _origin(type_) is Literal, _structure_literal
    )
    converter.register_structure_hook_func(_has_rule, _structure_by_rule)
    converter.register_structure_hook(bool, _structure_bool)
    converter.register_structure_hook_factory(
        is_dataclass, lambda type_: _structure_table(type_, converter)
    )
    converter.register_structure_hook_factory(
        lambda type_: _origin(type_) is dict, lambda type_: _structure_mapping(type_, converter)
    )
    converter.register_structure_hook_factory(
        lambda type_: _origin(type_) is list, lambda type_: _structure_list(type_, converter)
    )
    return converter


def _origin(type_: Any) -> Any:
    return get_origin(type_)


def _structure_mapping(type_: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    """Give the hook for a table whose keys are free."""
    inner = mapping_structure_factory(type_, converter)
    return lambda value, t: inner(_table(value), t)


def _structure_list(type_: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    inner = list_structure_factory(type_, converter)
    return lambda value, t: inner(_list(value), t)


def _list(value: Any) -> Any:
    if not isinstance(value, list):
        raise RejectedValue(value, "a list")
    return value


def _structure_table(type_: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    inner = make_dict_structure_fn(type_, converter, _cattrs_forbid_extra_keys=True)
    return lambda value, t: inner(_table(value), t)


def _table(value: Any) -> Any:
    if not isinstance(value, dict):
        raise RejectedValue(value, "a table")
    return value


def _has_rule(type_: Any) -> bool:
    return any(isinstance(mark, Rule) for mark in getattr(type_, "__metadata__", ()))


def _structure_by_rule(value: Any, type_: Any) -> Any:
    base, *rules = get_args(type_)
    converted = float(value) if base is float and type(value) is int else value
    if type(converted) is not base or not all(rule.holds(converted) for rule in rules):
        raise RejectedValue(value, ", ".join(rule.accepted for rule in rules))
    return converted


def _structure_bool(value: Any, _type: Any) -> bool:
    if not isinstance(value, bool):
        raise RejectedValue(value, "true or false")
    return value


def _structure_literal(value: Any, type_: Any) -> Any:
    if value not in get_args(type_):
        raise RejectedValue(value, "one of " + ", ".join(f'"{v}"' for v in get_args(type_)))
    return value


def _explain(
    error: BaseException, path: str, is_hidden: Callable[[str], bool]
) -> Iterator[Problem]:
    """Give every error in cattrs' tree."""
    if isinstance(error, ClassValidationError | IterableValidationError):
        for inner in error.exceptions:
            yield from _explain(inner, path + _key_of(inner, path), is_hidden)
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in fields(error.cl) if field.init]
        for key in sorted(error.extra_fields):
            yield Problem(_join(path, key), f": unknown key{_did_you_mean(key, known)}")
    elif isinstance(error, RejectedValue):
        value = HIDDEN if is_hidden(path) else shown(error.value)
        yield Problem(path, f" = {value}: {error}")
    elif isinstance(error, KeyError):
        yield Problem(path, ": this key is required")
    else:
        yield Problem(path, f": {error}")


def _key_of(error: BaseException, path: str) -> str:
    for note in getattr(error, "__notes__", ()):
        key = getattr(note, "name", getattr(note, "index", None))
        if isinstance(key, int):
            return f"[{key}]"
        if key is not None:
            return f".{key}" if path else str(key)
    return ""


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _did_you_mean(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f" (known here: {', '.join(sorted(known))})"
