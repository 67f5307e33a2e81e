"""Whether a SIGKILL was for lack of memory: recorded counters of kernels."""

from pathlib import Path

import pytest

from supervisor.process.oom import KillCounter
from supervisor.values.reports import Exit

# /sys/fs/cgroup/.../memory.events of a service under systemd 252, Linux 6.1
EVENTS = "low 0\nhigh 0\nmax 27\noom 3\noom_kill {count}\noom_group_kill 0\n"
# some lines of /proc/vmstat of a Raspberry Pi, Linux 6.6
VMSTAT = "nr_free_pages 210533\npgfault 4211342\noom_kill {count}\nnuma_hit 812\n"
IN_A_SERVICE = "0::/system.slice/flask-supervisor.service\n"
VERSION_1 = "11:memory:/user.slice\n1:name=systemd:/user.slice/session-1.scope\n"


class Machine:
    """Recorded kernel files in a folder, as `KillCounter` reads them."""

    def __init__(self, folder: Path, *, own: str | None) -> None:
        self.proc, self.cgroups = folder / "proc", folder / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        self.service = self.cgroups / "system.slice/flask-supervisor.service"
        self.service.mkdir(parents=True)
        if own is not None:
            (self.proc / "self/cgroup").write_text(own)

    def events(self, count: int) -> None:
        """Write the counter of the service's control group."""
        (self.service / "memory.events").write_text(EVENTS.format(count=count))

    def vmstat(self, count: int) -> None:
        """Write the counter of the machine."""
        (self.proc / "vmstat").write_text(VMSTAT.format(count=count))

    def counter(self) -> KillCounter:
        """Start counting."""
        return KillCounter(self.proc, self.cgroups)


def test_a_kill_of_the_service_is_claimed_once(tmp_path: Path) -> None:
    """Earlier kills, and the counter of the machine, explain no SIGKILL of a worker."""
    machine = Machine(tmp_path, own=IN_A_SERVICE)
    machine.vmstat(1)
    machine.events(4)
    counter = machine.counter()
    machine.vmstat(9)
    assert counter.claim() is False
    machine.events(5)
    assert [counter.claim(), counter.claim()] == [True, False]


def test_two_kills_at_once_are_two(tmp_path: Path) -> None:
    """Two kills that happened before the first worker was reaped explain two SIGKILLs."""
    machine = Machine(tmp_path, own=IN_A_SERVICE)
    machine.events(0)
    counter = machine.counter()
    machine.events(2)
    assert [counter.claim(), counter.claim(), counter.claim()] == [True, True, False]


@pytest.mark.parametrize("own", [None, VERSION_1, "0::/system.slice/other.service\n", ""])
def test_without_a_controller_the_machine_counts(tmp_path: Path, own: str | None) -> None:
    """Where the memory controller is off, as on Raspberry Pi OS, the machine's counter is read."""
    machine = Machine(tmp_path, own=own)
    machine.vmstat(7)
    counter = machine.counter()
    assert counter.claim() is False
    machine.vmstat(8)
    assert counter.claim() is True


def test_where_nothing_counts_it_is_unknown(tmp_path: Path) -> None:
    """Old kernels have no counter, and some containers hide it: then the answer is None."""
    machine = Machine(tmp_path, own=None)
    assert machine.counter().claim() is None
    (machine.proc / "vmstat").write_text("nr_free_pages 1\n")
    assert machine.counter().claim() is None


def test_a_counter_that_disappears_or_restarts(tmp_path: Path) -> None:
    """A control group that is created again counts from 0, which is no kill."""
    machine = Machine(tmp_path, own=IN_A_SERVICE)
    machine.events(5)
    counter = machine.counter()
    (machine.service / "memory.events").unlink()
    assert counter.claim() is None
    machine.events(0)
    assert counter.claim() is False
    machine.events(1)
    assert counter.claim() is True


def test_this_machine_counts() -> None:
    """The real files of this machine can be read."""
    assert KillCounter().claim() is False


@pytest.mark.parametrize(
    ("code", "out_of_memory", "text"),
    [
        (0, None, "ended by itself (exit code 0)"),
        (3, None, "exit code 3"),
        (-11, None, "killed by SIGSEGV"),
        (-40, None, "killed by signal 40"),
        (-9, True, "killed by SIGKILL (the machine or the service ran out of memory)"),
        (-9, False, "killed by SIGKILL (by a person or a program, not for lack of memory)"),
        (-9, None, "killed by SIGKILL (by a person, or perhaps out of memory)"),
    ],
)
def test_how_an_exit_is_described(code: int, out_of_memory: bool | None, text: str) -> None:
    """The log and the health page name the exit code or signal, and lack of memory."""
    assert str(Exit.from_exitcode(code, out_of_memory=out_of_memory)) == text
