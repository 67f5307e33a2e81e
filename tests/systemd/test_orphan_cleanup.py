"""Orphans in the unit's cgroup: they are killed after their grace time, other processes never.

The cgroup is imitated by a folder whose cgroup.procs lists real processes.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import eventually
from observing import is_alive

from supervisor.systemd.orphan_cleanup import Orphans, own_cgroup

SLEEP = "import time; time.sleep(600)"
STOPPED = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
IGNORES = """
import signal
from pathlib import Path
signal.signal(15, signal.SIG_IGN)
Path("/proc/self/comm").write_text("waits")
"""
RENAMES = IGNORES.replace("signal.SIG_IGN", "lambda *_: Path('/proc/self/comm').write_text('x')")
# Starts another process in its own session, prints its pid, and waits.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
sys.stdin.read()
"""


class Cgroup:
    """A folder like a cgroup's, and the processes in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.extra: set[int] = {os.getpid()}
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, code: str, *, session: bool = True) -> "subprocess.Popen[bytes]":
        """Start a process in the cgroup."""
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=session,
        )
        self.processes.append(process)
        return process

    def write(self, *pids: int) -> None:
        """Let these processes, and this one, be in it."""
        lines = [str(pid) for pid in {*pids, *self.extra}]
        (self.folder / "cgroup.procs").write_text("\n".join(lines) + "\n")


@pytest.fixture
def cgroup(tmp_path: Path) -> Iterator[Cgroup]:
    """An empty cgroup but for this process."""
    made = Cgroup(tmp_path)
    made.write()
    yield made
    for process in made.processes:
        process.kill()
        process.communicate()


@pytest.fixture
def orphan(cgroup: Cgroup) -> Iterator[int]:
    """A process in the cgroup whose parent has exited."""
    yield from _orphans(SLEEP)


def _orphans(code: str) -> Iterator[int]:
    starter = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], start_new_session=True,"
        " stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print(child.pid)"
    )
    done = subprocess.run(
        [sys.executable, "-c", starter, code], capture_output=True, text=True, check=True
    )
    pid = int(done.stdout)
    yield pid
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_what_was_left_is_ended(cgroup: Cgroup, orphan: int) -> None:
    """An orphan is killed by `kill_remaining`, and not before."""
    cgroup.write(orphan)
    orphans = Orphans(cgroup.folder)
    assert orphans.pids == [orphan]
    assert is_alive(orphan)
    assert orphans.kill_remaining() == [orphan]
    eventually(lambda: not is_alive(orphan))


def test_a_stopped_one_is_ended_too(cgroup: Cgroup) -> None:
    """SIGSTOP does not save an orphan."""
    for pid in _orphans(STOPPED):
        eventually(lambda pid=pid: ") T " in Path(f"/proc/{pid}/stat").read_text())
        cgroup.write(pid)
        assert Orphans(cgroup.folder).kill_remaining() == [pid]
        eventually(lambda pid=pid: not is_alive(pid))


def test_one_may_end_by_itself(cgroup: Cgroup, orphan: int) -> None:
    """`drain` asks the orphans of a name to end, others never, and waits no longer than it may."""
    name = Path(f"/proc/{orphan}/comm").read_text().strip()
    cgroup.write(orphan)
    orphans = Orphans(cgroup.folder)
    orphans.drain("another", timeout_s=10)
    assert is_alive(orphan)
    orphans.drain(name, timeout_s=30)
    assert not is_alive(orphan)  # it was waited for
    orphans.drain(name, timeout_s=30)  # none is left


@pytest.mark.parametrize(("reaction", "timeout_s"), [(RENAMES, 30), (IGNORES, 0.05)])
def test_one_that_goes_on(cgroup: Cgroup, reaction: str, timeout_s: float) -> None:
    """One that says by its name that it accepts no more is not waited for any longer."""
    for pid in _orphans(reaction + SLEEP):
        comm = Path(f"/proc/{pid}/comm")
        eventually(lambda comm=comm: comm.read_text() == "waits\n")
        cgroup.write(pid)
        started = time.monotonic()
        Orphans(cgroup.folder).drain("waits", timeout_s=timeout_s)
        assert time.monotonic() - started < 20
        assert is_alive(pid)


def test_what_it_started_itself_is_spared(cgroup: Cgroup, orphan: int) -> None:
    """This process, its children and grandchildren are never killed with the orphans."""
    cgroup.write(orphan)
    orphans = Orphans(cgroup.folder)
    own = cgroup.start(PARENT)
    assert own.stdout is not None
    grandchild = int(own.stdout.readline())
    cgroup.write(orphan, own.pid, grandchild)
    assert orphans.kill_remaining() == [orphan]
    assert is_alive(own.pid)
    assert is_alive(grandchild)
    with contextlib.suppress(ProcessLookupError):
        os.kill(grandchild, signal.SIGKILL)


def test_what_a_left_process_started_later_goes_with_it(cgroup: Cgroup) -> None:
    """A process of an orphan's session counts as orphan, even if its parent has exited."""
    for pid in _orphans(
        "import subprocess, sys, time\n"
        "time.sleep(0.5)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    ):
        cgroup.write(pid)
        orphans = Orphans(cgroup.folder)
        found = eventually(lambda pid=pid: of_session(pid) - {pid} and not is_alive(pid))
        assert found
        [late] = of_session(pid)
        cgroup.write(late)
        assert orphans.kill_remaining() == [late]
        eventually(lambda late=late: not is_alive(late))


def of_session(session: int) -> set[int]:
    """Return the living processes of a session."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and is_alive(int(entry.name)):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session:
                    found.add(int(entry.name))
    return found


def test_a_stranger_that_came_later_is_spared(cgroup: Cgroup, orphan: int) -> None:
    """A process that systemd starts in the unit later, such as ExecReload, is not touched."""
    orphans = Orphans(cgroup.folder)
    cgroup.write(orphan)
    assert orphans.kill_remaining() == []
    assert is_alive(orphan)


def test_at_the_end_nothing_is_left(cgroup: Cgroup, orphan: int) -> None:
    """`kill_everything` kills all processes in the cgroup but this one."""
    orphans = Orphans(cgroup.folder)
    own = cgroup.start(SLEEP)
    cgroup.write(orphan, own.pid)
    assert sorted(orphans.kill_everything()) == sorted([orphan, own.pid])
    assert own.wait(10) == -signal.SIGKILL
    eventually(lambda: not is_alive(orphan))


def test_pids_that_are_gone_or_were_given_away_are_no_targets(cgroup: Cgroup) -> None:
    """A pid is killed only while it is the same process."""
    process = cgroup.start(SLEEP)
    cgroup.write(process.pid)
    orphans = Orphans(cgroup.folder)
    process.kill()
    process.wait()
    assert orphans.kill_remaining() == []


def test_outside_of_a_unit_nothing_is_ever_done(orphan: int) -> None:
    """In the foreground, in a terminal's scope, there is no cgroup of ours."""
    orphans = Orphans(None)
    assert orphans.pids == orphans.kill_remaining() == orphans.kill_everything() == []
    assert own_cgroup() is None or own_cgroup().name.endswith(".service")  # type: ignore[union-attr]


def test_a_cgroup_that_cannot_be_read_is_empty(tmp_path: Path) -> None:
    """Without cgroup.procs nothing is done, and nothing fails."""
    started = time.monotonic()
    assert Orphans(tmp_path).kill_everything() == []
    assert time.monotonic() - started < 1
