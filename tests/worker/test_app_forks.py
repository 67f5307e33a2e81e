"""Processes that an app forks or executes are what they would be without a supervisor."""

import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from children import lives, run_python
from harness import Project, Running, ask, eventually
from wire import Wire

APP = """
import multiprocessing, os, signal, threading, time
from flask import Flask

app = Flask(__name__)
fork = multiprocessing.get_context("fork")
started = []


def wait():
    time.sleep(600)


def start():
    started.append(fork.Process(target=wait))
    started[-1].start()


def forks_again(pipe):
    pid = os.fork()
    if pid == 0:
        wait()
    pipe.send(pid)
    wait()


def describe(pipe):
    links = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            links[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass
    handlers = [str(signal.getsignal(n)) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)]
    timer = signal.getitimer(signal.ITIMER_REAL)
    pipe.send({"links": links, "handlers": handlers, "timer": timer})


if os.environ.get("FORK_AT_IMPORT"):
    start()


@app.get("/at_import")
def at_import():
    return [process.pid for process in started]


@app.get("/thread")
def thread():
    forking = threading.Thread(target=start)
    forking.start()
    forking.join()
    return [started[-1].pid]


@app.get("/request")
def request():
    start()
    return [started[-1].pid]


@app.get("/grandchild")
def grandchild():
    ours, theirs = fork.Pipe()
    started.append(fork.Process(target=forks_again, args=[theirs]))
    started[-1].start()
    return [started[-1].pid, ours.recv()]


@app.get("/terminate")
def terminate():
    start()
    started[-1].terminate()
    started[-1].join(4)
    return {"exitcode": started[-1].exitcode}


@app.get("/pools")
def pools():
    results = []
    for _ in range(50):
        with fork.Pool(2) as pool:
            results += pool.map(abs, [-1])
    return results


@app.get("/describe")
def described():
    ours, theirs = fork.Pipe()
    process = fork.Process(target=describe, args=[theirs])
    process.start()
    return ours.recv()


@app.get("/executed")
def executed():
    pipe = os.popen("ls /proc/self/fd; echo; readlink /proc/self/fd/*")
    return pipe.read()


@app.get("/posix_spawn")
def spawned():
    reader, writer = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, writer, 1)]
    pid = os.posix_spawn("/bin/ls", ["ls", "/proc/self/fd"], os.environ, file_actions=actions)
    os.waitpid(pid, 0)
    return os.read(reader, 1000)
"""

KINDS: dict[str, dict[str, Any]] = {"forked": {}, "python": {"python": sys.executable}}


@pytest.fixture(params=KINDS)
def coach(project: Project, request: pytest.FixtureRequest) -> Running:
    """A supervisor with the app, in a forked worker and on an interpreter of its own."""
    env = {"FORK_AT_IMPORT": "1"}
    project.app("coach", APP, env=env, threads=2, stop_timeout_s=2, **KINDS[request.param])
    running = project.start()
    running.worker("coach")
    return running


def asked(running: Running, path: str, *, timeout_s: float = 60) -> Any:
    """Return the JSON that the app answers."""
    answer = ask(running.project.port("coach"), path, timeout_s=timeout_s)
    assert answer.status == 200, running.log
    return answer.json


def sockets_of(pid: int) -> set[str]:
    """Return the links of a process's sockets."""
    links = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return {link for link in links if link.startswith("socket:")}


def test_a_terminated_process_ends(coach: Running) -> None:
    """`Process.terminate` ends a child by SIGTERM, and a pool can be closed fifty times."""
    assert asked(coach, "/terminate") == {"exitcode": -signal.SIGTERM}
    assert asked(coach, "/pools", timeout_s=100) == [1] * 50


def test_a_forked_process_has_nothing_of_the_worker(coach: Running) -> None:
    """It has none of the worker's sockets, and the default signal handlers; no timer runs."""
    of_worker = sockets_of(coach.worker("coach"))
    assert of_worker
    found = asked(coach, "/describe")
    assert not of_worker.intersection(found["links"].values())
    assert "Handlers.SIG_DFL" in found["handlers"][0] or found["handlers"][0] == "0"
    assert "default_int_handler" in found["handlers"][1]
    assert found["handlers"][2] == found["handlers"][0]
    assert found["timer"] == [0.0, 0.0]


def test_a_forked_process_keeps_no_connection_open(coach: Running) -> None:
    """A client whose request forks a process sees the end of its connection."""
    with Wire(coach.project.port("coach"), timeout_s=10) as wire:
        assert b"200 OK" in wire.get("/request", "Connection: close").rest()


@pytest.mark.parametrize("how", ["at_import", "request", "thread", "grandchild"])
def test_after_a_kill_of_the_main_process_nothing_is_left(coach: Running, how: str) -> None:
    """No process that the app forked survives, whichever thread forked it; the port is free."""
    pids = asked(coach, f"/{how}")
    assert all(map(lives, pids))
    coach.kill()
    eventually(lambda: not any(map(lives, pids)), timeout_s=10, what=f"{pids} have ended")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", coach.project.port("coach")))
        listener.listen()


def test_the_end_of_the_thread_that_forked_ends_no_process(coach: Running) -> None:
    """The worker has other threads: only its own end is the end of the processes it forked."""
    pids = [pid for path in ("/thread", "/thread") for pid in asked(coach, path)]
    assert asked(coach, "/describe")  # some time later
    assert all(map(lives, pids))
    os.kill(coach.worker("coach"), signal.SIGKILL)
    eventually(lambda: not any(map(lives, pids)), timeout_s=10, what=f"{pids} have ended")


def test_a_program_that_the_app_executes_gets_no_descriptor(coach: Running) -> None:
    """It has 0, 1 and 2, and what the program opens itself: the folder that it lists."""
    text = ask(coach.project.port("coach"), "/executed").text
    numbers, links = text.split("\n\n")
    assert numbers.split() == ["0", "1", "2", "3"]
    assert "socket:" not in links
    spawned = ask(coach.project.port("coach"), "/posix_spawn").text
    assert spawned.split()[:3] == ["0", "1", "2"]
    assert len(spawned.split()) == 4


WITHOUT_DESCRIPTORS = """
import ctypes, os, threading
from supervisor.worker.app_forks import separate_forks

separate_forks(list)
real_open = os.open

def no_descriptor_left(path, *more):
    if path.startswith("/proc/self/fd/"):
        raise OSError(24, "Too many open files")
    return real_open(path, *more)

def print_signal_at_the_end_of_the_parent():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        number = ctypes.c_int()
        ctypes.CDLL(None).prctl(2, ctypes.byref(number))  # PR_GET_PDEATHSIG
        os.write(writer, b"%d" % number.value)
        os._exit(0)
    os.waitpid(pid, 0)
    print(os.read(reader, 10).decode(), flush=True)

os.open = no_descriptor_left
print_signal_at_the_end_of_the_parent()
thread = threading.Thread(target=print_signal_at_the_end_of_the_parent)
thread.start()
thread.join()
"""


def test_without_a_descriptor_left_the_main_thread_ends_its_processes() -> None:
    """PR_SET_PDEATHSIG takes over, but not for a thread, which may end long before the worker."""
    done = run_python(WITHOUT_DESCRIPTORS)
    assert done.stdout.split() == [str(int(signal.SIGKILL)), "0"], done.stderr
