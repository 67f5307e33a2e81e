"""A forked child is a process of its own: it has nothing of its parent's but what it was given."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from children import (
    child,
    exit_code_of,
    lives,
    output_of,
    report,
    reported,
    run_python,
    wait_for_ever,
)
from harness import Project, eventually, process_in_test

from supervisor.process.throwaway import call_in_child

TIMEOUT_S = 30.0
STANDARD_SIGNALS = range(1, 32)


def facts(connection: socket.socket | None = None) -> dict[str, Any]:
    """Return what a process sees of itself: called in the child."""
    links = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the descriptor that listed the folder
            links[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    status = Path("/proc/self/status").read_text()
    masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "session": os.getsid(0),
        "group": os.getpgid(0),
        "descriptors": links,
        "channel": connection.fileno() if connection else None,
        "argv": sys.argv,
        "comm": Path("/proc/self/comm").read_text().strip(),
        "blocked": signals_in(masks["SigBlk"]),
        "ignored": signals_in(masks["SigIgn"]),
        "caught": signals_in(masks["SigCgt"]),
        "wakeup_fd": signal.set_wakeup_fd(-1),
        "timer": signal.getitimer(signal.ITIMER_REAL)[0],
        "stdin": sys.stdin.read(),
    }


def signals_in(mask: str) -> list[int]:
    """Return the numbers of the standard signals in a mask of proc_pid_status(5)."""
    return [number for number in STANDARD_SIGNALS if int(mask, 16) & (1 << (number - 1))]


def report_facts(connection: socket.socket) -> int:
    """Send `facts` to the parent, in the child."""
    report(connection, facts(connection))
    return 0


@pytest.fixture
def busy_parent() -> Iterator[list[int]]:
    """Give this process handlers, a wakeup descriptor, and a blocked and an ignored signal.

    Yields the list of the signals that its handler received.
    """
    got: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)
    before = {number: signal.signal(number, lambda n, _: got.append(n)) for number in numbers}
    before[signal.SIGUSR2] = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    reader, writer = os.pipe2(os.O_NONBLOCK)
    old_fd = signal.set_wakeup_fd(writer)
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        yield got
    finally:
        signal.set_wakeup_fd(old_fd)
        os.close(reader)
        os.close(writer)
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)


# ---- what it inherits


def test_a_child_has_only_its_own_descriptors(tmp_path: Path) -> None:
    """A child has 0, 1, 2, its channel and the descriptors to keep; all others are closed."""
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(socket.socket())
        stack.enter_context(socket.socket())
        file = stack.enter_context((tmp_path / "data").open("w"))
        os.set_inheritable(file.fileno(), True)
        forked = stack.enter_context(child(report_facts, keep=(kept.fileno(),)))
        seen = reported(forked)
        expected = {0, 1, 2, seen["channel"], kept.fileno()}
        assert {int(fd) for fd in seen["descriptors"]} == expected
        assert seen["descriptors"]["0"] == "/dev/null"
        assert seen["descriptors"]["1"] == seen["descriptors"]["2"]
        assert seen["stdin"] == ""


def test_a_task_has_only_its_pipe(tmp_path: Path) -> None:
    """A throw-away child has 0, 1, 2 and the pipe for its result."""
    with (tmp_path / "data").open("w") as file, socket.socket():
        os.set_inheritable(file.fileno(), True)
        links = call_in_child(facts, timeout_s=TIMEOUT_S)["descriptors"]
    assert len(links) == 4
    assert [link[:4] for fd, link in links.items() if int(fd) > 2] == ["pipe"]


def test_the_parents_ends_do_not_block() -> None:
    """Neither the channel nor the output of a child can block the parent."""
    with child(wait_for_ever) as forked:
        assert forked.channel.gettimeout() == 0
        assert not os.get_blocking(forked.output)


def test_a_child_leads_its_own_session() -> None:
    """A child leads a session and a group, so that the whole group can be killed."""
    with child(report_facts) as forked:
        seen = reported(forked)
        assert seen["pid"] == seen["session"] == seen["group"] == forked.pid
        assert seen["parent"] == os.getpid()


@pytest.mark.parametrize("kind", ["child", "task"])
def test_a_child_handles_signals_as_any_new_process(kind: str, busy_parent: list[int]) -> None:
    """Nothing is blocked or caught, and only what Python itself ignores is ignored."""
    del busy_parent
    if kind == "task":
        seen = call_in_child(facts, timeout_s=TIMEOUT_S)
    else:
        with child(report_facts) as forked:
            seen = reported(forked)
    assert seen["blocked"] == []
    assert seen["ignored"] == [signal.SIGPIPE, signal.SIGXFSZ]
    assert seen["caught"] == [signal.SIGINT]
    assert seen["wakeup_fd"] == -1
    assert seen["timer"] == 0


def test_a_signal_to_a_fresh_child_is_not_the_parents(busy_parent: list[int]) -> None:
    """SIGTERM at any time after the fork ends the child, and never reaches the parent's handler."""
    for _ in range(25):
        with child(wait_for_ever) as forked:
            os.kill(forked.pid, signal.SIGTERM)
            assert exit_code_of(forked) == -signal.SIGTERM
    assert signal.SIGTERM not in busy_parent


