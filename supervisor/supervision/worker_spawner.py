"""Forks the workers of a process."""

import itertools
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from supervisor.policy.process_events import Spawn, Spawned, SpawnFailed
from supervisor.supervision.process_core import ProcessCore
from supervisor.supervision.worker_handle import WorkerHandle, WorkerOwner
from supervisor.supervision.worker_pool import Begun
from supervisor.values.events import EventKind
from supervisor.values.reports import Cause

Held = dict[str, tuple[socket.socket, ...]]  # the listeners of a worker, by app

WorkerMain = Callable[[socket.socket, Held, int, Path | None], int]
"""What a worker runs: takes its channel, the listeners by app (see `ManagedPort.listeners_at`), its
place among the workers of its generation (from 0; on a port that is steered, that of its listener),
and the release that it runs (None: the live code); returns the exit code."""


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
        place = self._free_place(action.generation)
        beside = place != core.steered_to  # the worker that serves has the other listener
        release = core.known_good.release_for(action.source)
        held = {
            name: port.listeners_at(place, beside=beside)
            for name, port in core.ports.items()
            if port.listener is not None
        }
        try:
            worker = WorkerHandle.start(
                core.runtime,
                core.name,
                self._owner,
                lambda channel: self._worker_main(channel, held, place, release),
                [one.fileno() for listeners in held.values() for one in listeners],
                number=action.number,
                generation=action.generation,
                place=place,
            )
        except OSError as error:
            return partial(self._failed, action.number, error)
        core.workers[action.number] = worker
        if not beside:
            core.steer(worker)  # nobody else takes the connections that come until it is ready
        return lambda: core.step(Spawned(action.number, worker.pid))

    def _failed(self, number: int, error: OSError) -> None:
        cause = Cause(
            reason=f"no worker could be started: {error.strerror}",
            hint="the machine is out of memory, processes or open files",
        )
        self._core.messages.record(EventKind.EXITED, cause.reason, problem=True)
        self._core.step(SpawnFailed(number, cause))

    def _free_place(self, generation: int) -> int:
        """Return the lowest place that no worker has, in a generation or on a port."""
        workers, ports = self._core.workers.values(), self._core.ports.values()
        if any(port.second is not None for port in ports):
            taken = {worker.place for worker in workers}
            places = (self._core.steered_to, 1 - self._core.steered_to)
            return next((place for place in places if place not in taken), places[0])
        taken = {worker.place for worker in workers if worker.generation == generation}
        return next(place for place in itertools.count() if place not in taken)
