"""Events over restarts: bounded, in order, whole after a power cut, and seldom written."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from harness import REPOSITORY, eventually
from hypothesis import given
from hypothesis import strategies as st

from supervisor.files import event_store
from supervisor.files.event_store import (
    EVENTS_MAX,
    INTERVAL_S,
    EventHistory,
    StoredFailure,
    WritePace,
    load,
    save,
)
from supervisor.values.events import Event, EventKind

NO_CLOCK = "1970-01-01T00:00:10Z"
FAILURE = StoredFailure(
    boot="b1",
    monotonic_s=5.0,
    wall=NO_CLOCK,
    reason="ValueError: x",
    report={"type": "ValueError", "traceback": "...", "seconds": 0.5},
    lines=("one", "two"),
)


def event(text: str, at: float = 1.0, **changes: Any) -> Event:
    """Return an event."""
    values = {"kind": EventKind.READY, "app": "coach", "wall": NO_CLOCK, **changes}
    return Event(text=text, monotonic_s=at, **values)


def texts(history: EventHistory) -> list[str]:
    """Return what happened, oldest first."""
    return [stored.event.text for stored in history.events]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Events of every kind and failures, as they were."""
    history = EventHistory("b1")
    for kind in EventKind:
        history.add(event(f"ä {kind}", kind=kind, app=None, problem=True))
    history.fail("coach", FAILURE)
    history.written = ("b1", 12.5)
    save(tmp_path / "events", history.to_json())
    again, problem = load(tmp_path / "events", "b1")
    assert problem is None
    assert again.events == history.events
    assert again.failures == {"coach": FAILURE}
    assert again.written == ("b1", 12.5)


def test_order_needs_no_clock(tmp_path: Path) -> None:
    """Three boots that all begin in 1970, with monotonic times that begin anew."""
    path = tmp_path / "events"
    for boot in ("b1", "b2", "b3"):
        history, _ = load(path, boot)
        for name in ("first", "second"):
            history.add(event(f"{boot} {name}"))
        save(path, history.to_json())
    history, _ = load(path, "b3")  # the service was restarted, the machine was not
    history.add(event("b3 third"))
    assert texts(history) == [
        *("b1 first", "b1 second", "b2 first", "b2 second"),
        *("b3 first", "b3 second", "b3 third"),
    ]
    assert [stored.number for stored in history.events] == list(range(1, 8))


def test_the_file_is_bounded(tmp_path: Path) -> None:
    """In events, in the length of texts, in reports and lines."""
    history = EventHistory("b1")
    for number in range(2 * EVENTS_MAX):
        history.add(event(f"{number} " + "x" * 5000))
    report = {"traceback": "head" + "x" * 10_000 + "tail", "line": 3}
    lines = tuple(f"{n} " + "y" * 1000 for n in range(100))
    history.fail("coach", StoredFailure(**{**vars_of(FAILURE), "report": report, "lines": lines}))
    assert len(history.events) == EVENTS_MAX
    assert history.events[-1].number == 2 * EVENTS_MAX
    failure = history.failures["coach"]
    assert failure.report is not None
    assert failure.report["traceback"].endswith("tail")
    assert failure.report["line"] == 3
    assert failure.lines[-1].startswith("99 ")
    save(tmp_path / "events", history.to_json())
    assert (tmp_path / "events").stat().st_size < 200_000
    history.forget_failures({"admin"})
    assert history.failures == {}


def vars_of(failure: StoredFailure) -> dict[str, Any]:
    """Return the fields of a failure."""
    return {
        name: getattr(failure, name)
        for name in ("boot", "monotonic_s", "wall", "reason", "report", "lines")
    }


GOOD = EventHistory("b1").to_json()
EVENT = {
    "number": 1,
    "boot": "b",
    "monotonic_s": 1.0,
    "wall": "",
    "app": None,
    "kind": "ready",
    "text": "x",
    "problem": False,
}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 4096,
        b"{",
        b"[]",
        b"null",
        b"[" * 100_000,
        b"\xff\xfe",
        json.dumps({**GOOD, "format": 2}).encode(),
        json.dumps({"format": 1}).encode(),
        json.dumps({**GOOD, "events": [EVENT, EVENT]}).encode(),
        json.dumps({**GOOD, "events": [{**EVENT, "kind": "nosuch"}]}).encode(),
        json.dumps({**GOOD, "events": [{**EVENT, "text": 1}]}).encode(),
        json.dumps({**GOOD, "events": [{**EVENT, "monotonic_s": float("nan")}]}).encode(),
        json.dumps({**GOOD, "failures": []}).encode(),
        json.dumps({**GOOD, "written": "yesterday"}).encode(),
        json.dumps({**GOOD, "written": ["b", None]}).encode(),
        json.dumps({**GOOD, "failures": {"a": {}}}).encode(),
    ],
)
def test_garbage_is_set_aside(tmp_path: Path, content: bytes) -> None:
    """Never fatal, said once, kept for whoever wants to look; then a new file is written."""
    path = tmp_path / "events"
    path.write_bytes(content)
    history, problem = load(path, "b1")
    assert history.events == []
    assert problem is not None
    assert "set aside" in problem
    assert (tmp_path / "events.damaged").read_bytes() == content
    history.add(event("new"))
    save(path, history.to_json())
    again, problem = load(path, "b1")
    assert (texts(again), problem) == (["new"], None)


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    """Not fatal either."""
    (tmp_path / "events").mkdir()
    history, problem = load(tmp_path / "events", "b1")
    assert history.events == []
    assert problem is not None


