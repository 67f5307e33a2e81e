"""How forked children end, and what throw-away children give: a result, or how they failed."""

import asyncio
import atexit
import contextlib
import os
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from children import child, exit_code_of, lives, output_of, run_python
from harness import eventually

from supervisor.process.child_exit import CLEANUP_S
from supervisor.process.fork import kill_group
from supervisor.process.throwaway import TaskFailed, call_in_child, run_in_child

TIMEOUT_S = 30.0


# ---- threads and handlers at the end


def test_threads_are_waited_for() -> None:
    """A thread that still works when the function is done can finish."""

    def run(_connection: socket.socket) -> int:
        def work() -> None:
            threading.main_thread().join()  # the function has returned
            print("worked")

        threading.Thread(target=work).start()
        return 3

    with child(run) as forked:
        assert output_of(forked) == "worked\n"
        assert exit_code_of(forked) == 3


def test_daemon_threads_are_not_waited_for() -> None:
    """A daemon thread keeps no child alive."""

    def run(_connection: socket.socket) -> int:
        threading.Thread(target=time.sleep, args=[600], daemon=True).start()
        return 0

    with child(run) as forked:
        assert exit_code_of(forked) == 0


def endless_thread() -> None:
    """Leave a thread that never ends."""
    threading.Thread(target=threading.Event().wait).start()


def endless_handler() -> None:
    """Leave an exit handler that never ends."""
    atexit.register(time.sleep, 600)


@pytest.mark.parametrize("leave", [endless_thread, endless_handler])
def test_what_does_not_end_is_cut_off(leave: Callable[[], None]) -> None:
    """Threads and handlers get `CLEANUP_S`; then the child ends, with its exit code."""

    def run(_connection: socket.socket) -> int:
        leave()
        print("left", flush=True)
        return 3

    with child(run) as forked:
        started = time.monotonic()
        assert output_of(forked) == "left\n"
        assert exit_code_of(forked) == 3
        assert time.monotonic() - started > CLEANUP_S / 2


FAILING_HANDLER = """
import atexit, os
from supervisor.process.fork import fork_child

def run(connection):
    atexit.register(print, "second")
    atexit.register(lambda: 1 / 0)
    atexit.register(print, "first")
    return 3

child = fork_child(run, name="fs-test")
print(os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]))
print(os.read(child.output, 65536).decode())
"""


def test_a_handler_that_fails_is_reported() -> None:
    """An exit handler that raises is printed, the others run, and the exit code stays."""
    lines = run_python(FAILING_HANDLER).stdout.splitlines()
    assert lines[:2] == ["3", "first"]
    assert "ZeroDivisionError: division by zero" in lines
    assert "second" in lines


HANDLERS = """
import atexit, os, sys
from supervisor.process.throwaway import call_in_child
from supervisor.process.fork import fork_child
log = sys.argv[1]

def note(text):
    with open(log, "a") as file:
        print(text, file=file)

def run(*_):
    atexit.register(note, "child")
    return 0

atexit.register(note, "parent")
if sys.argv[2] == "child":
    os.waitpid(fork_child(run, name="fs-test").pid, 0)
else:
    call_in_child(run, timeout_s=20)
"""


@pytest.mark.parametrize("kind", ["child", "task"])
def test_each_process_runs_its_own_exit_handlers(tmp_path: Path, kind: str) -> None:
    """The child's exit handlers run in the child, and the parent's only in the parent."""
    done = run_python(HANDLERS, str(tmp_path / "log"), kind)
    assert done.stderr == ""
    assert (tmp_path / "log").read_text().splitlines() == ["child", "parent"]


UNREPORTABLE = """
import atexit, os, sys
from supervisor.process.fork import fork_child

class Bad:
    def write(self, text): raise RuntimeError
    def flush(self): raise RuntimeError

def unprintable(connection):
    raise SyntaxError("x", (5, "line", "is no number", []))
def bad_stdout(connection):
    sys.stdout = Bad()
    return 3
def bad_stderr(connection):
    sys.stderr = Bad()
    raise ValueError
def no_stderr(connection):
    sys.stderr = None
    raise ValueError

chosen = globals()[sys.argv[1]]

def run(connection):
    atexit.register(os.write, 1, b"cleaned up\\n")
    return chosen(connection)

try:
    child = fork_child(run, name="fs-test")
    print(os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]))
finally:
    os.write(1, b"the parent's stack\\n")
os.write(1, os.read(child.output, 65536))
"""


@pytest.mark.parametrize(
    ("kind", "code"),
    [("unprintable", 70), ("bad_stdout", 3), ("bad_stderr", 70), ("no_stderr", 70)],
)
def test_a_child_never_returns_into_its_parents_code(kind: str, code: int) -> None:
    """Even when nothing can be reported any more, the child cleans up and ends."""
    done = run_python(UNREPORTABLE, kind, PYTHONUNBUFFERED="1")
    assert done.stdout.splitlines()[0] == str(code)
    assert done.stdout.count("the parent's stack") == 1, done.stdout
    assert done.stdout.count("cleaned up") == 1, done.stdout


