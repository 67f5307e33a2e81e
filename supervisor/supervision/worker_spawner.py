"""Forks the workers of a process."""

import itertools
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from supervisor.policy import capacity
from supervisor.policy.process_events import Spawn, Spawned, SpawnFailed
from supervisor.process.limits import free_files
from supervisor.supervision.managed_port import Sockets
from supervisor.supervision.process_core import ProcessCore
from supervisor.supervision.worker_handle import WorkerHandle, WorkerOwner
from supervisor.supervision.worker_pool import Begun
from supervisor.values.events import EventKind
from supervisor.values.reports import Cause

WorkerMain = Callable[[socket.socket, dict[str, Sockets], int, Path | None], int]
"""What a worker runs: takes its channel, the listeners by app, its place among the workers of its
generation (from 0; on a port that is steered, that of its listener), and the release that it runs
(None: the live code); returns the exit code."""


class WorkerSpawner:
    """Forks workers that run ``worker_main``; their messages go to ``owner``."""

    def __init__(self, core: ProcessCore, owner: WorkerOwner, worker_main: WorkerMain) -> None:
        self._core = core
        self._owner = owner
        self._worker_main = worker_main

    def spawn(self, action: Spawn) -> None:
        """Fork a worker, now or together with others; the outcome is an event."""
        self._core.runtime.pool.begin(partial(self._fork, action))

    def _fork(self, action: Spawn) -> Begun:
        """Fork a worker; returns what is to be done then."""
        core = self._core
        if core.state.worker(action.number) is None:
            return lambda: None  # given up by now: the one before it could not be forked
        shortage = self._shortage()
        if shortage is not None:
            return partial(self._failed, action.number, shortage)
        place = self._free_place(action.generation)
        release = core.known_good.release_for(action.source)
        held = {name: port.sockets_at(place) for name, port in core.ports.items() if port.sockets}
        try:
            worker = WorkerHandle.start(
                core.runtime,
                core.name,
                self._owner,
                lambda channel: self._worker_main(channel, held, place, release),
                [one.fileno() for sockets in held.values() for one in sockets],
                number=action.number,
                generation=action.generation,
                place=place,
            )
        except OSError as error:
            cause = Cause(
                reason=f"no worker could be started: {error.strerror}",
                hint="the machine is out of memory, processes or open files",
            )
            return partial(self._failed, action.number, cause)
        worker.binds = max((port.binds for port in core.ports.values()), default=0)
        worker.holds = frozenset(name for name in held if not core.ports[name].program)
        core.workers[action.number] = worker
        return lambda: core.step(Spawned(action.number, worker.pid))

    def _shortage(self) -> Cause | None:
        """Return why a worker of an app would take what the stand-in needs, or None."""
        runtime = self._core.runtime
        apps = [runtime.config.apps.get(name) for name in self._core.apps]
        settings = [app for app in apps if app is not None]
        if not settings:
            return None  # status comes first
        in_use = sum(
            capacity.worker_tasks([runtime.config.apps[name] for name in names])
            for process, names in runtime.config.processes().items()
            for _ in range(runtime.pool.count(process))
        )
        return capacity.files_shortage(free_files()) or capacity.tasks_shortage(
            runtime.tasks, in_use, capacity.worker_tasks(settings)
        )

    def _failed(self, number: int, cause: Cause) -> None:
        self._core.messages.record(EventKind.EXITED, cause.reason, problem=True)
        self._core.step(SpawnFailed(number, cause))

    def _free_place(self, generation: int) -> int:
        """Return the lowest place in a generation that no worker has.

        On a port that is steered, that of its listener that no worker has: the one that gets new
        connections, if that is free.
        """
        workers = self._core.workers.values()
        for port in self._core.ports.values():
            if port.steered:
                held = [worker.place for worker in workers if worker.binds == port.binds]
                is_taken = port.steered_to in held
                return 1 - port.steered_to if is_taken else port.steered_to
        taken = {worker.place for worker in workers if worker.generation == generation}
        return next(place for place in itertools.count() if place not in taken)
