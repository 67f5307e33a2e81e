"""The benchmarks measure real servers, compare with budgets, and leave no process behind."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import REPOSITORY, eventually, free_ports

from benchmarks import stats, wrk
from benchmarks.polling import Poll, disturbance, wait_until_all_answer
from benchmarks.report import judged
from benchmarks.session import Taken
from benchmarks.soak import Sample, verdicts
from benchmarks.suite import MEASURES, Budget
from benchmarks.tree import Command, Tree

NEVER = None


def bench(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start the benchmarks on what this interpreter has: ours and waitress."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks", "--python", sys.executable),
            *("--results", str(folder), "--contenders", "ours,waitress", *arguments),
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def below(folder: Path) -> list[int]:
    """Return the processes that run in a folder or below it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                cwd = os.readlink(entry / "cwd")
            except OSError:
                continue
            if cwd.startswith(str(folder)):
                found.append(int(entry.name))
    return found


def test_a_quick_run_gives_tables_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours and waitress are really started, killed and compared, and nothing of them is left."""
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "work"))
    process = bench(tmp_path, "--quick", "--only", "cold,pss,kill,broken")
    out, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    for title in ("### cold", "### pss", "### kill", "### broken", "### Our budgets"):
        assert title in out
    assert out.strip() == (tmp_path / "latest.md").read_text().strip()
    document = json.loads((tmp_path / "latest.json").read_text())
    measured = {
        (name, row): taken["samples"][0]
        for name, rows in document["measures"].items()
        for row, taken in rows.items()
    }
    for row in ("ours", "waitress"):
        assert 0.02 < measured["cold", row]["cold_start_s"] < 60
        assert 10 < measured["pss", row]["pss_mib"] < 300
    assert measured["pss", "waitress"]["processes"] == 3
    assert measured["kill", "ours"]["refused"] == 0
    assert measured["kill", "ours"]["down_ms"] is not None
    assert measured["kill", "waitress"]["down_ms"] is None
    assert measured["kill", "waitress"]["refused"] > 100
    assert measured["broken", "ours"]["a client sees"] == "503 with the reason"
    assert measured["broken", "waitress"]["a client sees"] == "connection refused"
    assert not below(tmp_path / "work")
    assert not list((tmp_path / "work").iterdir())


def test_a_killed_run_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the benchmarks are killed, everything that they had started ends."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = bench(tmp_path / "results", "--only", "idle", "--rounds", "1")
    try:
        eventually(lambda: len(below(tmp_path)) >= 3, timeout_s=30, what="a contender runs")
    finally:
        process.kill()
        process.communicate(timeout=30)
    eventually(lambda: not below(tmp_path), timeout_s=30, what="its processes have ended")


STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    subprocess.Popen(["sleep", "300"])
    signal.pause()
time.sleep(300)
"""


def test_a_peer_that_does_not_end_is_killed_with_its_whole_tree(tmp_path: Path) -> None:
    """Ignored signals, sessions of their own and lost parents save no process."""
    command = Command([sys.executable, "-c", STUBBORN], tmp_path)
    with Tree([command], log=tmp_path / "log", environment=dict(os.environ)) as tree:
        eventually(lambda: len(tree.processes()) == 3, what="parent, orphan and its child run")
        assert len(below(tmp_path)) == 3
    assert not below(tmp_path)


