"""One port and the app behind it: owns the listener and the workers, follows the life's table.

A service never waits: the loop calls it when something happened (`on_message`, `on_exit`,
`on_time` ...), it lets `lifecycle.step` decide, and carries out what that says.
"""

import itertools
import os
import random
import socket
from collections.abc import Callable
from typing import Any

from supervisor import life as lives
from supervisor import lifecycle, listeners
from supervisor.channel import Message
from supervisor.counting import Counting
from supervisor.events import EventKind
from supervisor.figures import Figures, merged
from supervisor.generations import DRAIN_MARGIN_S
from supervisor.life import Life, Limits, Phase
from supervisor.model import AppState, Cause, Exit, ImportReport
from supervisor.process import kill_group
from supervisor.restart import STABLE_S
from supervisor.settings import BindSettings
from supervisor.workers import Host, Worker

WorkerMain = Callable[[socket.socket, socket.socket, int], int]
"""The function that is a worker: takes its channel, the listener and its place among the workers of
its generation, from 0; gives the exit code."""

RELOAD_IDLE_S = 5.0  # when another worker serves, idle connections are kept this long
SHUTDOWN_IDLE_S = 0.3  # else; at once would lose one in eight requests of a client that paces them
_SLOW_LOOK_S = 10.0  # between two looks whether the code that runs is still the code on disk
_QUICK_LOOK_S = 0.5

Operation = lives.StartAsked | lives.StopAsked | lives.RestartAsked | lives.ReloadAsked
_WORDS: dict[type[Operation], str] = {
    lives.StartAsked: "start",
    lives.StopAsked: "stop",
    lives.RestartAsked: "restart",
    lives.ReloadAsked: "reload",
}


