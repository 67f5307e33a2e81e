"""A worker process as the main process sees it: its messages, its output, its end."""

import os
import socket
from collections.abc import Callable
from typing import Any, Protocol

from supervisor.policy.process_state import UsageReported
from supervisor.process import heartbeat_page
from supervisor.process.channel import Channel, Message
from supervisor.process.fork import Child, kill_group
from supervisor.process.heartbeat_page import HeartbeatPage
from supervisor.supervision.output_lines import LineRate, OutputLines
from supervisor.systemd.fd_store import SocketStore
from supervisor.values.errors import ChannelClosed
from supervisor.values.events import EventKind
from supervisor.values.metrics import Metrics
from supervisor.values.records import dataclass
from supervisor.values.redaction import Redaction
from supervisor.values.reports import Cause, Exit, ImportReport

_PARTS_AT_EXIT = 16
_FLOOD_PAUSE_S = 0.005  # with the size of a part: a flood is read at 13 MB a second at most
_OUTPUT_PART = 64 * 1024  # read at once from a worker's output, so that others get their turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """An import in a throw-away child: why it failed, if it did, and the files as they were."""

    cause: Cause | None
    watch: list[Any] | None


class Host(Protocol):
    """What a service needs of the main loop; time is monotonic seconds.

    ``hide`` takes secrets out of a text that comes from an app.
    """

    hide: Redaction

    sockets: SocketStore

    def now(self) -> float:
        """Give the time."""

    def wall(self) -> str:
        """Give the wall time, for people: RFC 3339, UTC."""

    def tell(self, kind: EventKind, text: str, *, app: str | None, problem: bool = False) -> None:
        """Log and remember an event."""

    def changed(self) -> None:
        """Take note that something monitors can see has changed."""

    def fork(
        self, run: Callable[[socket.socket], int], name: str, keep: list[int], owner: "WorkerHandle"
    ) -> Child:
        """Fork a worker whose messages, output and exit go to ``owner``; raises OSError."""

    def when_writable(self, worker: "WorkerHandle") -> None:
        """Call the worker's `on_writable` as soon as its channel takes more."""

    def news(self) -> None:
        """Take note of something that monitors are told within a second."""

    def spawn(self, start: Callable[[], Callable[[], None]]) -> None:
        """Call ``start``, which forks a worker, and then what it gives; soon, or at once."""

    def pause_output(self, worker: "WorkerHandle", pause_s: float) -> None:
        """Read no output of the worker for a moment: it prints more than can be told."""

    def try_import(self, app: str, watch: list[Any] | None, tell: Callable[[Trial], None]) -> None:
        """Import an app in a throw-away child, without waiting, and call ``tell``.

        ``watch`` are the files to look at before.
        """

    def end_by(self, workers: "list[WorkerHandle]", limit_s: float) -> None:
        """Kill those of ``workers`` that have not ended in ``limit_s`` seconds."""

    def deaf_to(self, fd: int) -> None:
        """Stop listening to a descriptor of a worker, before it is closed."""

    def find_holders(self, port: int, tell: Callable[[Cause], None]) -> None:
        """Find out, without waiting, who holds ``port``, and call ``tell`` with it."""

    def print_output(self, app: str, pid: int, lines: list[str]) -> None:
        """Pass on what a worker printed."""


