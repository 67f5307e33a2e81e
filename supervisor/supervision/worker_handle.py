"""A worker process as the main process sees it: its messages, its output, its end."""

import os
import socket
from collections.abc import Collection
from typing import Protocol, Self

from supervisor.policy.process_events import UsageReported
from supervisor.process import heartbeat_page
from supervisor.process.channel import Channel, Message
from supervisor.process.fork import Child, Run, kill_group
from supervisor.process.heartbeat_page import HeartbeatPage
from supervisor.process.output_lines import OutputLine, OutputLines
from supervisor.supervision.line_rate import LineRate
from supervisor.supervision.runtime import Runtime
from supervisor.values.errors import ChannelClosed
from supervisor.values.metrics import Metrics
from supervisor.values.reports import Exit

_PARTS_AT_EXIT = 16
_FLOOD_PAUSE_S = 0.005  # with the size of a part: a flood is read at 13 MB a second at most
_OUTPUT_PART = 64 * 1024  # read at once from a worker's output, so that others get their turn


class WorkerOwner(Protocol):
    """Decides what a worker's messages and its end mean."""

    def on_message(self, worker: "WorkerHandle", message: Message) -> None:
        """Handle one message of ``worker``."""

    def on_exit(self, worker: "WorkerHandle", exit_: Exit) -> None:
        """Handle the end of ``worker``, which has been reaped."""


class WorkerHandle:
    """A forked worker of ``owner``; owns its descriptors. `start` forks one."""

    def __init__(
        self,
        runtime: Runtime,
        name: str,
        owner: WorkerOwner,
        child: Child,
        page: HeartbeatPage | None = None,
        *,
        number: int = 0,
        generation: int = 0,
        place: int = 0,
    ) -> None:
        self._journal = runtime.journal
        self._pool = runtime.pool
        self._now = runtime.now
        self._owner = owner
        self._page = page
        self._lines = OutputLines(runtime.journal.hide)
        self._rate = LineRate()
        self.name = name
        self.child = child
        self.channel = Channel(child.channel)
        self.number = number
        self.generation = generation
        self.place = place  # among the workers of its generation
        self.started_at = runtime.now()
        self.reads_output = True
        self.holds: frozenset[str] = frozenset()  # the apps whose listeners it can replace
        self.binds = 0  # how often its port had been bound when it inherited the listeners
        self.facts: Message = {}  # what it reported of its code when it was ready
        self.metrics: tuple[dict[str, Metrics], float] | None = None  # by app, and its memory (MB)
        self.usage: UsageReported | None = None  # what it reported last

    @classmethod
    def start(
        cls,
        runtime: Runtime,
        name: str,
        owner: WorkerOwner,
        run: Run,
        keep: Collection[int],
        *,
        number: int = 0,
        generation: int = 0,
        place: int = 0,
    ) -> Self:
        """Fork a worker that runs ``run`` and keeps these descriptors; raises OSError."""
        page = HeartbeatPage()

        def main(connection: socket.socket) -> int:
            heartbeat_page.set_own_page(page)
            return run(connection)

        child = runtime.pool.fork(main, name, keep)
        worker = cls(
            runtime,
            name,
            owner,
            child,
            page,
            number=number,
            generation=generation,
            place=place,
        )
        runtime.pool.add(worker)
        return worker

    @property
    def pid(self) -> int:
        """Its pid, and the id of its process group."""
        return self.child.pid

    @property
    def alive_at(self) -> float:
        """The last turn of its server loop in the shared page: monotonic seconds, 0 before.

        One in another interpreter shares no page: its messages show that it lives.
        """
        return self._page.worker.at if self._page else 0.0

    def show_life(self, now: float) -> None:
        """Show the worker, in the shared page, that this process lives."""
        if self._page is not None:
            self._page.main.write(now)

    # ---- what comes from it

    def on_messages(self) -> None:
        """Read messages; a worker that closed its channel is killed: nothing can control it."""
        try:
            messages = self.channel.receive()
        except ChannelClosed:
            self._close_channel()
            self.kill()
            return
        for message in messages:
            self._owner.on_message(self, message)

    def on_output(self) -> None:
        """Log what the worker printed; stop at the end of file."""
        if not self._read_output():
            self._stop_output()
        elif self._rate.exceeded:
            self._pool.pause_output(self, _FLOOD_PAUSE_S)

    def on_tick(self) -> None:
        """Log, every second, how many lines were left out."""
        self._journal.print_output(self.name, self.pid, self._rate.left_out(self._now()))

    def on_exit(self, exit_: Exit) -> None:
        """Read and log the rest, then report the end to the owner."""
        if self.channel.fileno() >= 0:
            for message in self.channel.receive_rest():
                self._owner.on_message(self, message)
        for _ in range(_PARTS_AT_EXIT):  # a process it left behind may print for ever
            if not self._read_output():
                break
        self._journal.print_output(self.name, self.pid, self._last_lines())
        self._close_channel()
        self._stop_output()
        os.close(self.child.output)
        self._owner.on_exit(self, exit_)

    def _read_output(self) -> bool:
        try:
            data = os.read(self.child.output, _OUTPUT_PART)
        except BlockingIOError:
            return False
        passed = self._rate.take(data, self._now())
        self._journal.print_output(self.name, self.pid, self._lines.feed(passed))
        return bool(data)

    def _last_lines(self) -> list[OutputLine]:
        """Return what is not logged yet; of a flood the last lines, which may say why it ended."""
        last, left_out = self._rate.end()
        rest = self._lines.rest()
        return [*rest, *left_out, *self._lines.feed(last), *self._lines.rest()]

    # ---- what goes to it

    def send(self, message: Message) -> None:
        """Send ``message``; a worker that closed its channel is killed."""
        try:
            self.channel.send(message)
        except ChannelClosed:
            self.kill()
            return
        if self.channel.unsent:
            self._pool.when_writable(self)

    def send_sockets(self, name: str, sockets: tuple[socket.socket, ...]) -> bool:
        """Send an app's new listeners, in place of those that it holds; return whether it can."""
        message = {"type": "listener", "app": name, "sockets": len(sockets)}
        return name in self.holds and self.channel.send_sockets(message, sockets)

    def on_writable(self) -> None:
        """Send what did not fit before."""
        try:
            self.channel.flush()
        except ChannelClosed:
            self.on_messages()
            return
        if self.channel.unsent:
            self._pool.when_writable(self)

    def drain(self, timeout_s: float, idle_s: float, *, cut_streams: bool = False) -> None:
        """Let it finish its requests within ``timeout_s``, idle connections within ``idle_s``.

        ``cut_streams``: streams that don't end by themselves count as idle.
        """
        limits = {"timeout_s": timeout_s, "idle_s": idle_s, "cut_streams": cut_streams}
        self.send({"type": "drain", **limits})

    def kill(self) -> None:
        """Send SIGKILL to its process group."""
        kill_group(self.pid)

    def _stop_output(self) -> None:
        if self.reads_output:
            self.reads_output = False
            self._pool.ignore(self.child.output)

    def _close_channel(self) -> None:
        if self.channel.fileno() >= 0:
            self._pool.ignore(self.channel.fileno())
            self.channel.close()