def test_a_stopped_guard_does_not_stop_the_end(tmp_path: Path) -> None:
    """Even when the guard itself is killed, what it started is found and ended."""
    command = Command([sys.executable, "-c", STUBBORN], tmp_path)
    code = """
import os, signal, sys
from pathlib import Path
from benchmarks.processes import become_subreaper
from benchmarks.tree import Command, Tree
become_subreaper()
folder = Path(sys.argv[1])
tree = Tree([Command(sys.argv[2:], folder)], log=folder / "log", environment=dict(os.environ))
with tree:
    while len(tree.processes()) < 3:
        pass
    os.kill(tree._guard.pid, signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), *map(str, command.argv)],
        cwd=REPOSITORY,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert not below(tmp_path)


def test_a_port_that_never_answers_ends_the_wait() -> None:
    """The wait for a contender is bounded, and names the port."""
    (port,) = free_ports(1)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=str(port)):
        wait_until_all_answer([(port, "/")], timeout_s=0.2)
    assert time.monotonic() - began < 10


@pytest.mark.debian("wrk")
def test_a_short_soak_finds_nothing_that_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load for some seconds, every process keeps its memory and descriptors."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = bench(tmp_path, "--soak-s", "25")
    out, errors = process.communicate(timeout=110)
    assert process.returncode == 0, out + errors
    assert out.count("| flat |") == 8  # with a guardian, and a program of an app
    assert not below(tmp_path)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([], None),
        ([2.0], stats.Summary(2, 2, 2, 1)),
        ([3.0, 1.0, 2.0], stats.Summary(2, 1, 3, 3)),
        ([1.0, 2.0], stats.Summary(1.5, 1, 2, 2)),
        ([1.0, NEVER], stats.Summary(math.inf, 1, math.inf, 2)),
        ([1.0, NEVER, 2.0], stats.Summary(2, 1, math.inf, 3)),
        ([NEVER, NEVER], stats.Summary(math.inf, math.inf, math.inf, 2)),
    ],
)
def test_summary(samples: list[float | None], expected: stats.Summary | None) -> None:
    """Medians are robust, and what never happened is worse than any number."""
    assert stats.summary(samples) == expected


@pytest.mark.parametrize(
    ("values", "references", "expected"),
    [
        ([2.0, 4.0, 9.0], [1.0, 2.0, 3.0], 2.0),
        ([2.0, NEVER, 3.0], [1.0, 1.0, 1.0], 2.5),
        ([2.0, 3.0], [NEVER, 1.0], 3.0),
        ([2.0], [0.0], None),
        ([], [1.0], None),
    ],
)
def test_paired_ratio(
    values: list[float | None], references: list[float | None], expected: float | None
) -> None:
    """Only pairs of one round are compared, and their median ratio counts."""
    found = stats.paired_ratio(values, references)
    assert (found and found.median) == expected


def test_disturbance() -> None:
    """Refused and failed polls are counted, and the outage spans all that had no answer."""
    polls = [
        Poll(0.0, 0.001, "ok", "1"),
        Poll(1.0, 0.0, "refused", ""),
        Poll(1.1, 0.0, "failed", "ECONNRESET"),
        Poll(1.2, 0.3, "ok", "2"),
        Poll(1.3, 0.0, "refused", ""),
        Poll(1.5, 0.002, "ok", "2"),
    ]
    found = disturbance(polls)
    assert (found.asked, found.refused, found.failed) == (6, 2, 1)
    assert found.worst_ms == pytest.approx(300)
    assert found.down_ms == pytest.approx(500)
    assert disturbance(polls[:3]).down_ms is None
    assert disturbance(polls[:1]).down_ms == 0


@pytest.mark.parametrize(
    ("budget", "ours", "verdict"),
    [
        (Budget("x", "at most", 2), [1.0, 2.0, 9.0], "held"),
        (Budget("x", "at most", 2), [1.0, 3.0, 9.0], "not held"),
        (Budget("x", "at least", 2), [1.0, 2.0, 9.0], "held"),
        (Budget("x", "at least", 2), [1.0, 1.0, 9.0], "not held"),
        (Budget("x", "at most", 2), [NEVER, NEVER], "not held"),
        (Budget("x", "at least", 0.9, relative_to="peer"), [9.0, 18.0, 40.0], "held"),
        (Budget("x", "at least", 1.1, relative_to="peer"), [9.0, 18.0, 30.0], "not held"),
        (Budget("x", "at most", 2), [], "not available"),
    ],
)
def test_budgets_are_judged_by_the_median(
    budget: Budget, ours: list[float | None], verdict: str
) -> None:
    """A budget holds when the median reaches it, or the median of the ratios of pairs."""
    taken = {
        "ours": Taken([{"x": value} for value in ours]),
        "peer": Taken([{"x": value} for value in (10.0, 20.0, 30.0)]),
    }
    assert judged(budget, taken)[1] == verdict


def test_every_budget_is_of_a_row_that_is_measured() -> None:
    """A budget whose row doesn't exist would never be judged."""
    for measure in MEASURES:
        rows = {row.name for row in measure.rows}
        for budget in measure.budgets:
            assert {budget.row, budget.relative_to or budget.row} <= rows


@pytest.mark.parametrize(
    ("memory", "fds", "flat"),
    [
        ([9, 5, 5, 5, 5, 5, 5, 5, 5, 5], [7] * 10, True),
        ([5, 5, 5, 5, 5.2, 5.4, 5.5, 5.6, 5.7, 5.8], [7] * 10, True),
        ([5, 5, 5, 5, 6, 7, 8, 9, 10, 11], [7] * 10, False),
        ([5] * 10, [7, 7, 7, 7, 7, 7, 7, 7, 7, 8], False),
        ([5] * 10, [9, 9, 7, 7, 7, 7, 7, 7, 7, 7], True),
    ],
)
def test_soak_verdicts(memory: list[float], fds: list[int], flat: bool) -> None:
    """What grows after the warm-up is found; what falls, or was warm-up, is not held against it."""
    rounds = [[Sample(1, "x", m, f)] for m, f in zip(memory, fds, strict=True)]
    (verdict,) = verdicts(rounds)
    assert verdict.is_flat is flat


REPORT = """Running 1s test @ http://127.0.0.1:21000/
  1 threads and 16 connections
  Latency Distribution
     50%    5.08ms
     99%   {p99}
  1713 requests in 1.00s, 283.26KB read
{errors}Requests/sec:   1711.52
Transfer/sec:    283.02KB
"""


@pytest.mark.parametrize(
    ("p99", "errors", "expected"),
    [
        ("21.30ms", "", (21.3, 0)),
        ("900.00us", "", (0.9, 0)),
        ("1.20s", "  Socket errors: connect 1, read 2, write 0, timeout 3\n", (1200, 6)),
        ("1.00ms", "  Non-2xx or 3xx responses: 5\n", (1, 5)),
    ],
)
def test_the_report_of_wrk_is_read(p99: str, errors: str, expected: tuple[float, int]) -> None:
    """Times become milliseconds, and every kind of error is counted and reported."""
    found = wrk.parse(REPORT.format(p99=p99, errors=errors))
    assert (found.requests, found.per_s) == (1713, 1711.52)
    assert (found.p99_ms, found.errors) == pytest.approx(expected)
    assert found.detail == errors.strip()


def test_another_report_is_refused() -> None:
    """A report that can't be parsed is an error."""
    with pytest.raises(RuntimeError, match="cannot read"):
        wrk.parse("unable to connect to 127.0.0.1:9 Connection refused\n")
