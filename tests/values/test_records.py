"""Our data classes behave as those of the standard library, which are made beside them."""

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
    """Make the same three classes by a decorator."""

    @decorator(frozen=True, slots=True)
    class Point:
        """Two places, one with a default."""

        x: int
        y: int = 7

    @decorator(frozen=True, kw_only=True)
    class Thing:
        """Fields of every kind that we use."""

        name: str
        items: list[int] = field(default_factory=list)
        secret: str = field(default="", repr=False)
        note: str = field(default="", compare=False)
        file: str = field(default="f", init=False, metadata={"planned": True})

        @property
        def size(self) -> int:
            """How many items there are."""
            return len(self.items)

    @decorator(slots=True)
    class Count:
        """One that may be changed."""

        n: int = 0

    return Point, Thing, Count


Point, Thing, Count = make(records.dataclass)
THEIRS = make(dataclasses.dataclass)


@records.dataclass(frozen=True)
class Pickled:
    """One that pickle can find."""

    a: int
    b: tuple[int, ...] = ()


def outcome(call: Callable[[], Any]) -> Any:
    """Give what a call gives, as text, or the class of what it raises."""
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
def test_they_are_made_alike(number: int, arguments: list[int], named: dict[str, int]) -> None:
    """The same arguments make the same, or are refused by the same exception."""
    ours, theirs = (Point, Thing, Count)[number], THEIRS[number]
    assert outcome(lambda: ours(*arguments, **named)) == outcome(
        lambda: theirs(*arguments, **named)
    )


@given(
    one=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    other=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
def test_they_are_equal_alike(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    """Equality and hashes go by the fields that are compared, within a class."""
    theirs = THEIRS[0]
    assert (Point(*one) == Point(*other)) is (theirs(*one) == theirs(*other))
    assert (Point(*one) == Point(*other)) <= (hash(Point(*one)) == hash(Point(*other)))
    assert Point(*one) != theirs(*one)
    assert Thing(name="a", note="x") == Thing(name="a", note="y") != Thing(name="b")
    assert Count(1) == Count(1)
    assert outcome(lambda: hash(Count(1))) is outcome(lambda: hash(THEIRS[2](1))) is TypeError


def test_what_is_frozen_cannot_be_changed() -> None:
    """Nor can a field be removed; others can."""
    point, count = Point(1), Count(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="'x'"):
        point.x = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del point.x
    count.n = 2
    assert count == Count(2)


def test_the_functions_of_the_standard_library_take_them() -> None:
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