@pytest.mark.parametrize(
    ("name", "comm"), [("fs-coach", "fs-coach"), ("fs-" + "x" * 30, "fs-" + "x" * 12)]
)
def test_a_child_has_its_own_name(name: str, comm: str) -> None:
    """``ps`` and ``sys.argv`` show the child's name; the kernel cuts it at 15 bytes."""
    with child(report_facts, name=name) as forked:
        seen = reported(forked)
        assert seen["argv"] == [name]
        assert seen["comm"] == comm


# ---- what it prints

PRINT_UNICODE = """
import os, subprocess, sys
from supervisor.process.fork import fork_child

def run(connection):
    print("child: Gr\\xf6\\xdfe \\u2713 \\udcff", flush=True)
    print("error: na\\xefve", file=sys.stderr)
    subprocess.run([sys.executable, "-c", "print('grandchild: ' + chr(0xe9))"])
    return 0

assert sys.stdout.encoding.lower() != "utf-8", sys.stdout.encoding
child = fork_child(run, name="fs-test")
os.waitpid(child.pid, 0)
sys.stdout.buffer.write(os.read(child.output, 65536))
"""


def test_output_is_utf_8_whatever_the_locale() -> None:
    """A child prints UTF-8 in a C locale too, and any character can be printed."""
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    done = run_python(PRINT_UNICODE, **locale)
    assert done.stderr == ""
    lines = ["child: Größe ✓ \\udcff", "error: naïve", "grandchild: é"]
    assert done.stdout.splitlines() == lines


def test_an_exception_is_printed_and_ends_the_child() -> None:
    """A child whose function raises prints the traceback and exits with code 70."""

    def fail(_connection: socket.socket) -> int:
        raise ValueError("broken")

    with child(fail) as forked:
        assert "ValueError: broken" in output_of(forked)
        assert exit_code_of(forked) == 70


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_the_result_is_the_exit_code(code: int) -> None:
    """What the function returns is the child's exit code."""
    with child(lambda _: code) as forked:
        assert exit_code_of(forked) == code


# ---- loops


def run_a_loop() -> list[str]:
    """Use asyncio with descriptors, signals and a process, in a child."""

    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        with a, b:
            a.setblocking(False)
            b.send(b"data")
            data = await loop.sock_recv(a, 10)
        usr1 = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, usr1.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.wait_for(usr1.wait(), TIMEOUT_S)
        return [data.decode(), "signal"]

    return asyncio.run(main())


