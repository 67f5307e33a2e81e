"""The measures, each on freshly started contenders; a sample is a dictionary of metrics."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import wrk
from benchmarks.contenders import (
    DEFAULTS,
    Contender,
    NotAvailable,
    Options,
    Places,
    Running,
    environment,
    start,
)
from benchmarks.fleet import PID_PATH, write_fleet
from benchmarks.polling import Disturbance, Poller, ask, disturbance

Value = float | str | None  # None: it did not happen
Metrics = dict[str, Value]

APPS = 3
_SETTLE_S = 6.0  # until work that follows a start is complete
_BEFORE_S = 0.5  # of polls before the event
_CALM_S = 1.0  # good answers for this long: the disturbance is over
_GIVE_UP_S = 8.0  # a port that has not come back by then counts as dead
_RELOAD_LIMIT_S = 15.0
_COMMAND_TIMEOUT_S = 30.0
_BROKEN_TIMEOUT_S = 5.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Times:
    """How long the longer measures take, in seconds."""

    idle_s: float = 12.0
    load_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table: a contender with options. It takes part in the first ``rounds``."""

    contender: Contender
    options: Options = DEFAULTS
    label: str = ""
    rounds: int = 1_000

    @property
    def name(self) -> str:
        """What the row is called."""
        return self.label or self.contender.name


Run = Callable[[Row, Places, Times], Metrics]


@contextlib.contextmanager
def served(
    row: Row, places: Places, *, count: int = APPS, modules: int = 0, broken: Sequence[int] = ()
) -> Iterator[Running]:
    """Start a contender on apps of its own; at the end nothing is left of either."""
    with TemporaryDirectory(prefix="bench-") as folder:
        fleet = write_fleet(Path(folder), count=count, modules=modules, broken=broken)
        running = start(row.contender, places, fleet, row.options)
        with running.tree:
            yield running


def cold_start(row: Row, places: Places, _times: Times) -> Metrics:
    """Seconds from the start of the command to an answer on every port."""
    with served(row, places) as running:
        return {"cold_start_s": running.wait()}


def memory(row: Row, places: Places, _times: Times) -> Metrics:
    """Proportional memory of all processes, each app having answered some requests."""
    with served(row, places) as running:
        running.wait()
        _use(running)
        tree = running.tree
        return {"pss_mib": tree.pss_mib(), "processes": float(len(tree.processes()))}


def idle(row: Row, places: Places, times: Times) -> Metrics:
    """Milliseconds of processor time per second, without requests."""
    with served(row, places) as running:
        running.wait()
        _use(running)
        tree = running.tree
        pids, before_s, since_s = set(tree.processes()), tree.cpu_s(), time.monotonic()
        time.sleep(times.idle_s)
        used_s = tree.cpu_s() - before_s
        ended = pids - set(tree.processes())
        if ended:
            raise RuntimeError(f"{len(ended)} processes exited during the idle time")
        return {"idle_ms_per_s": used_s * 1000 / (time.monotonic() - since_s)}


def _use(running: Running) -> None:
    for port, path in running.pages() * 5:
        ask(port, path)
    time.sleep(_SETTLE_S)


def kill_worker(row: Row, places: Places, _times: Times) -> Metrics:
    """``kill -9`` of the process that answers a port, under 200 polls a second."""
    with served(row, places) as running:
        running.wait()
        return _after_kill(running)


def crash_of_big_app(row: Row, places: Places, _times: Times) -> Metrics:
    """The same for an app of 100 modules: how soon it answers again."""
    with served(row, places, modules=100) as running:
        return {"start_s": running.wait(), **_after_kill(running)}


def _after_kill(running: Running) -> Metrics:
    port = running.fleet.apps[0].port
    pid = int(ask(port, PID_PATH)[2])
    with Poller(port, limit_s=_BEFORE_S + _GIVE_UP_S) as poller:
        time.sleep(_BEFORE_S)
        killed_s = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        deadline_s = killed_s + _GIVE_UP_S
        while time.monotonic() < deadline_s and not _is_calm(poller, killed_s, str(pid)):
            time.sleep(_POLL_S)
    return _metrics(disturbance(poller.polls()))


