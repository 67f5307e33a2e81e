"""What each kind of worker runs, as the configuration has it when the worker starts."""

import itertools
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from supervisor.client import SOCKET_VARIABLE
from supervisor.config.app_variables import app_variables
from supervisor.config.settings import Config
from supervisor.files.state_dir import StateDir
from supervisor.health.status_worker import run_status
from supervisor.process.channel import Message
from supervisor.releases.file_jobs import AppCodeFields
from supervisor.standin.entry import run_stand_in
from supervisor.supervision.known_good import KnownGood
from supervisor.supervision.managed_port import Sockets
from supervisor.supervision.runtime import Runtime
from supervisor.supervision.worker_spawner import WorkerMain
from supervisor.worker.entry import AppWorker
from supervisor.worker.hosted_apps import CodeLocation, HostedApp

DATA_VARIABLE = "FLASK_SUPERVISOR_DATA_DIR"
STATUS = "status"  # the name of the status process, and of its app


class Runs(Protocol):
    """A worker that is about to run."""

    def run(self, connection: socket.socket) -> int:
        """Run to the end; returns the exit code."""


class WorkerFactory:
    """Makes the functions that workers run; ``on_status_message`` gets what the status one sends.

    A worker takes the configuration that is in effect when it is forked. The status worker calls
    ``take_over`` right before it serves: from then on, its predecessor accepts no more.
    """

    def __init__(
        self,
        runtime: Runtime,
        state: StateDir,
        on_status_message: Callable[[Message], None],
        take_over: Callable[[], None],
    ) -> None:
        self._runtime = runtime
        self._state = state
        self.on_status_message = on_status_message
        self._take_over = take_over

    def app_main(self, process: str) -> WorkerMain:
        """Return what the workers of a process run."""
        return partial(self._run_apps, process)

    def _run_apps(
        self,
        process: str,
        connection: socket.socket,
        held: dict[str, Sockets],
        place: int,
        release: Path | None,
    ) -> int:
        config = self._runtime.config
        if not any(config.apps[name].control for name in config.processes()[process]):
            os.environ.pop(SOCKET_VARIABLE, None)
        os.umask(int(config.apps[config.processes()[process][0]].umask, 8))
        worker = worker_of(config, self._state, process, held, place, release)
        return worker.run(connection)

    def status_main(self) -> WorkerMain:
        """Return what the status worker runs."""
        return self._run_status

    def _run_status(
        self,
        connection: socket.socket,
        held: dict[str, Sockets],
        _place: int,
        _release: Path | None,
    ) -> int:
        timeout_s = self._runtime.config.supervisor.shutdown_timeout_s
        return run_status(
            connection,
            held[STATUS],
            shutdown_timeout_s=timeout_s,
            before_serving=self._take_over,
        )

    def stand_in(self, connection: socket.socket, held: dict[str, tuple[Sockets, bool]]) -> int:
        """Run the stand-in; see `standin_manager.StandInMain`."""
        timeout_s = self._runtime.config.supervisor.shutdown_timeout_s
        return run_stand_in(connection, held, shutdown_timeout_s=timeout_s)

    def known_good(self, process: str, known: Callable[[bool], None]) -> KnownGood:
        """Return what keeps the releases of a process: of an app alone, or of a whole group."""
        runtime = self._runtime

        def after_s() -> float:
            names = runtime.config.processes()[process]
            return max(runtime.config.apps[name].known_good_after_s for name in names)

        return KnownGood(
            runtime,
            process,
            code=lambda imported: code_of(runtime.config, self._state, process, imported),
            known_good_after_s=after_s,
            known=known,
            falls_back=runtime.config.apps[runtime.config.processes()[process][0]].command is None,
        )


def worker_of(
    config: Config,
    state: StateDir,
    process: str,
    held: dict[str, Sockets],
    place: int,
    release: Path | None,
) -> Runs:
    """Return the worker of a process, which inherits the listeners ``held``, by app.

    ``place`` is its place among the workers of its generation, from 0. ``release``: it runs the
    code of that release, in place of the live code.
    """
    names = config.processes()[process]
    code = CodeLocation(
        path=config.app_path(names[0]),
        release=release,
        include=tuple(config.apps[names[0]].include or ()),
        skip=(str(state.path),) if state.answers else (),
    )
    app = config.apps[names[0]]
    if app.command is not None:
        from supervisor.worker.command_worker import CommandWorker  # few need it

        return CommandWorker(
            app=hosted(config, state, names[0]),
            command=app.command,
            port=config.address(names[0])[1],
            health_path=app.health_path,
            code=code,
            shutdown_timeout_s=config.supervisor.shutdown_timeout_s,
            listeners=held.get(names[0], ()),
            place=place,
        )
    worker = AppWorker(
        apps=[hosted(config, state, name) for name in names],
        code=code,
        listeners=held,
        shutdown_timeout_s=config.supervisor.shutdown_timeout_s,
        core=_first_core(config, process) + place if app.is_pinned else None,
    )
    python = app.python
    if python is None:
        return worker
    from supervisor.worker.venv_worker import VenvWorker  # few need it

    return VenvWorker(python=config.resolve(python), worker=worker, name=f"fs-{process}")


def _first_core(config: Config, process: str) -> int:
    """Return the core of the first worker of a process: after those of the processes before it."""
    firsts = {one: config.apps[names[0]] for one, names in config.processes().items()}
    before = itertools.takewhile(lambda one: one != process, firsts)
    return sum(firsts[one].workers for one in before if firsts[one].is_pinned)


def code_of(config: Config, state: StateDir, process: str, imported: list[str]) -> AppCodeFields:
    """Return what belongs to a process: what the configuration says, else what it has imported."""
    names = config.processes()[process]
    path, apps = config.app_path(names[0]), [config.apps[name] for name in names]
    configured = [entry for app in apps for entry in app.include or ()]
    include = configured if all(app.include for app in apps) else [*configured, *imported]
    others = {
        entry
        for other, settings in config.apps.items()
        if other not in names and config.app_path(other) == path
        for entry in settings.include or [settings.entry.partition(":")[0].partition(".")[0]]
        if entry
    }
    return {
        "app": names[0],
        "owner": process,
        "path": path,
        "include": tuple(include),
        "state_dir": state.path,
        "others": tuple(sorted(others.difference(include))),
        "exclude": tuple(pattern for app in apps for pattern in app.exclude),
    }


def hosted(config: Config, state: StateDir, name: str) -> HostedApp:
    """Return what a worker needs to know of one app."""
    app = config.apps[name]
    environment = {DATA_VARIABLE: str(state.data_dir(name)), **app_variables(config, name)}
    if app.control:
        environment[SOCKET_VARIABLE] = str(state.control_socket)
    return HostedApp(
        name=name,
        target=app.entry,
        threads=app.threads,
        max_threads=app.max_threads,
        options=app.waitress,
        import_timeout_s=app.import_timeout_s,
        before_start=app.before_start,
        after_import=app.after_import,
        own_port=app.port if app.bind == "app" else None,
        access_log=app.access_log,
        environment=environment,
        secrets=frozenset(config.app_secrets(name)),
    )
