"""Loads ours for minutes, and checks that memory and descriptors of no process grow.

One of the apps forks, starts programs, exits in a view, logs, and streams to viewers that vanish.
"""

import socket
import struct
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks import processes, wrk
from benchmarks.contenders import Places, Running, start
from benchmarks.fleet import TROUBLES, write_fleet
from benchmarks.managers import Ours
from benchmarks.polling import ask

GROWTH_MAX_MIB = 1.0
_WARM_SHARE = 0.2  # of the samples: until caches are filled
_WARM_MAX = 8  # rounds before the first sample, while memory still grows
_STEADY_MIB = 0.1  # in a round; a process that grows more is not warm yet
_SLICE_S = 5.0
_QUIET_S = 0.5  # before a sample: connections end, buffers are given back
_POLLS = 20  # of the status port, in each slice
_TROUBLED = 3  # requests for each trouble, in each slice
_TROUBLED_BEFORE = 10  # clients, and requests of each for each trouble, before the first sample
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one moment."""

    pid: int
    name: str
    pss_mib: float
    fds: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome for one process; first and last are medians of a third of the samples."""

    pid: int
    name: str
    first_mib: float
    last_mib: float
    fds_low: int
    fds_high: int

    @property
    def grew_mib(self) -> float:
        """How much it grew."""
        return self.last_mib - self.first_mib

    @property
    def is_flat(self) -> bool:
        """Whether memory grew less than `GROWTH_MAX_MIB`, and descriptors stayed."""
        return self.grew_mib <= GROWTH_MAX_MIB and self.fds_high - self.fds_low <= 0


def verdicts(rounds: Sequence[Sequence[Sample]]) -> list[Verdict]:
    """Return the verdict on every process that lived from the first round to the last.

    The first fifth of the rounds is left out. Raises ValueError for fewer than six rounds.
    """
    steady = rounds[int(len(rounds) * _WARM_SHARE) :]
    if len(rounds) < 6:
        raise ValueError("too few rounds to say anything")
    third = max(1, len(steady) // 3)
    found = []
    for first in steady[0]:
        mine = [s for samples in steady for s in samples if s.pid == first.pid]
        if len(mine) == len(steady):
            memory, fds = [s.pss_mib for s in mine], [s.fds for s in mine]
            found.append(
                Verdict(
                    first.pid,
                    first.name,
                    median(memory[:third]),
                    median(memory[-third:]),
                    min(fds),
                    max(fds),
                )
            )
    return found


def run(places: Places, *, limit_s: float, requests: int) -> int:
    """Run the soak; return the exit code, 1 if a process grew or was replaced."""
    with TemporaryDirectory(prefix="bench-") as folder:
        fleet = write_fleet(Path(folder), count=4, troubled=[3])
        running = start(Ours(), places, fleet)
        with running.tree:
            running.wait()
            pids = running.tree.processes()
            served, seconds, rounds = _load(running, limit_s, requests)
            replaced = set(pids) - set(running.tree.processes())
    print(f"{served} requests in {seconds:.0f} s, {len(rounds)} samples of every process\n")
    print("| process | PSS MiB, first | last | descriptors | |\n|---|---|---|---|---|")
    judged = verdicts(rounds)
    for one in judged:
        fds = str(one.fds_low) if one.fds_low == one.fds_high else f"{one.fds_low}-{one.fds_high}"
        word = "flat" if one.is_flat else "grew"
        print(f"| {one.name} | {one.first_mib:.2f} | {one.last_mib:.2f} | {fds} | {word} |")
    if replaced:
        print(f"\nprocesses ended in between: {sorted(replaced)}")
    return 0 if not replaced and all(one.is_flat for one in judged) else 1


def _load(running: Running, limit_s: float, requests: int) -> tuple[int, float, list[list[Sample]]]:
    slice_s = min(_SLICE_S, limit_s / 20)
    _warm(running, slice_s)
    began_s, served, rounds = time.monotonic(), 0, [_look(running)]
    while time.monotonic() - began_s < limit_s and served < requests:
        served += _round(running, slice_s)
        rounds.append(_look(running))
        print(f"{served} requests, {running.tree.pss_mib():.1f} MiB", file=sys.stderr, flush=True)
    return served, time.monotonic() - began_s, rounds


def _warm(running: Running, slice_s: float) -> None:
    """Make requests until no process grows, but what leaks is measured after `_WARM_MAX` rounds."""
    with ThreadPoolExecutor(_TROUBLED_BEFORE) as pool:  # every thread of the app gets its share
        port = running.fleet.apps[-1].port
        list(pool.map(lambda path: _trouble(port, path), TROUBLES * _TROUBLED_BEFORE**2))
    before = _look(running)
    for _ in range(_WARM_MAX):
        _round(running, slice_s)
        memory = {one.pid: one.pss_mib for one in before}
        before = _look(running)
        if all(one.pss_mib - memory.get(one.pid, 0.0) < _STEADY_MIB for one in before):
            return


def _round(running: Running, slice_s: float) -> int:
    """Make the requests of one round, and return how many the apps have answered."""
    ports, served = [app.port for app in running.fleet.apps], 0
    for port in ports:
        result = wrk.load(port, seconds=slice_s)
        if result.errors:
            raise RuntimeError(f"requests failed on port {port}: {result}")
        served += result.requests
    for path in TROUBLES * _TROUBLED:
        _trouble(ports[-1], path)
    for status_port, path in running.contender.more_pages(running.fleet) * _POLLS:
        ask(status_port, path)
    time.sleep(_QUIET_S)
    return served


def _trouble(port: int, path: str) -> None:
    """Make one request; of what doesn't end, read a little and reset the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n".encode())
        status = client.recv(65536).split(b" ", 2)[1]
        if status != (b"500" if path == "/exit" else b"200"):
            raise RuntimeError(f"{path} of the app on port {port} answered {status.decode()}")


def _look(running: Running) -> list[Sample]:
    return [
        Sample(pid, processes.name_of(pid), processes.pss_mib([pid]), processes.fd_count(pid))
        for pid in running.tree.processes()
    ]
