"""Imports that do more than import: they print, start threads, change folder, write files."""

import itertools
import json
import os
import re
import signal
import time

import pytest
from harness import GOOD_APP, Poller, Project, ask, eventually
from observing import assert_all_answered, events, is_alive, refused_with, rss_mib
from process_case import ProcessCase
from process_world import NOW, REPORT

from supervisor.policy.process_events import (
    Bound,
    Elapsed,
    Exited,
    FilesChanged,
    ImportFailed,
    Spawn,
)
from supervisor.policy.process_state import WorkerPhase
from supervisor.supervision.line_rate import LINES_PER_S_MAX
from supervisor.values.reports import Exit
from supervisor.values.states import AppState

EMOJI = "\N{SNAKE} grüße \N{CHECK MARK}"
ASCII_LOCALE = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
FOR_EVER = """
import threading, time
def for_ever():
    while True:
        time.sleep(0.05)
threading.Thread(target=for_ever).start()
"""


def test_an_emoji_is_printed_in_an_ascii_locale(project: Project) -> None:
    """An app that prints characters outside of the locale is ready, and the log has them."""
    printed = f"import sys\nprint({EMOJI!r})\nprint({EMOJI!r} * 2, file=sys.stderr)\n"
    project.app("coach", printed + GOOD_APP.format(text=EMOJI))
    running = project.start(env=ASCII_LOCALE)
    running.wait_for("coach", state="ready")
    assert ask(project.port("coach")).text == EMOJI + "\n"
    lines = [json.loads(line) for line in running.log.splitlines()]
    output = [line["event"] for line in lines if line.get("output") and line["app"] == "coach"]
    assert output == [EMOJI, EMOJI * 2]


def test_an_exception_with_an_emoji_in_an_ascii_locale(project: Project) -> None:
    """Both ports, the log and the terminal show the reason unchanged."""
    project.app("coach", f"raise RuntimeError({EMOJI!r})\n")
    running = project.start(env=ASCII_LOCALE)
    reason = f"RuntimeError: {EMOJI} (coach.py, line 1)"
    refused_with(project.port("coach"), reason)
    page = ask(project.port("coach"), accept="text/html")
    assert reason in page.text
    running.wait_for("coach", reason=reason)
    assert reason in running.log
    for command in ("status", "check"):
        shown = project.command(command, env=ASCII_LOCALE)
        assert shown.returncode == 1
        assert "RuntimeError" in shown.stdout, shown.stderr


def test_ten_megabytes_of_output(project: Project) -> None:
    """The app is ready, the main process keeps its size, and the other app serves meanwhile."""
    project.app("neighbour")
    project.app("coach", "import later\n" + GOOD_APP.format(text="coach"))
    running = project.start()
    main = running.process.pid
    running.wait_for("coach", serving="stand-in")
    before_mib = rss_mib(main)
    with Poller(project.port("neighbour"), rate=50) as poller:
        project.file("coach", "later.py").write_text(
            "print('x' * 5_000_000)\nfor number in range(50_000):\n    print('y' * 99)\n"
        )
        running.wait_for("coach", state="ready", timeout_s=30)
        ask(project.port("coach"))
    assert rss_mib(main) < before_mib + 6
    assert running.log.count("y" * 99) >= LINES_PER_S_MAX // 2

    def all_accounted_for() -> bool:
        log = running.log
        left_out = sum(map(int, re.findall(r"… (\d+) lines left out", log)))
        return log.count("y" * 99) + left_out >= 50_000  # or the long line, if it was left out

    eventually(all_accounted_for, timeout_s=5)
    assert "x" * 8192 in running.log
    assert "x" * 8193 not in running.log
    assert_all_answered(poller, worst_s=1.5)


def test_output_that_nobody_reads_is_dropped(project: Project) -> None:
    """A stopped reader of the log stops neither the apps nor the main process."""
    project.app("neighbour")
    project.app("coach", "import later\n" + GOOD_APP.format(text="coach"))
    log = project.folder / "log.pipe"
    os.mkfifo(log)
    reader = os.open(log, os.O_RDWR | os.O_NONBLOCK)  # it never reads
    try:
        running = project.start(prefix=["sh", "-c", f'exec "$@" >{log} 2>&1', "sh"])
        running.wait_for("coach", serving="stand-in")
        before_mib = rss_mib(running.process.pid)
        project.file("coach", "later.py").write_text(
            "for number in range(6000):\n    print('y' * 8000)\n"
        )
        running.wait_for("coach", state="ready", timeout_s=30)
        assert rss_mib(running.process.pid) < before_mib + 30
        assert ask(project.port("neighbour")).status == 200
        assert running.stop() == 0
    finally:
        os.close(reader)


