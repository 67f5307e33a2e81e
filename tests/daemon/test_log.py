"""What the supervisor writes: lines from any bytes, and a writer that never waits."""

import contextlib
import fcntl
import itertools
import json
import os
import pty
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.daemon.log import BACKLOG_BYTES_MAX, BACKLOG_MAX, Log, Writer
from supervisor.process.output_lines import LINE_MAX, OutputLines
from supervisor.process.throwaway import call_in_child
from supervisor.values.levels import Level

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
PIPE_BYTES = 4096  # the smallest pipe there is


def lines_of(*parts: bytes) -> list[str]:
    """Return the lines made of ``parts``, the unfinished one too."""
    output = OutputLines()
    lines = [line for part in parts for line in output.feed(part)]
    return [line.text for line in lines + output.rest()]


# ---- lines of workers


@pytest.mark.parametrize(
    ("parts", "lines"),
    [
        ([], []),
        ([b""], []),
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"on", b"e\ntw", b"o\n"], ["one", "two"]),
        ([b"\n\n"], ["", ""]),
        ([b"windows\r\nline\r\n"], ["windows", "line"]),
        ([b"no end"], ["no end"]),
        (["Größe ✓\n".encode()], ["Größe ✓"]),
        ([b"Gr\xc3", b"\xb6\xc3\x9f", b"e \xe2\x9c", b"\x93\n"], ["Größe ✓"]),
        ([b"caf\xe9\n"], ["caf�"]),
        ([b"cut \xe2\x9c\n"], ["cut �"]),
        ([b"a\tb\n"], ["a\tb"]),
        ([b"bell\x07 null\0 back\x08 delete\x7f\n"], ["bell· null· back· delete·"]),
        ([b"50%\r100%\n"], ["50%·100%"]),
    ],
)
def test_output_becomes_lines(parts: list[bytes], lines: list[str]) -> None:
    """Bytes become lines wherever they are cut; what can't be shown is replaced."""
    assert lines_of(*parts) == lines


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[31mred\x1b[0m",
        "\x1b[1;38;5;200mred\x1b[m",
        "\x1b]0;a title\x07red",
        "\x1b]8;;http://a.b\x1b\\red\x1b]8;;\x1b\\",
        "\x1b[2J\x1b[Hred",
        "\x1b7red\x1b8",
        "\x1b[?25lred\x1b[?25h",
    ],
)
def test_escape_sequences_are_removed(text: str) -> None:
    """Colours, titles, links and cursor movements leave the bare text."""
    assert lines_of(text.encode() + b"\n") == ["red"]


def test_a_long_line_is_cut() -> None:
    """A line beyond 8 KiB is cut, says by how much, and the next line is whole."""
    parts = [b"x" * 5000] * 4
    cut = f"{'x' * LINE_MAX} … ({20_000 - LINE_MAX} bytes more)"
    assert lines_of(*parts, b"\nnext\n") == [cut, "next"]
    assert lines_of(*parts) == [cut]


def test_a_line_of_the_greatest_length_is_whole() -> None:
    """A line of exactly 8 KiB isn't cut."""
    assert lines_of(b"x" * LINE_MAX + b"\n") == ["x" * LINE_MAX]


BYTES = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=100).map(str.encode),
    st.lists(st.sampled_from([b"\n", b"\r", b"\x1b[", b"31m", b"\xe2\x9c", b"\x93", b"a"])).map(
        b"".join
    ),
    st.integers(LINE_MAX - 3, LINE_MAX + 3).map(lambda count: b"y" * count + b"\nz"),
)


@PROPERTY
@given(BYTES, st.lists(st.integers(0, LINE_MAX), max_size=8))
def test_the_cuts_do_not_matter(data: bytes, cuts: list[int]) -> None:
    """Any bytes give the same lines, in whatever pieces they come."""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert lines_of(*parts) == lines_of(data)


