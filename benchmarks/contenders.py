"""The contenders: how each is configured, started and reloaded.

Each is set up as its documentation recommends for one small app on each port: one process with
four threads for each app, and whatever restarts a dead process, if it has that.
"""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from benchmarks.fleet import App, Fleet
from benchmarks.polling import wait_until_all_answer
from benchmarks.tree import Command, Tree

THREADS = 4
START_TIMEOUT_S = 60.0


class NotAvailable(Exception):
    """A contender can't do what the measure needs; the text says why."""


@dataclass(frozen=True, slots=True)
class Options:
    """How each app is served; ``pin`` keeps workers on one core each, None is the default."""

    workers: int = 1
    pin: bool | None = None


DEFAULTS = Options()


@dataclass(frozen=True, slots=True)
class Places:
    """The interpreters: ``ours`` has our dependencies, ``peers`` the peers."""

    ours: Path
    peers: Path

    def peer(self, program: str) -> Path:
        """Return a program of the peers' environment; raises `NotAvailable` without it."""
        found = self.peers.parent / program
        if not found.exists():
            raise NotAvailable(f"{program} is not installed")
        return found


@dataclass(slots=True)
class Running:
    """A contender that runs, and what it serves."""

    contender: "Contender"
    places: Places
    fleet: Fleet
    tree: Tree

    def pages(self, *, broken: Sequence[int] = ()) -> list[tuple[int, str]]:
        """Return the (port, path) that have to answer, but for the ``broken`` apps."""
        apps = [app for number, app in enumerate(self.fleet.apps) if number not in broken]
        return [*((app.port, "/") for app in apps), *self.contender.more_pages(self.fleet)]

    def wait(self, *, broken: Sequence[int] = (), timeout_s: float = START_TIMEOUT_S) -> float:
        """Wait until all ports answer; return the seconds since the start.

        Raises TimeoutError with the ports that don't, and the commands that have ended.
        """
        try:
            answered_s = wait_until_all_answer(self.pages(broken=broken), timeout_s=timeout_s)
        except TimeoutError as error:
            ended = set(self.tree.pids) - set(self.tree.processes())
            raise TimeoutError(f"{error}; {len(ended)} of its commands have ended") from error
        return answered_s - self.tree.started_s


class Contender(Protocol):
    """One way of serving the apps."""

    name: str
    about: str  # what it is, for the table
    package: str  # the distribution whose version is reported
    variables: Mapping[str, str]  # variables that it needs

    def commands(self, places: Places, fleet: Fleet, options: Options) -> list[Command]:
        """Write its configuration into the fleet's folder, and return the commands to start.

        Raises `NotAvailable` for options it doesn't have.
        """

    def more_pages(self, fleet: Fleet) -> list[tuple[int, str]]:
        """Return the (port, path) that answer besides the apps."""

    def reload(self, running: Running, app: App) -> Sequence[str | Path]:
        """Reload one app, by a signal or a file, or return the command that does it.

        Raises `NotAvailable` if it can't reload.
        """


def start(
    contender: Contender,
    places: Places,
    fleet: Fleet,
    options: Options = DEFAULTS,
) -> Running:
    """Return a contender that is prepared; entering its ``tree`` starts it."""
    commands = contender.commands(places, fleet, options)
    log = fleet.folder / f"{contender.name}.log"
    tree = Tree(commands, log=log, environment=environment(contender, places))
    return Running(contender, places, fleet, tree)


def environment(contender: Contender, places: Places) -> dict[str, str]:
    """Return the environment of a contender and its commands: minimal, nearly equal for all."""
    path = f"{places.peers.parent}:{os.environ.get('PATH', os.defpath)}"
    return {
        "PATH": path,
        "LANG": "C.UTF-8",
        "HOME": os.environ.get("HOME", "/"),
        **contender.variables,
    }


class Plain:
    """What most contenders have in common."""

    variables: Mapping[str, str] = MappingProxyType({})

    def more_pages(self, _fleet: Fleet) -> list[tuple[int, str]]:
        return []

    def reload(self, _running: Running, _app: App) -> Sequence[str | Path]:
        raise NotAvailable("no reload")