def test_a_child_of_a_running_loop_has_a_loop_of_its_own() -> None:
    """asyncio works in a child that is forked from a running loop, and the loop keeps working."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        readable = asyncio.Event()
        usr1 = asyncio.Event()
        with a, b:
            loop.add_reader(a, readable.set)
            loop.add_signal_handler(signal.SIGUSR1, usr1.set)
            result = call_in_child(run_a_loop, timeout_s=TIMEOUT_S)
            assert result == ["data", "signal"]
            await asyncio.sleep(0)
            assert not readable.is_set()
            assert not usr1.is_set()
            b.send(b"x")
            os.kill(os.getpid(), signal.SIGUSR1)
            await asyncio.wait_for(readable.wait(), TIMEOUT_S)
            await asyncio.wait_for(usr1.wait(), TIMEOUT_S)
            loop.remove_reader(a)
            loop.remove_signal_handler(signal.SIGUSR1)

    asyncio.run(main())


# ---- when not to fork, and when the parent dies

WITH_A_THREAD = """
import os, sys, threading
from supervisor.process.throwaway import call_in_child
from supervisor.process.fork import UnsafeForkError, fork_child
done = threading.Event()
threading.Thread(target=done.wait, name="poller").start()
before = len(os.listdir("/proc/self/fd"))
for fork in (lambda: call_in_child(int, timeout_s=5), lambda: fork_child(int, name="x")):
    try:
        fork()
    except UnsafeForkError as error:
        print(error)
print(len(os.listdir("/proc/self/fd")) - before, "left open")
done.set()
"""


@pytest.mark.parametrize("option", [[], ["-O"]], ids=["plain", "-O"])
def test_a_process_with_threads_does_not_fork(option: list[str]) -> None:
    """A fork beside a second thread is refused, also by ``python -O``, and the thread is named."""
    done = run_python(WITH_A_THREAD, options=option)
    assert done.stderr == ""
    *refused, left = done.stdout.splitlines()
    assert len(refused) == 2
    for text in refused:
        assert "cannot fork: this process has 2 threads (MainThread, poller)" in text
    assert left == "0 left open"


WITHOUT_DESCRIPTORS = """
import os, resource
from supervisor.process.throwaway import call_in_child
from supervisor.process.fork import fork_child
used = len(os.listdir("/proc/self/fd")) - 1
for free in (0, 1, 2, 3, 4):
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + free, 4096))
    try:
        fork_child(lambda _: 0, name="x")
    except OSError as error:
        print(free, error.strerror)
resource.setrlimit(resource.RLIMIT_NOFILE, (used + 6, 4096))
print(len(os.listdir("/proc/self/fd")) - 1 - used, "left open")
"""


def test_a_fork_without_descriptors_leaves_none_open() -> None:
    """Without a free descriptor a fork raises OSError and leaves no descriptor open."""
    done = run_python(WITHOUT_DESCRIPTORS)
    failures = [f"{free} Too many open files" for free in range(5)]
    assert done.stdout.splitlines() == [*failures, "0 left open"], done.stderr


FORK_AND_WAIT = """
import sys, time
from supervisor.process.fork import fork_child
child = fork_child(lambda connection: time.sleep(600), name="fs-test")
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_dies_with_its_parent(project: Project, number: int) -> None:
    """No child outlives its parent, however that ends."""
    with process_in_test(project, FORK_AND_WAIT) as parent:
        pid = int(parent.stdout.readline())
        assert lives(pid)
        parent.send_signal(number)
        eventually(lambda: not lives(pid), what="the child has ended")


SUBREAPER = """
import os, subprocess
from supervisor.process.prctl import become_subreaper
become_subreaper()
leave = ["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"]
pid = int(subprocess.run(leave, stdout=subprocess.PIPE).stdout)
os.kill(pid, 9)
print(os.waitpid(pid, 0)[0] == pid)
"""


def test_a_subreaper_adopts_orphans() -> None:
    """A subreaper can reap grandchildren whose parent has ended."""
    assert run_python(SUBREAPER).stdout == "True\n"
