"""What each kind of worker is, as the configuration has it when the worker starts."""

import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from supervisor.client import SOCKET_VARIABLE
from supervisor.config.settings import Config
from supervisor.files.state_dir import StateDir
from supervisor.health.status_worker import run_status
from supervisor.process.channel import Message
from supervisor.standin.entry import run_stand_in
from supervisor.supervision.app_process import WorkerMain
from supervisor.supervision.known_good import Files, KnownGood
from supervisor.supervision.process_set import STATUS
from supervisor.supervision.worker_factory import code_of, worker_of


class Owner(Files, Protocol):
    """What is needed of the main process."""

    config: Config

    def on_files(self, message: Message) -> None:
        """Take what the status worker says of files."""

    def on_checks(self, checks: dict[str, Any]) -> None:
        """Take what the status worker's checks say now."""


class WorkerMains:
    """Gives the functions that workers are; see `process_set.Mains`."""

    def __init__(self, owner: Owner, state: StateDir) -> None:
        self._owner = owner
        self._state = state

    def on_files(self, message: Message) -> None:
        """Pass on what the status worker says of files, and of checks."""
        if message["type"] == "checks":
            self._owner.on_checks(message["checks"])
        else:
            self._owner.on_files(message)

    def app_main(self, process: str) -> WorkerMain:
        """Give the worker of a process; it takes the configuration as it is when it starts."""
        return partial(self._run_app, process)

    def _run_app(
        self,
        process: str,
        connection: socket.socket,
        held: dict[str, socket.socket],
        place: int,
        release: Path | None,
    ) -> int:
        if not any(
            self._owner.config.apps[name].control
            for name in self._owner.config.processes()[process]
        ):
            os.environ.pop(SOCKET_VARIABLE, None)
        worker = worker_of(self._owner.config, self._state, process, held, place, release)
        return worker.run(connection)

    def keeper(self, app: str, tell_known_good: Callable[[bool], None]) -> KnownGood:
        """Make the keeper of an app that has a process of its own."""
        return KnownGood(
            self._owner,
            app,
            code=lambda imported: code_of(self._owner.config, self._state, app, imported),
            known_good_after_s=lambda: self._owner.config.apps[app].known_good_after_s,
            tell_known_good=tell_known_good,
        )

    def status_main(self) -> WorkerMain:
        """Give the status worker."""
        return self._run_status

    def _run_status(
        self,
        connection: socket.socket,
        held: dict[str, socket.socket],
        _place: int,
        _release: Path | None,
    ) -> int:
        timeout_s = self._owner.config.supervisor.shutdown_timeout_s
        return run_status(connection, held[STATUS], shutdown_timeout_s=timeout_s)

    def stand_in(
        self, connection: socket.socket, held: dict[str, tuple[socket.socket, bool]]
    ) -> int:
        """Be the stand-in."""
        timeout_s = self._owner.config.supervisor.shutdown_timeout_s
        return run_stand_in(connection, held, shutdown_timeout_s=timeout_s)
