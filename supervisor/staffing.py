"""Turns the configuration of a process into the worker that it is."""

import itertools
import socket

from supervisor.client import SOCKET_VARIABLE
from supervisor.elsewhere import ForeignWorker
from supervisor.hosting import Hosted
from supervisor.settings import Config
from supervisor.statedir import StateDir
from supervisor.worker import AppWorker

DATA_VARIABLE = "FLASK_SUPERVISOR_DATA_DIR"


def worker_of(
    config: Config, state: StateDir, process: str, held: dict[str, socket.socket], place: int
) -> AppWorker | ForeignWorker:
    """Give the worker of a process, which inherits the listeners ``held``, by app.

    ``place`` is its place among the workers of its generation, from 0.
    """
    names = config.processes()[process]
    worker = AppWorker(
        apps=[hosted(config, state, name) for name in names],
        path=config.app_path(names[0]),
        listeners=held,
        shutdown_timeout_s=config.supervisor.shutdown_timeout_s,
        core=_first_core(config, process) + place if config.apps[names[0]].is_pinned else None,
    )
    python = config.apps[names[0]].python
    if python is None:
        return worker
    return ForeignWorker(python=config.resolve(python), worker=worker, name=f"fs-{process}")


def _first_core(config: Config, process: str) -> int:
    """Give the core of the first worker of a process: after those of the processes before it."""
    firsts = {one: config.apps[names[0]] for one, names in config.processes().items()}
    before = itertools.takewhile(lambda one: one != process, firsts)
    return sum(firsts[one].workers for one in before if firsts[one].is_pinned)


def hosted(config: Config, state: StateDir, name: str) -> Hosted:
    """Give what a worker has to know of one app."""
    app = config.apps[name]
    environment = {DATA_VARIABLE: str(state.data_dir(name)), **config.app_environment(name)}
    if app.control:
        environment[SOCKET_VARIABLE] = str(state.control_socket)
    return Hosted(
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
