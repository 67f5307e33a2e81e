"""What is read of a process from /proc, on real processes."""

import os
import subprocess
import sys

from harness import eventually

from supervisor.process.descent import descendants
from supervisor.process.proc_stat import memory_mb, read_stat

# A name that looks like the fields behind it, and then some work.
BUSY = """
import ctypes, time
ctypes.CDLL(None).prctl(15, b"x) R 1 2 (")
block = bytearray(64 * 1024 * 1024)
end = time.process_time() + 0.3
while time.process_time() < end:
    pass
print("done", flush=True)
time.sleep(600)
"""


def test_a_process_with_an_odd_name() -> None:
    """Parent, session, processor time and memory are right whatever the process is called."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        found = read_stat(process.pid)
        assert found is not None
        assert (found.pid, found.parent, found.session) == (process.pid, os.getpid(), process.pid)
        assert 0.3 <= found.cpu_s < 30
        alone = memory_mb([process.pid])
        assert 64 <= alone < 200
        assert alone < memory_mb([process.pid, os.getpid()])
        assert process.pid in descendants(os.getpid())
    finally:
        process.kill()
        process.communicate()


def test_a_process_that_has_ended() -> None:
    """None, and no exception, for a pid that nobody has."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert read_stat(process.pid) is None
    assert memory_mb([process.pid]) == 0
    assert descendants(process.pid) == []


def test_start_times_distinguish_processes() -> None:
    """A process that starts a moment later has a later start time."""
    first = read_stat(os.getpid())
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        second = eventually(lambda: read_stat(process.pid))
        assert first is not None
        assert second.started > first.started
    finally:
        process.kill()
        process.wait()
