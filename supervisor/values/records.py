"""`dataclass` of the standard library, without the code that it compiles for each class.

That took a fifth of the time until the main process serves: six functions for each of 70 classes.
Here all classes share theirs, and are data classes in every other way: for `dataclasses.replace`,
`fields` and `asdict`, in ``match``, for mypy. Made more slowly, so not for what is made for each
request; without ``__slots__``, though asked for.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, slots=False, kw_only=False):
        """Make a data class; see `dataclasses.dataclass`."""
        if cls is None:
            return lambda cls: dataclass(cls, frozen=frozen, slots=slots, kw_only=kw_only)
        cls = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
        cls._shape = _shape_of(dataclasses.fields(cls))
        methods = {"__init__": _init, "__repr__": _repr, "__eq__": _eq, "__hash__": None}
        if frozen:
            methods |= {"__hash__": _hash, "__setattr__": _refuse, "__delattr__": _refuse}
        for name, method in methods.items():
            if name not in cls.__dict__:
                setattr(cls, name, method)
        return cls


class _Shape(NamedTuple):
    """The names of a class's fields, by what they are for; their defaults."""

    positional: tuple[str, ...]
    init: frozenset[str]
    compared: tuple[str, ...]
    shown: tuple[str, ...]
    defaults: dict[str, Any]
    factories: dict[str, Callable[[], Any]]
    total: int


def _shape_of(fields: tuple["dataclasses.Field[Any]", ...]) -> _Shape:
    missing = dataclasses.MISSING
    return _Shape(
        positional=tuple(one.name for one in fields if one.init and not one.kw_only),
        init=frozenset(one.name for one in fields if one.init),
        compared=tuple(one.name for one in fields if one.compare),
        shown=tuple(one.name for one in fields if one.repr),
        defaults={one.name: one.default for one in fields if one.default is not missing},
        factories={
            one.name: one.default_factory for one in fields if one.default_factory is not missing
        },
        total=len(fields),
    )


def _init(self: Any, *arguments: Any, **named: Any) -> None:
    shape: _Shape = self._shape
    given = {**dict(zip(shape.positional, arguments, strict=False)), **named}
    if len(given) < len(arguments) + len(named) or not shape.init.issuperset(given):
        what = f"{len(arguments)} values and {sorted(named)}"
        raise TypeError(f"{type(self).__name__} can't be made of {what}")
    values = self.__dict__
    values.update(shape.defaults)
    for name, factory in shape.factories.items():
        if name not in given:
            values[name] = factory()
    values.update(given)
    if len(values) < shape.total:
        lacking = sorted(shape.init.difference(values))
        raise TypeError(f"{type(self).__name__} needs {', '.join(lacking)}")


def _repr(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._shape.shown)
    return f"{type(self).__qualname__}({shown})"


def _values(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self._shape.compared]


def _eq(self: Any, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return _values(self) == _values(other)


def _hash(self: Any) -> int:
    return hash(tuple(_values(self)))


def _refuse(self: Any, name: str, _value: object = None) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot change {name!r}")
