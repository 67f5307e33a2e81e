"""The worker processes that run: forks them, listens to them, and reaps every child that ended."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Protocol

from supervisor.process.descent import TERM_S
from supervisor.process.fork import Child, Run, fork_child, kill_group
from supervisor.process.oom import KillCounter
from supervisor.supervision.changes import ChangeSignal
from supervisor.supervision.left_behind import LeftBehind
from supervisor.values.reports import Exit

Begun = Callable[[], None]


class PooledWorker(Protocol):
    """What the pool needs of a worker; see `worker_handle.WorkerHandle`."""

    name: str
    child: Child
    reads_output: bool

    def on_messages(self) -> None:
        """Read the channel, which has something to read."""

    def on_output(self) -> None:
        """Read the output, which has something to read."""

    def on_writable(self) -> None:
        """Send what is left: the channel takes more."""

    def on_tick(self) -> None:
        """Do what is due each second."""

    def on_exit(self, exit_: Exit) -> None:
        """Handle the end of the process, which has been reaped."""


class WorkerPool:
    """Forks workers and listens to them, on the running loop.

    ``prepare`` returns what a worker of a process of that name runs in place of its own function,
    ``kept`` are descriptors that every worker keeps. ``signal`` is notified of each worker's end.
    """

    def __init__(
        self, signal: ChangeSignal, *, prepare: Callable[[Run, str], Run], kept: Iterable[int]
    ) -> None:
        self._signal = signal
        self._prepare = prepare
        self._kept = list(kept)
        self._workers: dict[int, PooledWorker] = {}
        self._kills = KillCounter()
        self._left = LeftBehind()
        self._to_fork: list[Callable[[], Begun]] | None = None

    def count(self, name: str) -> int:
        """Return how many workers of the process ``name`` run."""
        return sum(worker.name == name for worker in self._workers.values())

    # ---- beginning

    def fork(self, run: Run, name: str, keep: Collection[int]) -> Child:
        """Fork a worker of the process ``name``, which keeps these descriptors; raises OSError."""
        main = self._prepare(run, name)
        return fork_child(main, name=f"fs-{name}", keep=[*keep, *self._kept])

    def add(self, worker: PooledWorker) -> None:
        """Listen to a worker that has been forked."""
        loop = asyncio.get_running_loop()
        self._workers[worker.child.pid] = worker
        loop.add_reader(worker.child.channel, worker.on_messages)
        loop.add_reader(worker.child.output, worker.on_output)

    def begin(self, start: Callable[[], Begun]) -> None:
        """Call ``start``, which forks a worker, and then what it returns; see `together`."""
        if self._to_fork is None:
            start()()
        else:
            self._to_fork.append(start)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Fork what `begin` gets in the block at its end, one directly after the other.

        What this process writes between two forks, each child keeps a copy of to itself.
        """
        to_fork: list[Callable[[], Begun]] = []
        self._to_fork = to_fork
        try:
            yield
        finally:
            self._to_fork = None
            for begun in [start() for start in to_fork]:
                begun()

    # ---- listening

    def when_writable(self, worker: PooledWorker) -> None:
        """Call the worker's `on_writable` once, when its channel takes more."""
        loop, channel = asyncio.get_running_loop(), worker.child.channel

        def writable() -> None:
            loop.remove_writer(channel)
            worker.on_writable()

        loop.add_writer(channel, writable)

    def pause_output(self, worker: PooledWorker, pause_s: float) -> None:
        """Read no output of the worker for a moment: it prints more than can be logged."""
        loop, output = asyncio.get_running_loop(), worker.child.output
        loop.remove_reader(output)

        def resume() -> None:
            if worker.reads_output:
                loop.add_reader(output, worker.on_output)

        loop.call_later(pause_s, resume)

    def ignore(self, fd: int) -> None:
        """Stop listening to a descriptor of a worker, before it is closed."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(fd)
        loop.remove_writer(fd)

    def tick(self) -> None:
        """Let every worker do what is due each second."""
        for worker in self._workers.values():
            worker.on_tick()
        self.reap()
        self._left.look()

    # ---- the end

    def reap(self) -> None:
        """Reap every child that ended, and end what it leaves: first the rest of its group."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            worker = self._workers.pop(ended.si_pid, None)
            if worker is not None:
                kill_group(ended.si_pid)  # while the pid is still its own
            _, status = os.waitpid(ended.si_pid, 0)
            was_ending = self._left.is_ending
            if self._left.on_exit(ended.si_pid):
                asyncio.get_running_loop().call_later(TERM_S, self._left.kill)
            if worker is not None:
                worker.on_exit(self._exit(os.waitstatus_to_exitcode(status)))
            if worker is not None or was_ending:
                self._signal.notify()

    def _exit(self, code: int) -> Exit:
        killed = code == -signal.SIGKILL
        return Exit.from_exitcode(code, out_of_memory=self._kills.claim() if killed else None)

    def kill_later(self, workers: Collection[PooledWorker], after_s: float) -> None:
        """Kill those of ``workers`` that have not ended in ``after_s`` seconds."""

        def kill() -> None:
            for pid, worker in self._workers.items():
                if worker in workers:
                    kill_group(pid)

        asyncio.get_running_loop().call_later(after_s, kill)

    def kill_all(self, spared: Collection[str] = ()) -> None:
        """Kill every worker but those of ``spared`` processes."""
        for pid in self._pids_but(spared):
            kill_group(pid)
        if not spared:
            self._left.kill_all()

    async def wait_for_end(self, timeout_s: float, spared: Collection[str] = ()) -> bool:
        """Return whether all workers but those of ``spared`` processes end in ``timeout_s``."""
        ended = await self._signal.wait_for(
            lambda: not (self._pids_but(spared) or self._left.is_ending), timeout_s=timeout_s
        )
        return ended is not None

    def _pids_but(self, spared: Collection[str]) -> list[int]:
        return [pid for pid, worker in self._workers.items() if worker.name not in spared]