class Service:
    """One port with its app; made once, lives as long as the configuration has it."""

    def __init__(
        self,
        host: Host,
        *,
        name: str,
        address: listeners.Address,
        bind_settings: BindSettings,
        worker_main: WorkerMain,
        limits: Limits,
        shutdown_timeout_s: float,
        control: bool = False,
        reload_on_change: bool = False,
        other_message: Callable[[Message], None] | None = None,
    ) -> None:
        self._host = host
        self.name = name
        self.address = address
        self.control = control
        self.life = Life(since=host.now(), limits=limits)
        self.since_wall = host.wall()
        self.listener: socket.socket | None = None
        self.foreign: Cause | None = None  # who listens on the port beside us
        self.workers: dict[int, Worker] = {}  # by number
        self.counting = Counting()
        self._watch: list[Any] | None = None  # what the newest import depended on
        self._bind_settings = bind_settings
        self._worker_main = worker_main
        self._shutdown_timeout_s = shutdown_timeout_s
        self._reload_on_change = reload_on_change
        self._other_message = other_message
        self._failed_binds = 0
        self._bind_at: float | None = host.now()
        self._told_cause: Cause | None = None
        self._told_wait: AppState | None = None
        self._stopping = False

    @property
    def worker(self) -> Worker | None:
        """A worker that serves, or None."""
        ready = self.life.of(Phase.READY, generation=self.life.current)
        return self.workers.get(ready[0].number) if ready else None

    @property
    def stale(self) -> bool:
        """Whether the code that serves is not the code on disk."""
        return self.worker is not None and self.worker.stale

    def looks(self) -> dict[str, Any]:
        """Give what to look at: by a key, the files, and how often; see `status.FileWatch`."""
        found = {}
        waits_for_repair = self.life.state in (
            AppState.STARTING,
            AppState.BACKOFF,
            AppState.FAILED,
        )
        if self._watch is not None and (waits_for_repair or self._reload_on_change):
            found[f"{self.name}:newest"] = self._look(
                self.life.generation, self._watch, _QUICK_LOOK_S
            )
        serving = self.worker
        if serving is not None and serving.watch is not None:
            found[f"{self.name}:serving"] = self._look(
                serving.generation, serving.watch, _SLOW_LOOK_S
            )
        return found

    def _look(self, generation: int, watch: list[Any], every_s: float) -> dict[str, Any]:
        return {"app": self.name, "generation": generation, "watch": watch, "every_s": every_s}

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

    def forgive(self, pause_s: float) -> None:
        """Count nothing against the workers for ``pause_s`` seconds in which nobody listened."""
        self.life = lifecycle.forgiven(self.life, pause_s)

    def next_wakeup(self) -> float | None:
        """Give the time at which `on_time` is wanted next, or None."""
        wakeup = lives.next_wakeup(self.life, self._host.now())
        times = [time for time in (wakeup, self._bind_at) if time is not None]
        return min(times, default=None)

    def on_message(self, worker: Worker, message: Message) -> None:
        """Take a message of this service's worker."""
        match message:
            case {"type": "beat"}:
                self._on_beat(worker, message)
                return  # nothing that has to be told at once
            case {"type": "importing", "watch": watch}:
                self._watch = worker.watch = watch
            case {"type": "import_failed", "report": report, "watch": watch}:
                self._watch = watch
                # a worker knows its own secrets only
                shown = ImportReport.from_json(self._host.hide.everywhere(report))
                self._import_failed(worker, shown)
            case {"type": "ready"}:
                self._ready(worker)
            case _ if self._other_message is not None:
                self._other_message(message)
        self._host.changed()

    def _on_beat(self, worker: Worker, message: Message) -> None:
        try:
            figures = merged(Figures.from_json(one) for one in message["figures"].values())
            memory_mb, loop_age_s = float(message["memory_mb"]), float(message["loop_age_s"])
        except (KeyError, TypeError, ValueError, AttributeError):
            return  # the app has written into the channel: then this worker will seem stuck
        self.counting.report(worker.number, figures, memory_mb, self._host.now())
        self._step(
            lives.Beat(
                worker.number,
                loop_age_s=loop_age_s,
                oldest_request_s=figures.oldest_s,
                memory_mb=memory_mb,
                requests=figures.total,
            )
        )

    def _ready(self, worker: Worker) -> None:
        before = self.life.current
        self._step(lives.Ready(worker.number))
        if worker.number not in {w.number for w in self.life.of(Phase.READY)}:
            return  # it came too late
        took = self._host.now() - worker.started_at
        what = "ready" if before in (0, self.life.current) else "ready, with what is on disk now,"
        self._tell(EventKind.READY, f"{what} on {self.address.url}, after {took:.2f} s")

    def on_exit(self, worker: Worker, exit_: Exit) -> None:
        """Take note that a worker of this service has been reaped."""
        del self.workers[worker.number]
        self.counting.end(worker.number)
        if self._stopping:
            return
        known = self.life.worker(worker.number)
        if known is not None:
            self._tell_exit(known, exit_)
        self._step(lives.Exited(worker.number, exit_))

    def _tell_exit(self, worker: lives.WorkerLife, exit_: Exit) -> None:
        if worker.phase is Phase.DRAINING or (worker.phase is Phase.ENDING and not worker.verdict):
            self._tell(EventKind.EXITED, f"the worker ended as it was told to: {exit_}")
        elif worker.phase is Phase.IMPORTING:
            self._tell(EventKind.EXITED, f"the worker ended while importing: {exit_}", problem=True)
        elif worker.phase is not Phase.ENDING:  # else its end has been told with its reason
            if self._host.now() - worker.since >= STABLE_S:
                self._told_cause = self._told_wait = None
            text = worker.verdict.reason if worker.verdict else f"the worker ended: {exit_}"
            self._tell(EventKind.EXITED, text, problem=True)

    def on_files(self, key: str, generation: int, *, changed: bool) -> None:
        """Learn that the files of a generation are not, or again, what it imported."""
        if self._stopping:
            return
        if key.endswith(":serving"):
            for worker in self.workers.values():
                if worker.generation == generation:
                    worker.stale = changed
            self._host.changed()
        elif changed and generation == self.life.generation:
            if self.life.state is AppState.READY and not self._reload_on_change:
                return  # it has been repaired meanwhile
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

    def on_operator(self, event: Operation, *, by: str = "an operator") -> None:
        """Start, stop, restart or reload the app; `life` tells how it goes."""
        self._tell(EventKind.OPERATOR, f"{by} asked to {_WORDS[type(event)]} it")
        self._told_cause = self._told_wait = None
        if self.life.state is AppState.BLOCKED and not isinstance(event, lives.StopAsked):
            self._try_bind(self._host.now())  # its port may be free by now
            return
        self._step(event)

    def configure(
        self,
        *,
        limits: Limits,
        control: bool,
        bind_settings: BindSettings,
        shutdown_timeout_s: float,
    ) -> None:
        """Take new settings; workers that run keep theirs until they are replaced."""
        self.life = lifecycle.with_limits(self.life, limits)
        self.control = control
        self._bind_settings = bind_settings
        self._shutdown_timeout_s = shutdown_timeout_s

    # ---- the end

    def stop(self) -> None:
        """Let the workers finish their requests and end; nothing is started any more."""
        self._stopping = True
        self._bind_at = None
        for worker in list(self.workers.values()):
            known = self.life.worker(worker.number)
            if known is not None and known.phase in (Phase.READY, Phase.PAUSED, Phase.DRAINING):
                worker.drain(self._shutdown_timeout_s, SHUTDOWN_IDLE_S)
            elif worker.child is not None:
                kill_group(worker.child.pid)

    def retire(self) -> None:
        """Close the port at once and let the workers end: the configuration has no such port.

        Another app may have it from now on. Requests in flight are finished within their limit.
        """
        self._shutdown_timeout_s = self.life.limits.stop_timeout_s
        self.stop()
        self._host.end_by(list(self.workers.values()), self._shutdown_timeout_s + DRAIN_MARGIN_S)
        if self.listener is not None:
            listeners.shut_down(self.listener)
            self.listener = None

    def close(self) -> None:
        """Close the port."""
        if self.listener is not None:
            listeners.close(self.listener)
            self.listener = None

    # ---- how it is done

    def _try_bind(self, now: float) -> None:
        try:
            self.listener = listeners.bind(self.address)
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
        self._step(lives.ImportFailed(worker.number, report))
        cause = report.cause
        if cause == self._told_cause:
            return  # the same as at the last attempt: said already
        self._told_cause, self._told_wait = cause, None
        hint = f"; {cause.hint}" if cause.hint else ""
        refused = "reload refused, what runs goes on: " if self._refused(cause) else ""
        self._tell(EventKind.IMPORT_FAILED, f"{refused}{cause.reason}{hint}", problem=True)
        assert worker.child is not None
        self._host.print_output(self.name, worker.child.pid, report.traceback.splitlines())

    def _refused(self, cause: Cause) -> bool:
        return self.life.refusal is not None and self.life.refusal.cause == cause

    def _step(self, event: lives.LifeEvent) -> None:
        before = self.life
        self.life, actions = lifecycle.step(before, event, self._host.now(), random.random)
        if self.life.since != before.since or self.life.state is not before.state:
            self.since_wall = self._host.wall()
        if self.life is not before and (actions or not isinstance(event, lives.Beat)):
            self._tell_wait(before)
            self._tell_refusal(before, event)
            self._host.changed()
        for action in actions:
            self._act(action)

    def _act(self, action: lives.Action) -> None:
        if isinstance(action, lives.Spawn):
            self._spawn(action)
            return
        if isinstance(action, lives.Note):
            self._tell(EventKind.REPLACED, action.text, problem=True)
            return
        worker = self.workers.get(action.number)
        if worker is None or worker.child is None:
            return
        match action:
            case lives.Kill():
                kill_group(worker.child.pid)
            case lives.Drain(replaced=replaced):
                idle_s = RELOAD_IDLE_S if replaced else SHUTDOWN_IDLE_S
                worker.drain(self.life.limits.stop_timeout_s, idle_s)
            case lives.Pause():
                worker.send({"type": "pause"})
            case lives.Resume():
                worker.send({"type": "resume"})

    def _tell_wait(self, before: Life) -> None:
        """Say once how an app that fails again and again is tried."""
        state = self.life.state
        if state is before.state or self.life.retry_at is None or state is self._told_wait:
            return
        self._told_wait = state
        pace = "once a minute" if state is AppState.FAILED else "soon, after growing waits"
        self._tell(EventKind.RETRY, f"it is tried again when its files change, and {pace}")

    def _tell_refusal(self, before: Life, event: lives.LifeEvent) -> None:
        """Say why a reload was refused, where no import failure says it; and a hang."""
        refusal = self.life.refusal
        if refusal not in (None, before.refusal) and not isinstance(event, lives.ImportFailed):
            assert refusal is not None
            text = f"reload refused, what runs goes on: {refusal.cause.reason}"
            self._tell(EventKind.REFUSED, text, problem=True)
        stuck = {w.number for w in self.life.workers if w.stuck}
        if stuck - {w.number for w in before.workers if w.stuck} and self.life.cause:
            cause = self.life.cause
            self._tell(EventKind.STUCK, f"{cause.reason}; {cause.hint}", problem=True)

    def _spawn(self, action: lives.Spawn) -> None:
        if self.life.worker(action.number) is None:
            return  # given up by now: the one before it could not be forked
        assert self.listener is not None
        listener, number = self.listener, action.number
        place = self._free_place(action.generation)
        worker = Worker(
            self._host, self.name, self, number=number, generation=action.generation, place=place
        )
        try:
            pid = worker.start(
                lambda channel: self._worker_main(channel, listener, place), [listener.fileno()]
            )
        except OSError as error:
            cause = Cause(
                reason=f"no worker could be started: {error.strerror}",
                hint="the machine is out of memory, processes or open files",
            )
            self._tell(EventKind.EXITED, cause.reason, problem=True)
            self._step(lives.SpawnFailed(number, cause))
            return
        self.workers[number] = worker
        self._step(lives.Spawned(number, pid))

    def _free_place(self, generation: int) -> int:
        """Give the lowest place in a generation: that of a worker that ended is taken again."""
        taken = {w.place for w in self.workers.values() if w.generation == generation}
        return next(place for place in itertools.count() if place not in taken)

    def _tell(self, kind: EventKind, text: str, *, problem: bool = False) -> None:
        self._host.tell(kind, text, app=self.name, problem=problem)