# ---- tasks


def run_task(function: Callable[..., Any], *arguments: Any, timeout_s: float = TIMEOUT_S) -> Any:
    """Run a task from a loop, and reap its child as the main process would."""
    try:
        return asyncio.run(run_in_child(function, *arguments, timeout_s=timeout_s))
    finally:
        reap_children()


def reap_children() -> None:
    """Reap all children; fail if one doesn't end by itself."""

    def gone() -> bool:
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        return False

    try:
        eventually(gone, timeout_s=CLEANUP_S + 8, what="every child has ended")
    except AssertionError:
        for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            kill_group(int(pid))
            os.waitpid(int(pid), 0)
        raise


def call(function: Callable[..., Any], *arguments: Any, timeout_s: float = TIMEOUT_S) -> Any:
    """Run a task without a loop."""
    return call_in_child(function, *arguments, timeout_s=timeout_s)


both = pytest.mark.parametrize("run", [call, run_task])


@both
@pytest.mark.parametrize("value", [None, 0, "é", [1, {"a": None}], "x" * 1_000_000], ids=repr)
def test_a_task_gives_its_result(run: Callable[..., Any], value: object) -> None:
    """Any JSON value comes back, however long."""
    assert run(lambda given: given, value) == value


@both
def test_a_task_that_raises_fails(run: Callable[..., Any], capfd: Any) -> None:
    """The traceback goes to standard error; the caller hears of it."""
    with pytest.raises(TaskFailed):
        run(lambda: 1 / 0)
    assert "ZeroDivisionError" in capfd.readouterr().err


@both
def test_what_a_task_prints_goes_to_standard_error(run: Callable[..., Any], capfd: Any) -> None:
    """Output is not mistaken for the result."""
    assert run(lambda: print("hello")) is None
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "hello\n")


def write_half() -> None:
    """Write half of a result, and end."""
    pipes = [int(fd) for fd in os.listdir("/proc/self/fd") if is_pipe(int(fd))]
    os.write(max(pipes), b'{"half": ')
    os._exit(0)


def is_pipe(fd: int) -> bool:
    """Tell whether a descriptor beyond 2 is a pipe."""
    try:
        return fd > 2 and stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False


@both
def test_half_a_result_is_none(run: Callable[..., Any]) -> None:
    """A result that is cut short is a failure, not a wrong value."""
    with pytest.raises(TaskFailed, match="in the middle of its result"):
        run(write_half)


def hang_with_company(file: Path) -> None:
    """Start a process and hang, deaf to every polite signal."""
    company = subprocess.Popen(["sleep", "600"])
    file.write_text(f"{os.getpid()} {company.pid}\n")
    time.sleep(600)


@both
def test_a_task_that_hangs_is_ended_with_its_company(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    """After its time the child and every process it started are killed."""
    started = time.monotonic()
    with pytest.raises(TaskFailed, match="no result within 3 s"):
        run(hang_with_company, tmp_path / "pids", timeout_s=3)
    assert time.monotonic() - started < 15
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    eventually(lambda: not any(map(lives, pids)), what="both have ended")


def leave_company(file: Path) -> str:
    """Leave a forked process behind, as multiprocessing does, and give a result."""
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
        os._exit(0)
    file.write_text(str(pid))
    return "result"


@both
def test_a_process_left_behind_does_not_hide_the_result(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    """A forked process that holds the pipe open keeps nobody from the result."""
    try:
        assert run(leave_company, tmp_path / "pid", timeout_s=5) == "result"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 9)


def test_a_call_leaves_no_process() -> None:
    """The child of a call is reaped, and so is what it started."""
    pid = call(os.getpid)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("import os; os._exit(3)", "exit code 3"),
        ("import os; os._exit(0)", "ended by itself"),
        ("import os; os.kill(os.getpid(), 15)", "killed by SIGTERM"),
        ("import sys; sys.exit(4)", "exit code 70"),
    ],
)
def test_a_call_says_how_its_child_ended(code: str, how: str) -> None:
    """Without a result the caller hears the exit code or the signal."""
    with pytest.raises(TaskFailed, match=how):
        call(exec, code)


def test_a_task_that_is_cancelled_is_ended(tmp_path: Path) -> None:
    """When nobody waits for a task any more its child is killed."""
    file = tmp_path / "pids"

    async def main() -> None:
        task = asyncio.create_task(run_in_child(hang_with_company, file, timeout_s=TIMEOUT_S))
        deadline = time.monotonic() + TIMEOUT_S
        while not file.exists() or not file.read_text().endswith("\n"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())
    reap_children()
    pids = [int(pid) for pid in file.read_text().split()]
    eventually(lambda: not any(map(lives, pids)), what="both have ended")
