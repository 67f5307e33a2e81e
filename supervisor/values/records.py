"""`dataclass` of the standard library, without the code that it compiles for each class.

Compiling six methods for each of 80 classes costs a tenth of the processor time until the main
process serves. Here all classes share their methods; for `dataclasses.replace`, `fields` and
`asdict`, in ``match``, for pickle and for mypy they are ordinary data classes. Instances are
created several times slower, so this is not for what each request creates.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, slots=False, kw_only=False):
        """Return ``cls`` as a data class; see `dataclasses.dataclass`.

        Raises TypeError for what is not supported: other options, ``__post_init__`` and `InitVar`
        fields, methods of its own where all classes share one, and a data class as base.
        """
        if cls is None:
            return lambda cls: dataclass(cls, frozen=frozen, slots=slots, kw_only=kw_only)
        methods = _FROZEN if frozen else _MUTABLE
        _refuse_unsupported(cls, methods)
        for name, method in methods.items():
            setattr(cls, name, method)
        cls = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)(
            cls
        )
        cls._shape = _shape_of(dataclasses.fields(cls))
        return cls


class _Shape(NamedTuple):
    """The names of a class's fields, by what they are for; their defaults."""

    positional: tuple[str, ...]
    init: frozenset[str]
    compared: tuple[str, ...]
    shown: tuple[str, ...]
    defaults: dict[str, Any]
    factories: dict[str, Callable[[], Any]]
    every: tuple[str, ...]


def _refuse_unsupported(cls: type, methods: dict[str, Any]) -> None:
    if any(dataclasses.is_dataclass(base) for base in cls.__mro__[1:]):
        raise TypeError(f"{cls.__name__}: records.dataclass supports no data class as base")
    own = sorted({"__post_init__", *methods} & cls.__dict__.keys())
    if own:
        raise TypeError(f"{cls.__name__}: records.dataclass supports no {own[0]}")
    if any(isinstance(kind, dataclasses.InitVar) for kind in cls.__annotations__.values()):
        raise TypeError(f"{cls.__name__}: records.dataclass supports no InitVar")


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
        every=tuple(one.name for one in fields),
    )


def _init(self: Any, *arguments: Any, **named: Any) -> None:
    shape: _Shape = self._shape
    given = {**dict(zip(shape.positional, arguments, strict=False)), **named}
    if len(given) < len(arguments) + len(named) or not shape.init.issuperset(given):
        what = f"{len(arguments)} values and {sorted(named)}"
        raise TypeError(f"{type(self).__name__} can't be created from {what}")
    values = {**shape.defaults, **given}
    for name, factory in shape.factories.items():
        if name not in given:
            values[name] = factory()
    if len(values) < len(shape.every):
        lacking = sorted(shape.init.difference(values))
        raise TypeError(f"{type(self).__name__} needs {', '.join(lacking)}")
    _set_all(self, values)


def _set_all(self: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        object.__setattr__(self, name, value)


def _state(self: Any) -> dict[str, Any]:
    return {name: getattr(self, name) for name in self._shape.every}


def _repr(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._shape.shown)
    return f"{type(self).__qualname__}({shown})"


def _compared(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self._shape.compared]


def _eq(self: Any, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return _compared(self) == _compared(other)


def _hash(self: Any) -> int:
    return hash(tuple(_compared(self)))


def _refuse(self: Any, name: str, _value: object = None) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot change {name!r}")


_MUTABLE = {
    "__init__": _init,
    "__repr__": _repr,
    "__eq__": _eq,
    "__hash__": None,
    "__getstate__": _state,
    "__setstate__": _set_all,
}
_FROZEN = {**_MUTABLE, "__hash__": _hash, "__setattr__": _refuse, "__delattr__": _refuse}
