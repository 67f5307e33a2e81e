"""One port and the app behind it: owns the listener and the worker, follows the life's table.

A service never waits: the loop calls it when something happened (`on_message`, `on_exit`,
`on_time` ...), it lets `lifecycle.step` decide, and carries out what that says.
"""

import os
import random
import socket
from collections.abc import Callable
from typing import Any

from supervisor import life as lives
from supervisor import lifecycle, listeners
from supervisor.channel import Message
from supervisor.events import EventKind
from supervisor.life import Life
from supervisor.model import AppState, Cause, Exit, ImportReport
from supervisor.process import kill_group
from supervisor.restart import STABLE_S
from supervisor.settings import BindSettings
from supervisor.workers import Host, Worker

WorkerMain = Callable[[socket.socket, socket.socket], int]
"""The function that is a worker: takes its channel and the listener, gives the exit code."""


_WATCHED_STATES = (AppState.STARTING, AppState.BACKOFF, AppState.FAILED)


class Service:
    """One port with its app; made once, lives as long as the supervisor."""

    def __init__(
        self,
        host: Host,
        *,
        name: str,
        address: listeners.Address,
        bind_settings: BindSettings,
        worker_main: WorkerMain,
        import_timeout_s: float,
        stop_timeout_s: float,
        shutdown_timeout_s: float,
        control: bool = False,
        other_message: Callable[[Message], None] | None = None,
    ) -> None:
        self._host = host
        self.name = name
        self.address = address
        self.control = control
        self.life = Life(
            since=host.now(), import_timeout_s=import_timeout_s, stop_timeout_s=stop_timeout_s
        )
        self.since_wall = host.wall()
        self.listener: socket.socket | None = None
        self.foreign: Cause | None = None  # who listens on the port beside us
        self.worker: Worker | None = None
        self._watch: list[Any] | None = None  # what the last import depended on
        self._bind_settings = bind_settings
        self._worker_main = worker_main
        self._stop_timeout_s = stop_timeout_s
        self._shutdown_timeout_s = shutdown_timeout_s
        self._other_message = other_message
        self._failed_binds = 0
        self._bind_at: float | None = host.now()
        self._started_at = 0.0
        self._told_cause: Cause | None = None
        self._told_wait: AppState | None = None
        self._stopping = False

    @property
    def watched(self) -> dict[str, Any] | None:
        """What to watch for a change that makes a new attempt worth while, or None."""
        if self._watch is None or self.life.state not in _WATCHED_STATES:
            return None
        return {"generation": self.life.generation, "watch": self._watch}

    @property
    def listener_inode(self) -> int | None:
        """The inode of the listener's socket, by which the kernel's tables name it."""
        return None if self.listener is None else os.fstat(self.listener.fileno()).st_ino

    # ---- what happens to a service

    def on_time(self) -> None:
        """Do what is due now."""
        now = self._host.now()
        if self._bind_at is not None and now >= self._bind_at:
            self._try_bind(now)
        self._step(lives.Elapsed())

    def next_wakeup(self) -> float | None:
        """Give the time at which `on_time` is wanted next, or None."""
        wakeup = lives.next_wakeup(self.life, self._host.now())
        times = [time for time in (wakeup, self._bind_at) if time is not None]
        return min(times, default=None)

    def on_message(self, worker: Worker, message: Message) -> None:
        """Take a message of this service's worker."""
        match message:
            case {"type": "importing", "watch": watch}:
                self._watch = watch
            case {"type": "import_failed", "report": report, "watch": watch}:
                self._watch = watch
                self._import_failed(worker, ImportReport.from_json(report))
            case {"type": "ready"}:
                self._step(lives.Ready(worker.generation))
                took = self._host.now() - self._started_at
                self._tell(EventKind.READY, f"ready on {self.address.url}, after {took:.2f} s")
            case _ if self._other_message is not None:
                self._other_message(message)
        self._host.changed()

    def on_exit(self, worker: Worker, exit_: Exit) -> None:
        """Take note that a worker of this service has been reaped."""
        if worker is not self.worker:
            return
        self.worker = None
        if self._stopping:
            return
        if self.life.state is AppState.STOPPED or self.life.start_again:
            self._tell(EventKind.EXITED, f"the worker ended as it was told to: {exit_}")
        elif self.life.state is AppState.READY:
            if self._host.now() - self.life.since >= STABLE_S:
                self._told_cause = self._told_wait = None
            self._tell(EventKind.EXITED, f"the worker ended: {exit_}", problem=True)
        elif self.life.verdict is None and not self.life.start_again:
            self._tell(EventKind.EXITED, f"the worker ended while importing: {exit_}", problem=True)
        self._step(lives.Exited(worker.generation, exit_))

    def on_files_changed(self, generation: int) -> None:
        """Start a new attempt, since the files are no longer those that failed."""
        if generation == self.life.generation and not self._stopping:
            self._tell(EventKind.FILES_CHANGED, "its files have changed: trying them at once")
            self._step(lives.FilesChanged())

    def on_holders(self, cause: Cause) -> None:
        """Learn who holds the port."""
        if self.life.state is AppState.BLOCKED and not self._stopping and cause != self.life.cause:
            self._tell(EventKind.BIND_FAILED, f"{cause.reason} ({cause.hint})", problem=True)
            self._step(lives.BindFailed(cause))

    def on_foreign(self, cause: Cause | None) -> None:
        """Learn who else listens on the port, or that nobody does any more."""
        port = self.address.port
        if cause is None or port is None:
            self.foreign = None
            self._tell(EventKind.FOREIGN, f"port {port} is ours alone again")
        else:
            holder = cause.reason.removeprefix(f"port {port} is in use by ")
            text = f"port {port} has another listener, which takes a part of the requests: {holder}"
            self.foreign = Cause(reason=text, hint=cause.hint)
            self._tell(EventKind.FOREIGN, f"{text} ({cause.hint})", problem=True)
        self._host.changed()

    # ---- what an operator asks for

    def on_operator(self, event: lives.StartAsked | lives.StopAsked | lives.RestartAsked) -> None:
        """Start, stop or restart the app; `life` tells how it goes."""
        words = {lives.StartAsked: "start", lives.StopAsked: "stop", lives.RestartAsked: "restart"}
        self._tell(EventKind.OPERATOR, f"an operator asked to {words[type(event)]} it")
        self._told_cause = self._told_wait = None
        if self.life.state is AppState.BLOCKED and not isinstance(event, lives.StopAsked):
            self._try_bind(self._host.now())  # its port may be free by now
            return
        self._step(event)

    # ---- the end

    def stop(self) -> None:
        """Let the worker finish its requests and end; nothing is started any more."""
        self._stopping = True
        self._bind_at = None
        if self.worker is None:
            return
        importing = self.life.state is AppState.STARTING and not self.life.start_again
        if importing and self.worker.child is not None:
            kill_group(self.worker.child.pid)
        else:
            self._drain(self._shutdown_timeout_s)

    def _drain(self, timeout_s: float) -> None:
        if self.worker is not None:
            self.worker.send({"type": "drain", "timeout_s": timeout_s})

    def close(self) -> None:
        """Close the port; systemd, if it started us, keeps it for the next main process."""
        if self.listener is not None:
            self._host.sockets.release(self.listener)
            self.listener = None

    # ---- how it is done

    def _try_bind(self, now: float) -> None:
        try:
            self.listener = self._host.sockets.bind(self.address)
        except listeners.BindError as error:
            self._bind_failed(error, now)
            return
        self._bind_at = None
        if self._failed_binds:
            self._tell(
                EventKind.BOUND, f"bound {self.address.public}, at attempt {self._failed_binds + 1}"
            )
        self._failed_binds = 0
        self._step(lives.Bound())

    def _bind_failed(self, error: listeners.BindError, now: float) -> None:
        self._failed_binds += 1
        settings = self._bind_settings
        delay_s = listeners.retry_delay_s(
            self._failed_binds,
            attempts=settings.attempts,
            first_delay_s=settings.first_delay_s,
            factor=settings.factor,
            max_delay_s=settings.max_delay_s,
        )
        self._bind_at = now + delay_s
        if self._failed_binds <= settings.attempts:  # then it goes on like that: said once
            last = self._failed_binds == settings.attempts
            pace = f"it is tried again {'every' if last else 'in'} {delay_s:g} s"
            text = f"{error.reason} (attempt {self._failed_binds}); {pace}"
            self._tell(EventKind.BIND_FAILED, text, problem=True)
        known = self.life.cause
        if not (error.in_use and known is not None and known.hint):  # the holder named already
            self._step(lives.BindFailed(Cause(reason=error.reason, hint=error.hint)))
        if error.in_use and self.address.port is not None:
            self._host.find_holders(self.address.port, self.on_holders)

    def _import_failed(self, worker: Worker, report: ImportReport) -> None:
        self._step(lives.ImportFailed(worker.generation, report))
        cause = report.cause
        if cause == self._told_cause:
            return  # the same as at the last attempt: said already
        self._told_cause, self._told_wait = cause, None
        hint = f"; {cause.hint}" if cause.hint else ""
        self._tell(EventKind.IMPORT_FAILED, f"{cause.reason}{hint}", problem=True)
        assert worker.child is not None
        self._host.print_output(self.name, worker.child.pid, report.traceback.splitlines())

    def _step(self, event: lives.LifeEvent) -> None:
        before = self.life
        self.life, actions = lifecycle.step(before, event, self._host.now(), random.random)
        if self.life.since != before.since or self.life.state is not before.state:
            self.since_wall = self._host.wall()
        if self.life is not before:
            self._tell_wait(before)
            self._host.changed()
        for action in actions:
            match action:
                case lives.Spawn(generation):
                    self._spawn(generation)
                case lives.Kill(pid):
                    kill_group(pid)
                case lives.Drain():
                    self._drain(self._stop_timeout_s)

    def _tell_wait(self, before: Life) -> None:
        """Say once how an app that fails again and again is tried."""
        state = self.life.state
        if state is before.state or self.life.retry_at is None or state is self._told_wait:
            return
        self._told_wait = state
        pace = "once a minute" if state is AppState.FAILED else "soon, after growing waits"
        self._tell(EventKind.RETRY, f"it is tried again when its files change, and {pace}")

    def _spawn(self, generation: int) -> None:
        assert self.listener is not None
        listener = self.listener
        self._started_at = self._host.now()
        worker = Worker(self._host, self.name, self, generation)
        try:
            pid = worker.start(
                lambda channel: self._worker_main(channel, listener), [listener.fileno()]
            )
        except OSError as error:
            cause = Cause(
                reason=f"no worker could be started: {error.strerror}",
                hint="the machine is out of memory, processes or open files",
            )
            self._tell(EventKind.EXITED, cause.reason, problem=True)
            self._step(lives.SpawnFailed(cause))
            return
        self.worker = worker
        self._step(lives.Spawned(pid))

    def _tell(self, kind: EventKind, text: str, *, problem: bool = False) -> None:
        self._host.tell(kind, text, app=self.name, problem=problem)