def test_threads_and_another_working_folder(project: Project) -> None:
    """An import that starts threads and changes folder is ready; other apps keep their folder."""
    reads = """
@app.get("/file")
def file():
    return open("data.txt").read()
"""
    moves = """
import os, threading, time
for daemon in (True, False):
    threading.Thread(target=time.sleep, args=(3600,), daemon=daemon).start()
os.chdir("/")
"""
    project.app("neighbour", GOOD_APP.format(text="neighbour") + reads)
    project.file("neighbour", "data.txt").write_text("mine")
    project.app("coach", moves + GOOD_APP.format(text="coach"))
    project.file("coach", "data.txt").write_text("coach's")
    project.supervisor["shutdown_timeout_s"] = 0.5
    running = project.start()
    running.wait_for("coach", state="ready")
    assert ask(project.port("coach")).text == "coach\n"
    assert ask(project.port("neighbour"), "/file").text == "mine"
    assert os.readlink(f"/proc/{running.worker('coach')}/cwd") == "/"
    assert os.readlink(f"/proc/{running.process.pid}/cwd") == str(project.folder)


def test_a_failed_import_that_leaves_a_thread_is_tried_again(project: Project) -> None:
    """A failed worker with an endless thread is ended, and the next one starts."""
    project.app("neighbour")
    project.app("coach", FOR_EVER + "1 / 0\n")
    running = project.start()
    refused_with(project.port("coach"), "ZeroDivisionError: division by zero (coach.py, line 7)")
    first = running.wait_for("coach", generation=1)["pid"]
    running.wait_for("coach", generation=2, timeout_s=6)
    assert not is_alive(first)
    project.file("coach").write_text(FOR_EVER + GOOD_APP.format(text="coach"))
    running.wait_for("coach", state="ready", timeout_s=6)
    assert ask(project.port("neighbour")).text == "neighbour\n"


def test_a_long_report_is_not_lost_at_the_worker_s_end(project: Project) -> None:
    """The report arrives although the worker ended before the main process read it."""
    waits = """
import os, time
while not os.path.exists("go"):
    time.sleep(0.01)
if os.path.exists("once"):
    time.sleep(3600)
open("once", "w").close()
raise RuntimeError("\N{CYRILLIC SMALL LETTER DE}" * 25_000)
"""
    project.app("coach", waits)
    running = project.start()
    worker = running.wait_for("coach", generation=1)["pid"]
    running.process.send_signal(signal.SIGSTOP)
    try:
        project.file("coach", "go").touch()
        eventually(lambda: not is_alive(worker), timeout_s=8)
    finally:
        running.process.send_signal(signal.SIGCONT)
    running.wait_for("coach", says="RuntimeError: ", generation=2)


@pytest.mark.parametrize("failures", [5, 9])
def test_a_repair_is_not_lost_while_the_failed_worker_ends(failures: int) -> None:
    """A file that changes between the report of a failed import and the worker's end counts."""
    one = ProcessCase()
    one.take(Bound())
    one.fail(times=failures)
    number = one.numbers(WorkerPhase.IMPORTING)[0]
    one.take(ImportFailed(number, REPORT))
    one.take(FilesChanged(), later_s=1)
    actions = one.take(Exited(number, Exit(code=1)), later_s=1)
    assert one.process.state is AppState.STARTING
    assert actions == [Spawn(number + 1, one.process.current)]


def test_an_import_that_writes_sources_is_rate_limited(project: Project) -> None:
    """An app that fails and writes a .py file each time is imported at a bounded rate."""
    writes = """
import os, pathlib, time
with open("../attempts.txt", "a") as attempts:
    attempts.write("x")
pathlib.Path(f"generated_{time.monotonic_ns()}.py").write_text("")
raise RuntimeError("never ready")
"""
    project.app("neighbour")
    project.app("coach", writes)
    counted = project.folder / "attempts.txt"
    running = project.start()
    eventually(counted.exists)
    began, limit = time.monotonic(), counted.stat().st_size + 18
    eventually(lambda: counted.stat().st_size > limit or time.monotonic() > began + 3)
    assert counted.stat().st_size <= limit  # two for each check of the files, and some more
    assert events(running, "coach", "files_changed")
    assert ask(project.port("neighbour")).status == 200


def test_changes_without_end_count_as_failing() -> None:
    """An app whose files change with every attempt is backed off, and imported again for ever."""
    one = ProcessCase()
    actions = one.take(Bound())
    starts = [one.now]
    while one.now < NOW + 600:
        number = one.numbers(WorkerPhase.IMPORTING)[0]
        actions = one.take(ImportFailed(number, REPORT), Exited(number, Exit(code=1)))
        is_reported = False
        while not actions:  # files are checked twice a second, and reported once for each worker
            actions = one.take(Elapsed() if is_reported else FilesChanged(), later_s=0.5)
            is_reported = True
        starts.append(one.now)
    assert len(starts) < 600 / 60 * 60  # one a second would be wild
    assert max(b - a for a, b in itertools.pairwise(starts)) <= 61