def refuse_workers(options: Options) -> None:
    """Raise `NotAvailable` for more than one worker."""
    if options.workers > 1:
        raise NotAvailable("one process only")


def refuse_pin(options: Options) -> None:
    """Raise `NotAvailable` when workers are to be pinned."""
    if options.pin:
        raise NotAvailable("cannot pin")


_ALL_IN_ONE = """
import importlib, sys, threading
def serve(name, port, folder):
    app = importlib.import_module(name).app
    app.run(host="127.0.0.1", port=port, threaded=True, use_reloader=False)
threads = []
for word in sys.argv[1:]:
    name, port, folder = word.split(":", 2)
    sys.path.insert(0, folder)
    threads.append(threading.Thread(target=serve, args=(name, int(port), folder)))
    threads[-1].start()
for thread in threads:
    thread.join()
"""


class Threads(Plain):
    """A thread with Flask's own server for each app, in one process."""

    name = "threads"
    about = "threads + app.run"
    package = "flask"

    def commands(self, places: Places, fleet: Fleet, options: Options) -> list[Command]:
        refuse_workers(options)
        refuse_pin(options)
        words = [f"{app.name}:{app.port}:{app.folder}" for app in fleet.apps]
        return [Command([places.peers, "-c", _ALL_IN_ONE, *words], fleet.folder)]


class Waitress(Plain):
    """waitress as shipped, one process for each app, without anything that restarts it."""

    name = "waitress"
    about = "waitress, nothing supervising"
    package = "waitress"

    def commands(self, places: Places, fleet: Fleet, options: Options) -> list[Command]:
        refuse_workers(options)
        refuse_pin(options)
        return [Command(waitress_words(places, app), app.folder) for app in fleet.apps]


def waitress_words(places: Places, app: App) -> list[str | Path]:
    """Return the command line that serves one app by waitress."""
    serve = f"--listen=127.0.0.1:{app.port}"
    return [places.peer("waitress-serve"), serve, f"--threads={THREADS}", f"{app.name}:app"]


class Gunicorn(Plain):
    """gunicorn with threads, one master for each app."""

    name = "gunicorn"
    about = "gunicorn gthread"
    package = "gunicorn"

    def commands(self, places: Places, fleet: Fleet, options: Options) -> list[Command]:
        refuse_pin(options)
        words: list[str | Path] = [
            places.peer("gunicorn"),
            "--worker-class=gthread",
            f"--threads={THREADS}",
            f"--workers={options.workers}",
        ]
        return [
            Command([*words, f"--bind=127.0.0.1:{app.port}", f"{app.name}:app"], app.folder)
            for app in fleet.apps
        ]

    def reload(self, running: Running, app: App) -> Sequence[str | Path]:
        os.kill(running.tree.pids[running.fleet.apps.index(app)], signal.SIGHUP)
        return []


class Granian(Plain):
    """granian, one main process for each app, which restarts dead workers."""

    name = "granian"
    about = "granian"
    package = "granian"

    def commands(self, places: Places, fleet: Fleet, options: Options) -> list[Command]:
        refuse_pin(options)
        words: list[str | Path] = [
            places.peer("granian"),
            "--interface=wsgi",
            "--host=127.0.0.1",
            f"--workers={options.workers}",
            f"--blocking-threads={THREADS}",
            "--respawn-failed-workers",
            "--no-ws",
        ]
        return [
            Command([*words, f"--port={app.port}", f"{app.name}:app"], app.folder)
            for app in fleet.apps
        ]

    def reload(self, running: Running, app: App) -> Sequence[str | Path]:
        os.kill(running.tree.pids[running.fleet.apps.index(app)], signal.SIGHUP)
        return []


def touch(file: Path) -> None:
    """Set the modification time of a file to now, and later than before."""
    before = file.stat().st_mtime
    os.utime(file, times=(max(time.time(), before + 1.0),) * 2)
