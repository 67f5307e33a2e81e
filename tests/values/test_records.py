"""Our data classes behave like those of the standard library, created from the same source."""

import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.values import records


def make(decorator: Callable[..., Any]) -> tuple[Any, Any, Any]:
    """Return the same three classes, created by ``decorator``."""

    @decorator(frozen=True, slots=True)
    class Point:
        """Two fields, one with a default."""

        x: int
        y: int = 7

    @decorator(frozen=True, kw_only=True)
    class Thing:
        """Every kind of field that the supervisor uses."""

        name: str
        items: list[int] = field(default_factory=list)
        secret: str = field(default="", repr=False)
        note: str = field(default="", compare=False)
        file: str = field(default="f", init=False, metadata={"planned": True})

        @property
        def size(self) -> int:
            """The number of items."""
            return len(self.items)

    @decorator(slots=True)
    class Count:
        """A class whose instances may be changed."""

        n: int = 0

    return Point, Thing, Count


Point, Thing, Count = make(records.dataclass)
THEIRS = make(dataclasses.dataclass)


@records.dataclass(frozen=True, slots=True)
class Pickled:
    """A class of the module, which pickle can find."""

    a: int
    b: tuple[int, ...] = ()


def outcome(call: Callable[[], Any]) -> Any:
    """Return the result of ``call`` as text, or the class of the exception it raises."""
    try:
        return repr(call()).rpartition(".")[2]
    except (TypeError, AttributeError) as error:
        return type(error)


VALUES = st.lists(st.integers(0, 3), max_size=3)
NAMED = st.dictionaries(
    st.sampled_from(["x", "y", "name", "items", "secret", "note", "file", "n"]), st.integers(0, 3)
)


@pytest.mark.parametrize("number", range(3))
@given(arguments=VALUES, named=NAMED)
def test_the_same_arguments_are_accepted(
    number: int, arguments: list[int], named: dict[str, int]
) -> None:
    """The same arguments give the same instance, or raise the same exception."""
    ours, theirs = (Point, Thing, Count)[number], THEIRS[number]
    assert outcome(lambda: ours(*arguments, **named)) == outcome(
        lambda: theirs(*arguments, **named)
    )


@given(
    one=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    other=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
def test_equality_and_hashes(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    """Instances of one class are equal if all compared fields are; hashes agree with that."""
    theirs = THEIRS[0]
    assert (Point(*one) == Point(*other)) is (theirs(*one) == theirs(*other))
    assert (Point(*one) == Point(*other)) <= (hash(Point(*one)) == hash(Point(*other)))
    assert Point(*one) != theirs(*one)
    assert Thing(name="a", note="x") == Thing(name="a", note="y") != Thing(name="b")
    assert Count(1) == Count(1)
    assert outcome(lambda: hash(Count(1))) is outcome(lambda: hash(THEIRS[2](1))) is TypeError


def test_a_frozen_instance_cannot_be_changed() -> None:
    """Setting or deleting a field raises; instances of other classes may be changed."""
    point, count = Point(1), Count(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="'x'"):
        point.x = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del point.x
    count.n = 2
    assert count == Count(2)


def test_the_standard_library_supports_them() -> None:
    """`replace`, `fields`, `asdict`, `match`, copies and pickles."""
    assert dataclasses.replace(Point(1, 2), y=3) == Point(1, 3)
    assert dataclasses.asdict(Thing(name="a", items=[1]))["items"] == [1]
    assert [one.name for one in dataclasses.fields(Thing)] == [
        one.name for one in dataclasses.fields(THEIRS[1])
    ]
    match Point(1, 2):
        case Point(x, y=2):
            assert x == 1
        case _:
            raise AssertionError("it has no positions")
    assert Thing(name="a").items is not Thing(name="a").items
    assert Thing(name="a", items=[1, 2]).size == 2
    one = Pickled(1, (2,))
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    assert copy.deepcopy(Count(3)) == Count(3)


def test_slots_are_slots() -> None:
    """A class with ``slots`` has no ``__dict__``: a mistyped attribute raises, memory is saved."""
    for instance in (Point(1), Count(1)):
        assert not hasattr(instance, "__dict__")
    with pytest.raises(AttributeError):
        Count(1).m = 2
    assert hasattr(Thing(name="a"), "__dict__")


def with_post_init() -> type:
    """Return a class that needs ``__post_init__``."""

    class Checked:
        n: int

        def __post_init__(self) -> None:
            """Check ``n``."""

    return Checked


def with_own_equality() -> type:
    """Return a class with an ``__eq__`` of its own."""

    class Odd:
        n: int

        def __eq__(self, other: object) -> bool:
            return False

    return Odd


def with_init_var() -> type:
    """Return a class with a field that only ``__init__`` gets."""

    class Half:
        n: dataclasses.InitVar[int]

    return Half


def with_a_base() -> type:
    """Return a class that extends a data class."""

    class Longer(Pickled):
        c: int

    return Longer


@pytest.mark.parametrize(
    ("make_class", "named"),
    [
        (with_post_init, "Checked: .* no __post_init__"),
        (with_own_equality, "Odd: .* no __eq__"),
        (with_init_var, "Half: .* no InitVar"),
        (with_a_base, "Longer: .* no data class as base"),
    ],
)
def test_what_is_not_supported_raises(make_class: Callable[[], type], named: str) -> None:
    """A class that would behave differently from a data class is refused when it is defined."""
    with pytest.raises(TypeError, match=named):
        records.dataclass(frozen=True)(make_class())


@pytest.mark.parametrize("option", ["order", "unsafe_hash", "init", "eq", "weakref_slot"])
def test_an_option_that_is_not_supported_raises(option: str) -> None:
    """No option of `dataclasses.dataclass` is ignored."""
    with pytest.raises(TypeError, match=option):
        records.dataclass(**{option: True})