@PROPERTY
@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_a_line_can_do_no_harm(data: bytes) -> None:
    """Whatever a worker prints: its lines hold no control character but the tabulator."""
    for line in lines_of(data):
        bad = [c for c in line if unicodedata.category(c) == "Cc" and c != "\t"]
        assert not bad
        line.encode()


# ---- the writer


@contextlib.contextmanager
def small_pipe() -> Iterator[tuple[int, int]]:
    """Return both ends of a pipe that is soon full; reading never waits."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.set_blocking(reader, False)
    try:
        yield reader, writer
    finally:
        os.close(reader)
        with contextlib.suppress(OSError):
            os.close(writer)


def drain(writer: Writer | Log, reader: int) -> list[str]:
    """Read all that is written, letting ``writer`` go on until nothing more comes."""
    received = b""
    while True:
        writer.flush()
        try:
            part = os.read(reader, 65536)
        except BlockingIOError:
            return received.decode().splitlines()
        received += part


def test_lines_are_written_in_order() -> None:
    """With a reader that reads every line arrives as it is."""
    with small_pipe() as (reader, fd):
        writer = Writer(fd)
        writer.msg("first")
        writer.msg("Größe ✓ \udcff")
        assert drain(writer, reader) == ["first", "Größe ✓ \\udcff"]


def test_lines_wait_for_a_slow_reader() -> None:
    """What doesn't fit into a full pipe is kept, and written once there's room."""
    with small_pipe() as (reader, fd):
        writer = Writer(fd)
        lines = [f"line {number} " + "x" * 100 for number in range(500)]
        for line in lines:
            writer.msg(line)
        assert drain(writer, reader) == lines


def test_a_line_longer_than_the_pipe_arrives_whole() -> None:
    """A line that takes several writes isn't torn."""
    with small_pipe() as (reader, fd):
        writer = Writer(fd)
        for line in ("a" * 20_000, "b"):
            writer.msg(line)
        assert drain(writer, reader) == ["a" * 20_000, "b"]


def test_too_many_lines_are_dropped_and_counted() -> None:
    """A reader that stays away loses the newest lines, and reads how many."""
    with small_pipe() as (reader, fd):
        writer = Writer(fd)
        for number in range(BACKLOG_MAX + 1000):
            writer.msg(f"line {number}")
        lines = drain(writer, reader)
        dropped = re.fullmatch(r"\.\.\. (\d+) log lines were dropped: .*", lines[-1])
        assert dropped
        assert lines[:-1] == [f"line {number}" for number in range(len(lines) - 1)]
        assert int(dropped[1]) + len(lines) - 1 == BACKLOG_MAX + 1000
        writer.msg("afterwards")
        assert drain(writer, reader) == ["afterwards"]