@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever is in the file, loading raises nothing."""
    path = tmp_path_factory.mktemp("any") / "events"
    path.write_bytes(content)
    load(path, "b1")


WRITER = """
import itertools, sys
from pathlib import Path
from supervisor.files.event_store import load, save
from supervisor.values.events import Event, EventKind
path = Path(sys.argv[1])
for number in itertools.count():
    history, problem = load(path, "b1")
    assert problem is None, problem
    text = f"{number} " + "x" * (number % 400)
    history.add(Event(kind=EventKind.READY, text=text, app="a", monotonic_s=1.0, wall=""))
    save(path, history.to_json())
    print(number, flush=True)
"""


def test_a_kill_at_any_moment_of_writing(tmp_path: Path) -> None:
    """The file is readable afterwards, and holds all that was written before the last moment."""
    path = tmp_path / "events"
    for round_ in range(8):
        path.unlink(missing_ok=True)
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.01 + round_ * 0.007)  # another moment each time
        writer.send_signal(signal.SIGKILL)
        said = writer.stdout.read().split()
        writer.stdout.close()
        writer.wait()
        history, problem = load(path, "b1")
        assert problem is None
        last = int(said[-1]) if said else 0
        assert int(texts(history)[-1].split()[0]) in (last, last + 1)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails raises, and what was there before stays."""
    path = tmp_path / "events"
    history = EventHistory("b1")
    history.add(event("old"))
    save(path, history.to_json())
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from supervisor.files.event_store import EventHistory, save\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "try:\n    save(Path(sys.argv[1]), EventHistory('b1').to_json())\n"
        "except OSError:\n    sys.exit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    assert done.returncode == 7
    assert texts(load(path, "b1")[0]) == ["old"]
    assert os.listdir(tmp_path) == ["events"]


# ---- how often it is written


def test_nothing_is_written_while_nothing_happens() -> None:
    """At first, and after a write."""
    pace = WritePace()
    assert pace.due_at is None
    pace.change()
    pace.begin(100.0)
    assert pace.due_at is None


def test_a_write_that_failed_is_repeated() -> None:
    """After the interval, as if something had changed."""
    pace = WritePace()
    pace.change()
    pace.begin(100.0)
    pace.failed()
    assert pace.due_at == 100.0 + INTERVAL_S


@given(st.lists(st.tuples(st.sampled_from(["change", "look"]), st.floats(0, 30)), max_size=80))
def test_any_course_of_changes(steps: list[tuple[str, float]]) -> None:
    """Writes are an interval apart; a change is written within an interval of when it was."""
    pace, now, writes = WritePace(), 0.0, []
    unwritten: float | None = None
    for what, wait_s in steps:
        end = now + wait_s
        while pace.due_at is not None and max(pace.due_at, now) <= end:  # as a timer would
            now = max(pace.due_at, now)
            assert unwritten is not None
            assert now - unwritten <= INTERVAL_S * (1 + 1e-9)
            pace.begin(now)
            writes.append(now)
            unwritten = None
        now = end
        if what == "change":
            pace.change()
            unwritten = now if unwritten is None else unwritten
    gaps = [b - a for a, b in itertools.pairwise(writes)]
    assert all(gap >= INTERVAL_S * (1 - 1e-9) for gap in gaps)
    assert (pace.due_at is None) is (unwritten is None)


def test_it_is_written_whole(tmp_path: Path) -> None:
    """By a rename: whoever reads sees the old file or the new one."""
    path = tmp_path / "events"
    save(path, EventHistory("b1").to_json())
    before = path.stat().st_ino
    save(path, EventHistory("b1").to_json())
    assert path.stat().st_ino != before
    assert path.stat().st_mode & 0o777 == 0o600
    assert eventually(lambda: os.listdir(tmp_path) == ["events"])
    assert event_store.load(path, "b1")[1] is None
