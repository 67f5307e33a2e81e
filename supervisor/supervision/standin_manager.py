"""Manages the stand-in: one worker that answers for every app that can't."""

import socket
from collections.abc import Callable
from typing import Any

from supervisor.policy.process_state import STUCK_AFTER_S
from supervisor.process.channel import Message
from supervisor.supervision.managed_port import ManagedPort, Sockets
from supervisor.supervision.runtime import Runtime
from supervisor.supervision.worker_handle import WorkerHandle
from supervisor.values.events import EventKind
from supervisor.values.reports import Exit

STAND_IN = "stand-in"  # the name of its worker
_DRAIN_S = 2.0  # the stand-in's last answers get this long
_IDLE_S = 0.3
_RETRY_S = 0.5  # between a stand-in that failed and the next one

StandInMain = Callable[[socket.socket, dict[str, tuple[Sockets, bool]]], int]
"""What the stand-in runs: takes its channel and {name: (sockets, control)}; see `ManagedPort`."""


class StandInManager:
    """Runs one stand-in while any port needs it, and sends it what to answer."""

    def __init__(self, runtime: Runtime, run: StandInMain) -> None:
        self._runtime = runtime
        self._run = run
        self._worker: WorkerHandle | None = None
        self._ready = False
        self._held: dict[str, Sockets] = {}
        self._wanted: list[str] = []
        self._snapshot: dict[str, Any] = {}
        self._start_at = 0.0
        self._alive_at = 0.0

    def answers(self, name: str) -> bool:
        """Return whether the stand-in answers the port of ``name`` now."""
        return self._ready and name in self._wanted and name in self._held

    def set(self, wanted: list[ManagedPort], all_ports: list[ManagedPort]) -> None:
        """Answer exactly the ports ``wanted``, with the reasons that `show` brings."""
        for port in wanted:
            if port.name not in self._wanted:
                text = f"until it serves, {port.address.url} is answered with 503 and the reason"
                self._runtime.journal.record(EventKind.STAND_IN, text, app=port.name)
        self._wanted = [port.name for port in wanted]
        if self._worker is not None and any(
            self._held.get(port.name) is not port.sockets for port in wanted
        ):
            self._dismiss(self._worker)  # a port was bound after it was forked
        if self._wanted and self._worker is None:
            self._start(all_ports)
        elif self._worker is not None and not self._wanted:
            self._dismiss(self._worker)

    def show(self, snapshot: dict[str, Any]) -> None:
        """Let the stand-in answer with the reasons in ``snapshot``."""
        self._snapshot = snapshot
        if self._ready:
            self._send_state()

    def renew(self) -> None:
        """Replace the stand-in, if there is one: the ports that it holds have changed."""
        if self._worker is not None:
            self._dismiss(self._worker)
            self._runtime.signal.notify()

    def next_wakeup(self) -> float | None:
        """Return the monotonic time at which a failed stand-in is started again, or None."""
        return self._start_at if self._wanted and self._worker is None else None

    def on_message(self, worker: WorkerHandle, message: Message) -> None:
        """Handle ``ready`` and the heartbeats of the stand-in."""
        self._alive_at = self._runtime.now()
        if worker is self._worker and message.get("type") == "ready":
            self._ready = True
            self._send_state()
            self._runtime.signal.notify()

    def on_exit(self, worker: WorkerHandle, exit_: Exit) -> None:
        """Start another one, if this one was not dismissed."""
        if worker is not self._worker:
            return
        self._worker, self._ready = None, False
        self._start_at = self._runtime.now() + _RETRY_S
        text = f"the stand-in ended: {exit_}"
        self._runtime.journal.record(EventKind.EXITED, text, app=None, problem=True)
        self._runtime.signal.notify()

    def on_tick(self) -> None:
        """Kill a stand-in without a heartbeat: the next one answers in its place."""
        if self._worker is None:
            return
        self._alive_at = max(self._alive_at, self._worker.alive_at)
        if self._runtime.now() - self._alive_at >= STUCK_AFTER_S:
            self._worker.kill()

    def allow_for_pause(self, pause_s: float) -> None:
        """Don't count ``pause_s`` seconds, in which this process did not run, against it."""
        self._alive_at += pause_s

    def stop(self) -> None:
        """Let the stand-in end; none is started any more."""
        self._wanted = []
        if self._worker is not None:
            self._dismiss(self._worker)

    def _start(self, ports: list[ManagedPort]) -> None:
        if self._runtime.now() < self._start_at:
            return
        held = {port.name: (port.sockets, port.control) for port in ports if port.sockets}
        keep = [one.fileno() for sockets, _ in held.values() for one in sockets]
        try:
            self._worker = WorkerHandle.start(
                self._runtime, STAND_IN, self, lambda channel: self._run(channel, held), keep
            )
        except OSError as error:
            self._start_at = self._runtime.now() + _RETRY_S
            text = f"no stand-in could be started: {error.strerror}"
            self._runtime.journal.record(EventKind.EXITED, text, app=None, problem=True)
            return
        self._ready, self._held = False, {name: one[0] for name, one in held.items()}
        self._alive_at = self._runtime.now()

    def _dismiss(self, worker: WorkerHandle) -> None:
        if self._ready:
            worker.drain(_DRAIN_S, _IDLE_S)
        else:
            worker.kill()
        self._worker, self._ready = None, False

    def _send_state(self) -> None:
        if self._worker is not None and not self._worker.channel.unsent:  # it gets the next one
            message = {"type": "state", "snapshot": self._snapshot, "answer": self._wanted}
            self._worker.send(message)
