"""How forked children end, and the result or the failure of throw-away children."""

import asyncio
import atexit
import contextlib
import os
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
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
    """A thread that still works when the function has returned can finish."""

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
    """A daemon thread doesn't keep a child alive."""

    def run(_connection: socket.socket) -> int:
        threading.Thread(target=time.sleep, args=[600], daemon=True).start()
        return 0

    with child(run) as forked:
        assert exit_code_of(forked) == 0


def endless_thread() -> None:
    """Start a thread that never ends."""
    threading.Thread(target=threading.Event().wait).start()


def endless_handler() -> None:
    """Register an exit handler that never ends."""
    atexit.register(time.sleep, 600)


@pytest.mark.parametrize("leave", [endless_thread, endless_handler])
def test_what_does_not_end_is_cut_off(leave: Callable[[], None]) -> None:
    """After `CLEANUP_S` of threads and handlers the child ends anyway, with its exit code."""

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
    """The traceback of an exit handler is printed, the others run, and the exit code stays."""
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
    """Even when its output is broken, the child runs its exit handlers and ends."""
    done = run_python(UNREPORTABLE, kind, PYTHONUNBUFFERED="1")
    assert done.stdout.splitlines()[0] == str(code)
    assert done.stdout.count("the parent's stack") == 1, done.stdout
    assert done.stdout.count("cleaned up") == 1, done.stdout


# ---- tasks


def run_task(function: Callable[..., Any], *arguments: Any, timeout_s: float = TIMEOUT_S) -> Any:
    """Run a task from a loop, and then reap its child as the main process does."""
    try:
        return asyncio.run(run_in_child(function, *arguments, timeout_s=timeout_s))
    finally:
        reap_children()


def reap_children() -> None:
    """Reap all children; fail if one doesn't end."""

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
    """Any JSON value is returned, however long."""
    assert run(lambda given: given, value) == value


@both
def test_a_task_that_raises_fails(run: Callable[..., Any], capfd: Any) -> None:
    """The traceback goes to standard error; the caller gets `TaskFailed`."""
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
    """Write half of a result and exit."""
    pipes = [int(fd) for fd in os.listdir("/proc/self/fd") if is_pipe(int(fd))]
    os.write(max(pipes), b'{"half": ')
    os._exit(0)


def is_pipe(fd: int) -> bool:
    """Return whether a descriptor beyond 2 is a pipe."""
    try:
        return fd > 2 and stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False


@both
def test_half_a_result_is_a_failure(run: Callable[..., Any]) -> None:
    """A result that is cut short fails and returns no wrong value."""
    with pytest.raises(TaskFailed, match="in the middle of its result"):
        run(write_half)


def hang_with_a_process(file: Path) -> None:
    """Start a process and hang."""
    started = subprocess.Popen(["sleep", "600"])
    file.write_text(f"{os.getpid()} {started.pid}\n")
    time.sleep(600)


@both
def test_a_task_that_hangs_is_killed(run: Callable[..., Any], tmp_path: Path) -> None:
    """After its time the child and the process that it started are killed."""
    started = time.monotonic()
    with pytest.raises(TaskFailed, match="no result within 3 s"):
        run(hang_with_a_process, tmp_path / "pids", timeout_s=3)
    assert time.monotonic() - started < 15
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    eventually(lambda: not any(map(lives, pids)), what="both have ended")


def leave_a_process(file: Path) -> str:
    """Leave a forked process behind, as multiprocessing does, and return a result."""
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
    """The result arrives although a forked process keeps the pipe open."""
    try:
        assert run(leave_a_process, tmp_path / "pid", timeout_s=5) == "result"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 9)


def test_a_call_leaves_no_process() -> None:
    """The child of a call has been reaped when the call returns."""
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
def test_a_failed_call_names_the_exit(code: str, how: str) -> None:
    """Without a result the error names the exit code or the signal."""
    with pytest.raises(TaskFailed, match=how):
        call(exec, code)


# ---- the end of a killed task


def pids_in(file: Path) -> list[int]:
    """Return the pids that a task has written, all of them or none."""
    text = file.read_text() if file.exists() else ""
    return [int(pid) for pid in text.split()] if text.endswith("\n") else []


async def pids_soon_in(file: Path) -> list[int]:
    """Wait until a task has written its pids, and return them."""
    deadline = time.monotonic() + TIMEOUT_S
    while not pids_in(file):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    return pids_in(file)


def start_slow_to_die(file: Path) -> None:
    """Start a chain of processes and hang; the last one takes its time to die.

    It holds 200 MiB, which the kernel has to free before the process counts as ended.
    """
    chain = [os.getpid()]
    for _ in range(3):
        pid = os.fork()
        if pid:
            time.sleep(600)
        chain.append(os.getpid())
    memory = bytearray(os.urandom(1024) * (200 * 1024))
    file.write_text(" ".join(map(str, chain)) + "\n")
    time.sleep(600)
    memory.clear()


@contextlib.contextmanager
def reaping() -> Iterator[None]:
    """Reap children by SIGCHLD in the running loop, as the main process does."""
    loop = asyncio.get_running_loop()

    def reap() -> None:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    loop.add_signal_handler(signal.SIGCHLD, reap)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGCHLD)


@pytest.mark.parametrize("reaps", [True, False], ids=["reaped", "zombie"])
@pytest.mark.parametrize("how", ["cancel", "cancel twice", "time out"])
def test_a_killed_task_has_ended_when_its_caller_goes_on(
    tmp_path: Path, how: str, reaps: bool
) -> None:
    """A cancelled or timed-out task and all that it started have ended before the caller goes on.

    Whether the owner of the loop has reaped the child by then makes no difference.
    """
    file = tmp_path / "pids"

    async def main() -> list[int]:
        with reaping() if reaps else contextlib.nullcontext():
            timeout_s = 3.0 if how == "time out" else TIMEOUT_S
            task = asyncio.create_task(run_in_child(start_slow_to_die, file, timeout_s=timeout_s))
            pids = await pids_soon_in(file)
            if how != "time out":
                task.cancel()
            if how == "cancel twice":
                await asyncio.sleep(0)
                task.cancel()
            with pytest.raises(TaskFailed if how == "time out" else asyncio.CancelledError):
                await task
            return [pid for pid in pids if lives(pid)]

    try:
        assert asyncio.run(main()) == []
    finally:
        reap_children()
        assert len(pids_in(file)) == 4


def test_a_task_that_has_ended_is_not_waited_for() -> None:
    """A child that has been reaped already costs its caller no time."""

    async def main() -> float:
        with reaping():
            began = time.monotonic()
            for _ in range(20):
                assert await run_in_child(int, timeout_s=TIMEOUT_S) == 0
            return time.monotonic() - began

    assert asyncio.run(main()) < 10
