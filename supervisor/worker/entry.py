"""The life of a worker process: import its app, serve it, drain, end.

Runs in a forked child. Tells the main process ``importing``, then ``import_failed`` with the
report or ``ready``, then beats; is told ``drain``. When the main process is gone, so is the
worker, unless it may cover for the next one.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable

from supervisor.process.channel import Channel, Message
from supervisor.server.server import Server
from supervisor.systemd import hand_over
from supervisor.values.constants import HEARTBEAT_S
from supervisor.values.errors import ChannelClosed
from supervisor.values.records import dataclass
from supervisor.worker.heartbeat import Beats, pin, tell_when_orphaned
from supervisor.worker.hosted_apps import SEND_TIMEOUT_S, Code, Hosted, Hosting

IDLE_S = 0.3  # keep-alive clients get this long for one more request


@dataclass(frozen=True, slots=True, kw_only=True)
class AppWorker:
    """What a worker has to know; ``listeners`` are inherited, by app, and never closed by it."""

    apps: list[Hosted]
    code: Code
    listeners: dict[str, socket.socket]
    shutdown_timeout_s: float
    core: int | None = None

    def run(self, connection: socket.socket) -> int:
        """Be the worker; gives the exit code."""
        if self.core is not None:
            pin(self.core)
        channel = Channel(connection)
        hosting = Hosting(self.apps, self.code, self.listeners, channel)
        if not hosting.import_all():
            return 1
        if hosting.shared:  # whether it may serve depends on what could be imported
            hosting.server.pause()
        serve(
            hosting.server,
            channel,
            shutdown_timeout_s=self.shutdown_timeout_s,
            on_message=hosting.on_message,
            facts=hosting.facts(),
        )
        return 1 if hosting.gave_up else 0


def serve(
    server: Server,
    channel: Channel,
    *,
    shutdown_timeout_s: float,
    on_message: Callable[[Message], None] | None = None,
    facts: Message | None = None,
) -> None:
    """Report ``ready``, with ``facts``, and serve until told to drain: by message or signal.

    Any other message goes to ``on_message``, in the thread that runs the server's loop.
    """

    def end(_number: int, _frame: object) -> None:
        server.drain(timeout_s=shutdown_timeout_s, idle_s=IDLE_S)

    def hear() -> None:
        try:
            messages = channel.receive()
        except ChannelClosed:  # the main process is gone
            if heir is None:
                os._exit(1)  # nobody would ever end us
            server.forget(channel.fileno())
            heir.on_main_process_gone(
                lambda timeout_s, idle_s: server.drain(timeout_s=timeout_s, idle_s=idle_s)
            )
            return
        for message in messages:
            match message["type"]:
                case "drain":
                    server.drain(timeout_s=message["timeout_s"], idle_s=message["idle_s"])
                case "pause":
                    server.pause()  # in the loop's thread: nothing is accepted from here on
                    channel.send_if_read({"type": "paused"})
                case "resume":
                    server.resume()
                case _ if on_message is not None:
                    on_message(message)

    heir = hand_over.begin()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    server.watch(channel.fileno(), hear)
    channel.send_all({"type": "ready", **(facts or {})}, timeout_s=SEND_TIMEOUT_S)
    beats = Beats(server, channel, heir)
    if heir is not None:
        tell_when_orphaned(channel, heir)
    server.every(HEARTBEAT_S, beats.beat)
    cut_off = server.run()
    beats.beat(time.monotonic())  # once more, so that no request goes uncounted
    if cut_off:
        sys.stderr.write(f"{cut_off} requests in flight were cut off: they took too long to end\n")
