"""The life of a worker process: import its apps, serve them, drain, end.

Runs in a forked child. It sends ``importing``, then ``import_failed`` with the report or ``ready``,
then heartbeats; it receives ``drain``, ``pause`` and ``resume``. When the main process has ended,
the worker ends too, unless it may serve on until the next main process is there.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable

from supervisor.process.channel import SEND_TIMEOUT_S, Channel, Message
from supervisor.process.prctl import set_name
from supervisor.server.server import Server
from supervisor.systemd import hand_over
from supervisor.values.constants import HEARTBEAT_S
from supervisor.values.errors import ChannelClosed
from supervisor.values.levels import marked
from supervisor.values.records import dataclass
from supervisor.worker import app_signals
from supervisor.worker.app_forks import separate_forks
from supervisor.worker.app_host import AppHost
from supervisor.worker.heartbeat import HeartbeatSender, notice_main_process_end, pin_to_core
from supervisor.worker.hosted_apps import CodeLocation, HostedApp
from supervisor.worker.log_levels import mark_logged_levels

IDLE_S = 0.3  # a keep-alive client gets this long for one more request


@dataclass(frozen=True, slots=True, kw_only=True)
class AppWorker:
    """What a worker needs to know; it inherits ``listeners``, by app, and never closes them."""

    apps: list[HostedApp]
    code: CodeLocation
    listeners: dict[str, tuple[socket.socket, ...]]
    shutdown_timeout_s: float
    core: int | None = None

    def run(self, connection: socket.socket) -> int:
        """Run the worker and return its exit code."""
        if self.core is not None:
            pin_to_core(self.core)
        mark_logged_levels()
        channel = Channel(connection, takes_sockets=True)
        host = AppHost(self.apps, self.code, self.listeners, channel)
        separate_forks(host.descriptors)
        if not host.import_all():
            return 1
        if host.shared:  # the main process decides, by what could be imported, whether it serves
            host.server.pause()
        serve(
            host.server,
            channel,
            shutdown_timeout_s=self.shutdown_timeout_s,
            on_message=host.on_message,
            on_heartbeat=host.report_written,
            facts=host.facts(),
        )
        if host.has_ended:
            return 1
        app_signals.call_replaced(signal.SIGTERM)
        return 0


def serve(
    server: Server,
    channel: Channel,
    *,
    shutdown_timeout_s: float,
    on_message: Callable[[Message], None] | None = None,
    on_heartbeat: Callable[[], None] | None = None,
    facts: Message | None = None,
) -> None:
    """Send ``ready``, with ``facts``, and serve until a drain, by message or signal, is over.

    Other messages go to ``on_message``, in the thread that runs the server's loop, which also
    calls ``on_heartbeat`` with each heartbeat.
    """

    def drain(_number: int, _frame: object) -> None:
        is_succeeded = handover is not None and handover.is_leaving  # see `Unit.take_over`
        idle_s = hand_over.SUCCEEDED_IDLE_S if is_succeeded else IDLE_S
        server.drain(timeout_s=shutdown_timeout_s, idle_s=idle_s)
        if is_succeeded:
            set_name(hand_over.SUCCEEDED)

    handover = hand_over.begin()
    for number in (signal.SIGTERM, signal.SIGINT):
        app_signals.install(number, drain)
    server.watch(channel.fileno(), _Receiver(server, channel, handover, on_message).receive)
    channel.send_all({"type": "ready", **(facts or {})}, timeout_s=SEND_TIMEOUT_S)
    heartbeats = HeartbeatSender(server, channel, handover)
    if handover is not None:
        notice_main_process_end(channel, handover)

    def report(now: float) -> None:
        heartbeats.send(now)
        if on_heartbeat is not None:
            on_heartbeat()

    server.every(HEARTBEAT_S, report)
    cut_off = server.run()
    report(time.monotonic())  # once more, so that every request is counted
    if cut_off:
        text = f"{cut_off} requests in flight were cut off: they took too long to end"
        sys.stderr.write(f"{marked(text, 'warning')}\n")


class _Receiver:
    """Handles what the main process sends, and its end, in the thread of the server's loop."""

    def __init__(
        self,
        server: Server,
        channel: Channel,
        handover: hand_over.HandOver | None,
        on_message: Callable[[Message], None] | None,
    ) -> None:
        self._server = server
        self._channel = channel
        self._handover = handover
        self._on_message = on_message

    def receive(self) -> None:
        """Handle the messages that have arrived."""
        try:
            messages = self._channel.receive()
        except ChannelClosed:
            self._main_process_ended()
            return
        for message in messages:
            self._handle(message)

    def _handle(self, message: Message) -> None:
        match message["type"]:
            case "drain":
                self._server.drain(
                    timeout_s=message["timeout_s"],
                    idle_s=message["idle_s"],
                    cut_streams=message["cut_streams"],
                )
            case "pause":
                self._server.pause()  # in the thread of the loop: it accepts nothing from here on
                self._channel.send_if_read({"type": "paused"})
            case "resume":
                self._server.resume()
            case _ if self._on_message is not None:
                self._on_message(message)

    def _main_process_ended(self) -> None:
        if self._handover is None:
            os._exit(1)  # no main process would ever end this worker
        self._server.unwatch(self._channel.fileno())
        self._handover.on_main_process_gone(
            lambda timeout_s, idle_s: self._server.drain(timeout_s=timeout_s, idle_s=idle_s)
        )
