"""How much of what an app prints is logged: whole lines, a bounded number, the last ones always."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.process.output_lines import LINE_MAX, OutputLine, OutputLines
from supervisor.supervision.line_rate import (
    FAST_BYTES_PER_S,
    LINES_PER_S_MAX,
    TAIL_BYTES,
    TAIL_LINES,
    LineRate,
)
from supervisor.values.redaction import HIDDEN, Redaction

MAX = LINES_PER_S_MAX


def numbered(first: int, count: int) -> bytes:
    """Return lines that are numbered."""
    return b"".join(b"%d\n" % number for number in range(first, first + count))


def after(said: list[OutputLine]) -> int:
    """Return the number that a line about lines left out names."""
    (line,) = said
    assert line.level == "warning"
    return int(line.text.split()[1])


def test_a_quiet_app_is_told_as_it_is() -> None:
    """Below the limit nothing is held back, half lines neither."""
    rate = LineRate()
    for second in range(5):
        for part in (numbered(0, MAX - 1), b"half a ", b"line\n"):
            assert rate.take(part, second) == part
    assert rate.end() == (b"", [])


def test_a_flood_is_counted() -> None:
    """A second's lines are logged, the others counted, and their number is logged afterwards."""
    rate = LineRate()
    assert rate.take(numbered(0, 5 * MAX), 10.0) == numbered(0, MAX)
    assert rate.exceeded
    assert rate.take(numbered(5 * MAX, MAX), 10.9) == b""
    assert rate.left_out(10.9) == []
    assert after(rate.left_out(11.0)) == 5 * MAX
    assert rate.left_out(12.0) == []
    assert rate.take(numbered(0, 3), 11.0) == numbered(0, 3)
    assert not rate.exceeded


def test_the_end_of_a_line_that_was_left_out_is_no_line() -> None:
    """What comes in the next second goes on with the next whole line."""
    rate = LineRate()
    rate.take(numbered(0, MAX) + b"left out, and not yet at its e", 10.0)
    assert rate.take(b"nd: st", 11.5) == b""
    assert rate.take(b"ill\nwhole\n", 11.6) == b"whole\n"
    assert after(rate.left_out(13.0)) == 1


def test_few_bytes_make_no_flood_but_many_do() -> None:
    """An endless line is a flood as well."""
    rate = LineRate()
    part = b"x" * 65536
    for _ in range(FAST_BYTES_PER_S // len(part) - 1):
        assert rate.take(part, 10.0) == part
    assert not rate.exceeded
    rate.take(part, 10.0)
    assert rate.exceeded
    rate.take(part, 11.0)
    assert not rate.exceeded


def test_the_last_lines_of_a_flood_are_told() -> None:
    """The newest lines, and how many went before them."""
    rate = LineRate()
    rate.take(numbered(0, 10 * MAX) + b"why it ended", 10.0)
    last, said = rate.end()
    assert last == numbered(10 * MAX - TAIL_LINES, TAIL_LINES) + b"why it ended"
    assert after(said) == 9 * MAX - TAIL_LINES


def test_few_long_lines_are_told_at_the_end() -> None:
    """No more bytes than the bound, and only whole lines of them."""
    rate = LineRate()
    long = b"y" * 3000 + b"\n"
    rate.take(numbered(0, MAX) + 50 * long, 10.0)
    last, said = rate.end()
    assert last == TAIL_BYTES // len(long) * long
    assert after(said) == 50 - TAIL_BYTES // len(long)


def test_the_end_of_an_earlier_flood_is_not_told_again() -> None:
    """Lines that were logged since then are the last ones."""
    rate = LineRate()
    rate.take(numbered(0, 2 * MAX), 10.0)
    assert after(rate.left_out(11.0)) == MAX
    assert rate.take(b"calm again\n", 12.0) == b"calm again\n"
    assert rate.end() == (b"", [])


def cut(data: bytes, sizes: Iterable[int]) -> Iterable[bytes]:
    """Cut ``data`` into parts of these sizes, and the rest."""
    for size in sizes:
        yield data[:size]
        data = data[size:]
    yield data


@settings(deadline=None)
@given(
    count=st.integers(0, 4 * MAX),
    sizes=st.lists(st.integers(0, 6000), max_size=8),
    steps=st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=9, max_size=9),
)
def test_every_line_is_told_or_counted(count: int, sizes: list[int], steps: list[float]) -> None:
    """However the bytes come: lines are logged whole and in order, the others are counted."""
    rate, lines = LineRate(), OutputLines()
    data = numbered(100_000, count)
    now, passed, left_out = 50.0, [], 0
    for part, step in zip(cut(data, sizes), steps, strict=False):
        now += step
        passed += lines.feed(rate.take(part, now))
        left_out += sum(after([text]) for text in rate.left_out(now))
    last, said = rate.end()
    left_out += sum(after([text]) for text in said)
    passed += lines.feed(last)
    assert lines.rest() == []
    numbers = [int(line.text) for line in passed]
    assert numbers == sorted(set(numbers))
    assert set(numbers) <= set(range(100_000, 100_000 + count))
    assert len(numbers) + left_out == count
    assert numbers[-1:] == ([100_000 + count - 1] if count else [])


@pytest.mark.parametrize("before", [0, LINE_MAX - 6, LINE_MAX - 3, LINE_MAX - 16, LINE_MAX])
def test_no_half_secret_at_the_cut_of_a_long_line(before: int) -> None:
    """Where a line is cut, the first half of a secret doesn't stay behind."""
    secret = "correct-horse-battery"
    output = OutputLines(Redaction([secret]))
    [(line, _)] = output.feed(b"x" * before + secret.encode() + b"y" * LINE_MAX + b"\n")
    assert line.endswith("bytes more)")
    assert "corre" not in line
    assert (HIDDEN in line) is (before + 4 <= LINE_MAX)