class WorkerHandle:
    """A running worker process of ``owner``, and the two ways to hear of it."""

    def __init__(
        self,
        host: Host,
        name: str,
        owner: "WorkerOwner",
        *,
        number: int = 0,
        generation: int = 0,
        place: int = 0,
    ) -> None:
        self._host = host
        self.name = name
        self._owner = owner
        self._lines = OutputLines(host.hide)
        self.number = number
        self.generation = generation
        self.place = place  # among the workers of its generation
        self.started_at = host.now()
        self.watch: list[Any] | None = None  # the files its import depends on
        self.stale = False  # they have changed since
        self.accepts = True  # as far as it is known: it says when it has paused
        self.failed: dict[str, tuple[ImportReport, list[Any]]] = {}  # the apps missing in it
        self.facts: Message = {}  # what it told of its code when it was ready
        self.told: tuple[dict[str, Metrics], float] | None = None  # by app, and the memory
        self.beat: UsageReported | None = None  # what it said last of its size and its requests
        self.reads_output = True
        self._printed_this_s = LineRate()
        self._page: HeartbeatPage | None = None
        self.child: Child | None = None
        self.channel: Channel | None = None

    def start(self, run: Callable[[socket.socket], int], keep: list[int]) -> int:
        """Fork it and give its pid; raises OSError."""
        self._page = page = HeartbeatPage()

        def main(connection: socket.socket) -> int:
            heartbeat_page.set_own_page(page)
            return run(connection)

        self.child = self._host.fork(main, f"fs-{self.name}", keep, self)
        self.channel = Channel(self.child.channel)
        return self.child.pid

    @property
    def alive_at(self) -> float:
        """When its server's loop is known to have turned: monotonic seconds, 0 before.

        One in another interpreter says so with its beats alone.
        """
        return self._page.worker.at if self._page else 0.0

    def show_life(self, now: float) -> None:
        """Let the worker see that this process is well."""
        if self._page is not None:
            self._page.main.write(now)

    def on_messages(self) -> None:
        """Hear what the worker says."""
        assert self.channel is not None
        assert self.child is not None
        try:
            messages = self.channel.receive()
        except ChannelClosed:
            self._close_channel()
            kill_group(self.child.pid)  # a worker nobody can talk to is of no use
            return
        for message in messages:
            self._owner.on_message(self, message)

    def on_writable(self) -> None:
        """Send what did not fit before."""
        assert self.channel is not None
        try:
            self.channel.flush()
        except ChannelClosed:
            self.on_messages()
            return
        if self.channel.unsent:
            self._host.when_writable(self)

    def on_output(self) -> None:
        """Pass on what the worker printed; at the end of file there is nothing to hear."""
        assert self.child is not None
        if not self._read_output():
            self._stop_output()
        elif self._printed_this_s.exceeded:
            self._host.pause_output(self, _FLOOD_PAUSE_S)

    def on_exit(self, exit_: Exit) -> None:
        """Hear and print the rest, then tell the owner how it ended."""
        assert self.child is not None
        assert self.channel is not None
        if self.channel.fileno() >= 0:
            for message in self.channel.receive_rest():
                self._owner.on_message(self, message)
        for _ in range(_PARTS_AT_EXIT):  # a process it left behind may print for ever
            if not self._read_output():
                break
        self._host.print_output(self.name, self.child.pid, self._last_lines())
        self._close_channel()
        self._stop_output()
        os.close(self.child.output)
        self._owner.on_exit(self, exit_)

    def send(self, message: Message) -> None:
        """Send ``message``; a worker that can't take it is as good as gone, and is killed."""
        assert self.channel is not None
        assert self.child is not None
        try:
            self.channel.send(message)
        except ChannelClosed:
            kill_group(self.child.pid)
            return
        if self.channel.unsent:
            self._host.when_writable(self)

    def drain(self, timeout_s: float, idle_s: float) -> None:
        """Let it finish its requests within ``timeout_s``, idle connections within ``idle_s``."""
        self.send({"type": "drain", "timeout_s": timeout_s, "idle_s": idle_s})

    def _read_output(self) -> bool:
        assert self.child is not None
        try:
            data = os.read(self.child.output, _OUTPUT_PART)
        except BlockingIOError:
            return False
        told = self._printed_this_s.take(data, self._host.now())
        self._host.print_output(self.name, self.child.pid, self._lines.feed(told))
        return bool(data)

    def _last_lines(self) -> list[str]:
        """Give what is still untold at the end: of a flood the last lines, which may say why."""
        last, left_out = self._printed_this_s.end()
        rest = self._lines.rest()
        return [*rest, *left_out, *self._lines.feed(last), *self._lines.rest()]

    def on_tick(self) -> None:
        """Say, every second, how many lines were left out."""
        assert self.child is not None
        lines = self._printed_this_s.left_out(self._host.now())
        self._host.print_output(self.name, self.child.pid, lines)

    def _stop_output(self) -> None:
        assert self.child is not None
        if self.reads_output:
            self.reads_output = False
            self._host.deaf_to(self.child.output)

    def _close_channel(self) -> None:
        assert self.channel is not None
        if self.channel.fileno() >= 0:
            self._host.deaf_to(self.channel.fileno())
            self.channel.close()


class WorkerOwner(Protocol):
    """Whoever decides what a worker's messages and its end mean."""

    def on_message(self, worker: WorkerHandle, message: Message) -> None:
        """Take one message of ``worker``."""

    def on_exit(self, worker: WorkerHandle, exit_: Exit) -> None:
        """Take note that ``worker`` has been reaped."""
