"""Turns the configuration of a process into the worker that it is."""

import itertools
import socket
from pathlib import Path
from typing import Protocol

from supervisor.client import SOCKET_VARIABLE
from supervisor.config.settings import Config
from supervisor.files.state_dir import StateDir
from supervisor.releases import file_jobs
from supervisor.worker.entry import AppWorker
from supervisor.worker.hosted_apps import CodeLocation, HostedApp


class Runs(Protocol):
    """A worker."""

    def run(self, connection: socket.socket) -> int:
        """Be the worker; gives the exit code."""


DATA_VARIABLE = "FLASK_SUPERVISOR_DATA_DIR"


def worker_of(
    config: Config,
    state: StateDir,
    process: str,
    held: dict[str, socket.socket],
    place: int,
    release: Path | None,
) -> Runs:
    """Give the worker of a process, which inherits the listeners ``held``, by app.

    ``place`` is its place among the workers of its generation, from 0. ``release``: it runs the
    code of that release, in place of the live code.
    """
    names = config.processes()[process]
    worker = AppWorker(
        apps=[hosted(config, state, name) for name in names],
        code=CodeLocation(
            path=config.app_path(names[0]),
            release=release,
            include=tuple(config.apps[names[0]].include or ()),
            skip=(str(state.path),),
        ),
        listeners=held,
        shutdown_timeout_s=config.supervisor.shutdown_timeout_s,
        core=_first_core(config, process) + place if config.apps[names[0]].is_pinned else None,
    )
    python = config.apps[names[0]].python
    if python is None:
        return worker
    from supervisor.worker.venv_worker import VenvWorker  # few need it

    return VenvWorker(python=config.resolve(python), worker=worker, name=f"fs-{process}")


def _first_core(config: Config, process: str) -> int:
    """Give the core of the first worker of a process: after those of the processes before it."""
    firsts = {one: config.apps[names[0]] for one, names in config.processes().items()}
    before = itertools.takewhile(lambda one: one != process, firsts)
    return sum(firsts[one].workers for one in before if firsts[one].is_pinned)


def code_of(
    config: Config, state: StateDir, name: str, imported: list[str]
) -> file_jobs.AppCodeFields:
    """Give what belongs to an app: what the configuration says, else what it has imported."""
    app, path = config.apps[name], config.app_path(name)
    include = app.include or imported
    others = {
        entry
        for other, settings in config.apps.items()
        if other != name and config.app_path(other) == path
        for entry in settings.include or [settings.target.partition(":")[0].partition(".")[0]]
    }
    return {
        "app": name,
        "path": path,
        "include": tuple(include),
        "state_dir": state.path,
        "others": tuple(sorted(others.difference(include))),
    }


def hosted(config: Config, state: StateDir, name: str) -> HostedApp:
    """Give what a worker has to know of one app."""
    app = config.apps[name]
    environment = {DATA_VARIABLE: str(state.data_dir(name)), **config.app_environment(name)}
    if app.control:
        environment[SOCKET_VARIABLE] = str(state.control_socket)
    return HostedApp(
        name=name,
        target=app.target,
        threads=app.threads,
        max_threads=app.max_threads,
        options=app.waitress,
        import_timeout_s=app.import_timeout_s,
        before_start=app.before_start,
        after_import=app.after_import,
        own_port=app.port if app.bind == "app" else None,
        environment=environment,
        secrets=frozenset(config.app_secrets(name)),
    )