def _is_calm(poller: Poller, since_s: float, old_pid: str) -> bool:
    """Return whether another process answers, and every recent request was answered."""
    polls = poller.polls()
    if not any(poll.outcome == "ok" and poll.detail != old_pid for poll in polls):
        return False
    if time.monotonic() < since_s + 2 * _CALM_S:
        return False
    calm_since_s = time.monotonic() - _CALM_S
    return all(poll.outcome == "ok" for poll in polls if poll.due_s > calm_since_s)


def _metrics(noticed: Disturbance) -> Metrics:
    back = noticed.down_ms is not None
    return {
        "outage_ms": max(noticed.worst_ms, noticed.down_ms or 0) if back else None,
        "worst_ms": noticed.worst_ms if back else None,
        "refused": float(noticed.refused),
        "failed": float(noticed.failed),
        "down_ms": noticed.down_ms,
    }


def graceful_reload(row: Row, places: Places, _times: Times) -> Metrics:
    """A reload of one app, by the contender's own means, under 200 polls a second."""
    with served(row, places) as running:
        running.wait()
        app = running.fleet.apps[0]
        pid = ask(app.port, PID_PATH)[2].decode()
        with Poller(app.port, limit_s=_BEFORE_S + _RELOAD_LIMIT_S) as poller:
            time.sleep(_BEFORE_S)
            began_s = time.monotonic()
            _run(running, running.contender.reload(running, app))
            deadline_s = began_s + _RELOAD_LIMIT_S
            while not _is_calm(poller, began_s, pid):
                if time.monotonic() > deadline_s:
                    raise NotAvailable(f"not reloaded within {_RELOAD_LIMIT_S:g} s")
                time.sleep(_POLL_S)
        return _metrics(disturbance(poller.polls()))


def _run(running: Running, command: Sequence[str | Path]) -> None:
    if command:
        subprocess.run(
            [str(word) for word in command],
            cwd=running.fleet.folder,
            env=environment(running.contender, running.places),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=_COMMAND_TIMEOUT_S,
        )


def broken_app(row: Row, places: Places, _times: Times) -> Metrics:
    """What a client of an app that can't be imported gets, and whether the other apps serve."""
    with served(row, places, broken=[1]) as running:
        others = "others serve"
        try:
            running.wait(broken=[1], timeout_s=_BROKEN_TIMEOUT_S)
        except TimeoutError:
            others = "others don't serve"
        time.sleep(2 * _SETTLE_S)
        seen = _seen(running.fleet.apps[1].port)
        return {"a client sees": seen, "the other apps": others}


def _seen(port: int) -> str:
    try:
        status, _, body = ask(port, "/", timeout_s=_BROKEN_TIMEOUT_S)
    except ConnectionRefusedError:
        return "connection refused"
    except TimeoutError:
        return "timeout"
    except OSError as error:
        return f"no answer: {type(error).__name__}"
    text = body.decode("utf-8", "replace")
    reason = "with the reason" if "nowhere_to_be_found" in text else "without a reason"
    return f"{status} {reason}"


def throughput(row: Row, places: Places, times: Times) -> Metrics:
    """Requests a second and the 99th percentile of their time, by wrk on 16 connections."""
    with served(row, places, count=1) as running:
        running.wait()
        port = running.fleet.apps[0].port
        wrk.load(port, seconds=1)  # the first requests load what is loaded late
        result = wrk.load(port, seconds=times.load_s)
        return {"per_s": result.per_s, "p99_ms": result.p99_ms, "errors": float(result.errors)}


def fifty_apps(row: Row, places: Places, _times: Times) -> Metrics:
    """Fifty apps: seconds until all answer, and memory for each."""
    with served(row, places, count=50) as running:
        seconds = running.wait()
        time.sleep(_SETTLE_S)
        return {"start_s": seconds, "pss_mib_per_app": running.tree.pss_mib() / 50}
