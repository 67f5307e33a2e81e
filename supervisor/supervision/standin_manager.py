"""Keeps the stand-in: one worker that answers for every app that can't."""

import socket
from collections.abc import Callable
from typing import Any

from supervisor.policy.process_state import STUCK_AFTER_S
from supervisor.process.channel import Message
from supervisor.process.fork import kill_group
from supervisor.supervision.managed_port import ManagedPort
from supervisor.supervision.worker_handle import Host, WorkerHandle
from supervisor.values.events import EventKind
from supervisor.values.reports import Exit

STAND_IN = "stand-in"  # the name of its worker
_DRAIN_S = 2.0  # the stand-in's last answers get this long
_IDLE_S = 0.3
_RETRY_S = 0.5  # between a stand-in that failed and the next one

StandInMain = Callable[[socket.socket, dict[str, tuple[socket.socket, bool]]], int]
"""The function that is the stand-in: takes its channel and {name: (listener, control)}."""


class StandInManager:
    """Keeps one stand-in worker while any port needs it, and tells it what to say."""

    def __init__(self, host: Host, run: StandInMain) -> None:
        self._host = host
        self._run = run
        self._worker: WorkerHandle | None = None
        self._ready = False
        self._held: frozenset[str] = frozenset()
        self._wanted: list[str] = []
        self._snapshot: dict[str, Any] = {}
        self._start_at = 0.0
        self._heard_at = 0.0

    def answers(self, name: str) -> bool:
        """Say whether the stand-in answers the port of ``name`` now."""
        return self._ready and name in self._wanted and name in self._held

    @property
    def pid(self) -> int | None:
        """The pid of the stand-in, if there is one."""
        return self._worker.child.pid if self._worker and self._worker.child else None

    def set(self, wanted: list[ManagedPort], all_ports: list[ManagedPort]) -> None:
        """Answer exactly the ports ``wanted``, with the reasons that `show` brings."""
        for port in wanted:
            if port.name not in self._wanted:
                text = f"until it serves, {port.address.url} is answered with 503 and the reason"
                self._host.tell(EventKind.STAND_IN, text, app=port.name)
        self._wanted = [port.name for port in wanted]
        if self._worker is not None and not set(self._wanted) <= self._held:
            self._dismiss()  # a port was bound after it was forked
        if self._wanted and self._worker is None:
            self._start(all_ports)
        elif self._worker is not None and not self._wanted:
            self._dismiss()

    def show(self, snapshot: dict[str, Any]) -> None:
        """Let the stand-in answer with the reasons in ``snapshot``."""
        self._snapshot = snapshot
        if self._ready:
            self._tell_worker()

    def renew(self) -> None:
        """Replace the stand-in, if there is one: the ports that it holds have changed."""
        if self._worker is not None:
            self._dismiss()
            self._host.changed()

    def next_wakeup(self) -> float | None:
        """Give the time at which a failed stand-in is started again, or None."""
        return self._start_at if self._wanted and self._worker is None else None

    def on_message(self, worker: WorkerHandle, message: Message) -> None:
        """Take ``ready`` and the beats of the stand-in."""
        self._heard_at = self._host.now()
        if worker is self._worker and message.get("type") == "ready":
            self._ready = True
            self._tell_worker()
            self._host.changed()

    def on_exit(self, worker: WorkerHandle, exit_: Exit) -> None:
        """Start another one, if this one was not dismissed."""
        if worker is not self._worker:
            return
        self._worker, self._ready = None, False
        self._start_at = self._host.now() + _RETRY_S
        self._host.tell(EventKind.EXITED, f"the stand-in ended: {exit_}", app=None, problem=True)
        self._host.changed()

    def on_tick(self) -> None:
        """End a stand-in that shows no sign of life: the next one answers in its place."""
        if self._worker is None:
            return
        self._heard_at = max(self._heard_at, self._worker.alive_at)
        if self._host.now() - self._heard_at < STUCK_AFTER_S:
            return
        assert self._worker.child is not None
        kill_group(self._worker.child.pid)

    def forgive(self, pause_s: float) -> None:
        """Count nothing against the stand-in for ``pause_s`` seconds in which nobody listened."""
        self._heard_at += pause_s

    def stop(self) -> None:
        """Let the stand-in end; none is started any more."""
        self._wanted = []
        if self._worker is not None:
            self._dismiss()

    def _start(self, ports: list[ManagedPort]) -> None:
        if self._host.now() < self._start_at:
            return
        held = {p.name: (p.listener, p.control) for p in ports if p.listener is not None}
        worker = WorkerHandle(self._host, STAND_IN, self)
        keep = [listener.fileno() for listener, _ in held.values()]
        try:
            worker.start(lambda channel: self._run(channel, held), keep)
        except OSError as error:
            self._start_at = self._host.now() + _RETRY_S
            text = f"no stand-in could be started: {error.strerror}"
            self._host.tell(EventKind.EXITED, text, app=None, problem=True)
            return
        self._worker, self._ready, self._held = worker, False, frozenset(held)
        self._heard_at = self._host.now()

    def _dismiss(self) -> None:
        assert self._worker is not None
        if self._ready:
            self._worker.drain(_DRAIN_S, _IDLE_S)
        elif self._worker.child is not None:
            kill_group(self._worker.child.pid)
        self._worker, self._ready = None, False

    def _tell_worker(self) -> None:
        assert self._worker is not None
        assert self._worker.channel is not None
        if not self._worker.channel.unsent:  # it hears the next one
            message = {"type": "state", "snapshot": self._snapshot, "answer": self._wanted}
            self._worker.send(message)