def test_long_lines_do_not_pile_up() -> None:
    """What is kept for a reader that stays away is bounded in bytes, too."""
    with small_pipe() as (reader, fd):
        writer = Writer(fd)
        for _ in range(BACKLOG_MAX // 2):
            writer.msg("x" * LINE_MAX)
        lines = drain(writer, reader)
        assert BACKLOG_BYTES_MAX <= sum(map(len, lines)) <= BACKLOG_BYTES_MAX + 2 * LINE_MAX
        assert "log lines were dropped" in lines[-1]
        writer.msg("afterwards")
        assert drain(writer, reader) == ["afterwards"]


def test_a_closed_pipe_is_no_error() -> None:
    """When nobody can read any more, writing goes on into nothing."""
    reader, fd = os.pipe()
    os.close(reader)
    try:
        writer = Writer(fd)
        for number in range(BACKLOG_MAX * 2):
            writer.msg(f"line {number}")
    finally:
        os.close(fd)


def test_a_file_gets_everything(tmp_path: Path) -> None:
    """A file takes all lines at once."""
    with (tmp_path / "log").open("wb") as file:
        writer = Writer(file.fileno())
        for number in range(BACKLOG_MAX * 2):
            writer.msg(f"line {number}")
    assert len((tmp_path / "log").read_text().splitlines()) == BACKLOG_MAX * 2


def write_to_a_terminal_nobody_reads() -> bool:
    """Write far more than a terminal takes, in a child: it might never come back."""
    _master, slave = pty.openpty()
    writer = Writer(slave)
    for number in range(BACKLOG_MAX * 2):
        writer.msg(f"line {number} " + "x" * 500)
    return True


def test_a_terminal_nobody_reads_blocks_nobody() -> None:
    """A frozen terminal, or an ssh that lost its network, doesn't stop the main process."""
    assert call_in_child(write_to_a_terminal_nobody_reads, timeout_s=10) is True


# ---- formats


def logged(log_format: str, *, level: Level = "info", app: str | None = "coach") -> list[str]:
    """Return what a log of this format writes for an event, a problem and an app's output."""
    with small_pipe() as (reader, fd):
        log = Log(log_format, level, fd)
        log.event("ready on ::", app=app, kind="ready", problem=False)
        log.event("the worker ended: é", app=app, kind="exited", problem=True)
        log.output("printed", app="coach", pid=42, level="error")
        return drain(log, reader)


@pytest.mark.parametrize("log_format", ["json", "auto"])
def test_programs_get_one_json_object_a_line(log_format: str) -> None:
    """Where there's no terminal each line is an object with time, level, app and text."""
    lines = [json.loads(line) for line in logged(log_format)]
    assert [line["event"] for line in lines] == ["ready on ::", "the worker ended: é", "printed"]
    assert [line["level"] for line in lines] == ["info", "warning", "error"]
    assert {line["app"] for line in lines} == {"coach"}
    assert all(re.match(r"\d{4}-\d\d-\d\dT.*Z$", line["timestamp"]) for line in lines)
    assert [line.get("kind") for line in lines] == ["ready", "exited", None]
    assert (lines[2]["pid"], lines[2]["output"]) == (42, True)


def test_people_get_short_lines() -> None:
    """A console line has the time, the app, the text, and no colours where there's no terminal."""
    lines = logged("console")
    assert all(re.match(r"\d\d:\d\d:\d\d coach ", line) for line in lines)
    assert lines[0].endswith("   ready on ::")
    assert lines[1].endswith("   the worker ended: é")
    assert lines[2].endswith(" | printed")
    assert not any("\x1b" in line for line in lines)


def test_lines_without_an_app_are_marked() -> None:
    """What the supervisor says of itself has a dash in place of the app."""
    assert re.match(r"\d\d:\d\d:\d\d -  ", logged("console", app=None)[0])


@pytest.mark.parametrize(
    ("level", "count"), [("debug", 2), ("info", 2), ("warning", 1), ("error", 0)]
)
def test_the_level_is_for_the_supervisors_own_lines(level: Level, count: int) -> None:
    """Own lines below the level are not written; what apps print always is."""
    lines = [json.loads(line) for line in logged("json", level=level)]
    assert len([line for line in lines if "output" not in line]) == count
    assert lines[-1]["event"] == "printed"


def log_to_a_terminal(no_color: str) -> str:
    """Return what a log writes on a terminal, in a child whose environment is changed."""
    os.environ.pop("NO_COLOR", None)
    if no_color:
        os.environ["NO_COLOR"] = no_color
    master, slave = pty.openpty()
    log = Log("auto", "info", slave)
    log.event("hello", app="coach", kind="ready", problem=True)
    log.flush()
    return os.read(master, 65536).decode()


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_gets_colours(no_color: str, coloured: bool) -> None:
    """On a terminal lines are short and coloured, unless NO_COLOR asks for none."""
    written = call_in_child(log_to_a_terminal, no_color, timeout_s=20)
    assert ("\x1b[" in written) is coloured
    assert "hello" in written
    assert "{" not in written
