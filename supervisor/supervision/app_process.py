"""One process and the apps in it, mostly one: owns the workers, follows the life's table.

A service never waits: the loop calls it when something happened (`on_message`, `on_exit`,
`on_time` ...), it lets `process_transitions.step` decide, and carries out what that says.
"""

import itertools
import random
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from supervisor.config.settings import BindSettings
from supervisor.policy import process_state as lives
from supervisor.policy import process_transitions
from supervisor.policy.generations import DRAIN_MARGIN_S
from supervisor.policy.process_state import Limits, ProcessState, WorkerPhase
from supervisor.process.channel import Message
from supervisor.process.fork import kill_group
from supervisor.supervision.event_messages import EventMessages
from supervisor.supervision.known_good import KnownGood, NoKnownGood
from supervisor.supervision.managed_port import ManagedPort
from supervisor.supervision.member import Member
from supervisor.supervision.metric_totals import MetricTotals
from supervisor.supervision.worker_handle import Host, Trial, WorkerHandle
from supervisor.values.events import EventKind
from supervisor.values.metrics import Metrics, merged
from supervisor.values.reports import Cause, Exit, ImportReport
from supervisor.values.states import AppState, CodeSource

WorkerMain = Callable[[socket.socket, dict[str, socket.socket], int, Path | None], int]
"""The function that is a worker: takes its channel, the listeners by app, its place among the
workers of its generation, from 0, and the release that it runs (None: the live code); gives the
exit code."""

RELOAD_IDLE_S = 5.0  # when another worker serves, idle connections are kept this long
SHUTDOWN_IDLE_S = 0.3  # else; at once would lose one in eight requests of a client that paces them
_SLOW_LOOK_S = 10.0  # between two looks whether the code that runs is still the code on disk
_QUICK_LOOK_S = 0.5
_LOOK_MARGIN_S = 0.5

Operation = lives.StartAsked | lives.StopAsked | lives.RestartAsked | lives.ReloadAsked
_WORDS: dict[type[Operation], str] = {
    lives.StartAsked: "start",
    lives.StopAsked: "stop",
    lives.RestartAsked: "restart",
    lives.ReloadAsked: "reload",
}


class AppProcess:
    """One process with its apps; made once, lives as long as the configuration has it.

    An app alone gives the process its name.
    """

    def __init__(
        self,
        host: Host,
        *,
        name: str,
        worker_main: WorkerMain,
        limits: Limits,
        shutdown_timeout_s: float,
        reload_on_change: bool = False,
        other_message: Callable[[Message], None] | None = None,
        keeper: KnownGood | None = None,
    ) -> None:
        self._host = host
        self.name = name
        self.members: dict[str, Member] = {}
        self.life = ProcessState(since=host.now(), limits=limits)
        self.since_wall = host.wall()
        self.workers: dict[int, WorkerHandle] = {}  # by number
        self.memory = MetricTotals()
        self.keeper = keeper or NoKnownGood()
        self._watch: list[Any] | None = None  # what the newest import depended on
        self._worker_main = worker_main
        self._shutdown_timeout_s = shutdown_timeout_s
        self._reload_on_change = reload_on_change
        self._other_message = other_message
        self._telling = EventMessages(host, name)
        self._stopping = False

    def add(self, port: ManagedPort) -> None:
        """Let the app of ``port`` live in this process; before anything else is done with it."""
        self.members[port.name] = Member(port, self._host.now())

    @property
    def shared(self) -> bool:
        """Whether several apps share the process."""
        return len(self.members) > 1

    @property
    def worker(self) -> WorkerHandle | None:
        """A worker that serves, or None."""
        ready = self.life.of(WorkerPhase.READY, generation=self.life.current)
        return self.workers.get(ready[0].number) if ready else None

    @property
    def handed_over(self) -> bool:
        """Whether no worker that has been replaced may still accept a connection."""
        paused = {worker.number for worker in self.life.of(WorkerPhase.PAUSED)}
        return not any(w.accepts for number, w in self.workers.items() if number in paused)

    @property
    def stale(self) -> bool:
        """Whether the code that serves is not the code on disk."""
        return self.worker is not None and self.worker.stale

    def looks(self) -> dict[str, Any]:
        """Return the files to watch and how often, by key; see `status_worker.FileWatch`."""
        found = {}
        waits_for_repair = self.life.source is CodeSource.KNOWN_GOOD or self.life.state in (
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
        for member in self.members.values():
            if member.missing and member.watch is not None and serving is not None:
                key = f"{self.name}:{member.name}"
                found[key] = self._look(member.attempt, member.watch, _QUICK_LOOK_S)
        return found

    def _look(self, generation: int, watch: list[Any], every_s: float) -> dict[str, Any]:
        return {"app": self.name, "generation": generation, "watch": watch, "every_s": every_s}

    # ---- what happens to a service

    def on_time(self) -> None:
        """Do what is due now."""
        now = self._host.now()
        for member in self.members.values():
            member.port.on_time(now)
        self._look_for_life(now)
        self._look_at_sizes()
        self._step(lives.Elapsed())
        self._try_members(now)
        self.keeper.on_time(self.life, self.worker, now)

    def _look_for_life(self, now: float) -> None:
        """Take note of workers that live, just before they would count as stuck."""
        for worker in self.workers.values():
            known = self.life.worker(worker.number)
            if known is None or now < known.alive_at + lives.STUCK_AFTER_S - _LOOK_MARGIN_S:
                continue
            if worker.alive_at > known.alive_at:
                self._step(lives.HeartbeatSeen(worker.number, min(worker.alive_at, now)))

    def _look_at_sizes(self) -> None:
        """Judge again what holds since the last beat: it may have been too soon then."""
        limits = self.life.limits
        if limits.max_memory_mb is None and limits.max_requests is None:
            return
        for worker in list(self.workers.values()):
            if worker.beat is not None:
                self._step(worker.beat)

    def forgive(self, pause_s: float) -> None:
        """Count nothing against the workers for ``pause_s`` seconds in which nobody listened."""
        self.life = process_transitions.forgiven(self.life, pause_s)

    def next_wakeup(self) -> float | None:
        """Give the time at which `on_time` is wanted next, or None."""
        now = self._host.now()
        times = [lives.next_wakeup(self.life, now)]
        times += [member.next_wakeup(self.life, now) for member in self.members.values()]
        return min((time for time in times if time is not None), default=None)

    def on_port(self, port: ManagedPort) -> None:
        """Take note that a port has been bound, or could not be."""
        if self._stopping:
            return
        ports = [member.port for member in self.members.values()]
        bound = [one for one in ports if one.bound]
        if not bound:
            assert port.cause is not None
            if not self.life.bound:
                self._step(lives.BindFailed(port.cause))
        elif not self.life.bound and all(one.tried for one in ports):
            self._step(lives.Bound())
        elif self.life.bound and port.bound and self.life.state is not AppState.STOPPED:
            text = "its process is reloaded, since it has got its port only now"
            self._host.tell(EventKind.BOUND, text, app=port.name)
            cause = Cause(reason="it has got its port, and waits for a reload of its process")
            self.members[port.name].wait_for_reload(cause, self._host.now())
            self._step(lives.ReloadAsked())
        self._host.changed()

    def on_message(self, worker: WorkerHandle, message: Message) -> None:
        """Take a message of this service's worker."""
        match message:
            case {"type": "heartbeat"}:
                self._on_beat(worker, message)
                return  # nothing that has to be told at once
            case {"type": "importing", "watch": watch}:
                worker.watch = watch
                if self._is_live(worker):
                    self._watch = watch
            case {"type": "member_failed", "app": name, "report": report, "watch": watch}:
                shown = ImportReport.from_json(self._host.hide.everywhere(report))
                self._member_failed(worker, self.members[name], shown, watch)
            case {"type": "member_ready", "app": name, "watch": watch}:
                worker.watch = watch  # the others may run what has been on disk before
                self._member_ready(worker, self.members[name])
            case {"type": "import_failed", "report": report, "watch": watch}:
                if self._is_live(worker):
                    self._watch = watch
                # a worker knows its own secrets only
                shown = ImportReport.from_json(self._host.hide.everywhere(report))
                self._import_failed(worker, shown)
            case {"type": "ready"}:
                worker.facts = message
                self._ready(worker)
            case {"type": "paused"}:
                worker.accepts = False
            case {"type": "imports"}:
                self.keeper.keep(message)
            case _ if self._other_message is not None:
                self._other_message(message)
        self._host.changed()

    def _is_live(self, worker: WorkerHandle) -> bool:
        known = self.life.worker(worker.number)
        return known is not None and known.source is CodeSource.LIVE

    def _on_beat(self, worker: WorkerHandle, message: Message) -> None:
        try:
            memory_mb, at = float(message["memory_mb"]), float(message["at"])
            metrics = {n: Metrics.from_json(one) for n, one in message["metrics"].items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            return  # the app has written into the channel: then this worker will seem stuck
        if (metrics, memory_mb) != worker.told:
            worker.told = (metrics, memory_mb)
            self._host.news()
        whole = merged(metrics.values())
        now = self._host.now()
        self.memory.report(worker.number, whole, memory_mb, now)
        for name, one in metrics.items():
            if name in self.members:
                self.members[name].port.counting.report(worker.number, one, memory_mb, now)
        self._step(lives.HeartbeatSeen(worker.number, min(at, now)))
        worker.beat = lives.UsageReported(
            worker.number,
            oldest_request_s=whole.oldest_s,
            memory_mb=memory_mb,
            requests=whole.total,
        )
        self._step(worker.beat)

    def _ready(self, worker: WorkerHandle) -> None:
        before = self.life.current
        if lost := self._lost(worker):
            self._step(lives.ImportFailed(worker.number, worker.failed[lost][0]))
            assert worker.child is not None
            kill_group(worker.child.pid)
            return
        was_candidate = self.life.candidate == worker.generation
        self._step(lives.Ready(worker.number))
        if worker.number not in {w.number for w in self.life.of(WorkerPhase.READY)}:
            return  # it came too late
        if self.shared:
            self._open(worker, was_candidate=was_candidate)
        took = self._host.now() - worker.started_at
        what = "ready" if before in (0, self.life.current) else "ready, with what is on disk now,"
        if self.life.source is CodeSource.KNOWN_GOOD:
            what = "ready, with the last known good release,"
        for member in self.members.values():
            if not member.missing and member.port.bound:
                text = f"{what} on {member.port.address.url}, after {took:.2f} s"
                self._host.tell(EventKind.READY, text, app=member.name)

    def _lost(self, worker: WorkerHandle) -> str | None:
        """Give an app that serves now, and would not any more in a candidate's process."""
        if self.life.candidate != worker.generation:
            return None
        serve = (n for n in worker.failed if not self.members[n].missing)
        return next(serve, None)

    def _open(self, worker: WorkerHandle, *, was_candidate: bool) -> None:
        """Let a process that several apps share serve those that it could import."""
        now = self._host.now()
        for name, member in self.members.items():
            if name not in worker.failed:
                member.serve(now)
            elif was_candidate:
                self._miss(worker, member)
            if member.stopped:
                worker.send({"type": "close", "app": name})
        worker.send({"type": "resume"})

    def on_exit(self, worker: WorkerHandle, exit_: Exit) -> None:
        """Take note that a worker of this service has been reaped."""
        del self.workers[worker.number]
        for counting in (self.memory, *(m.port.counting for m in self.members.values())):
            counting.end(worker.number)
        if self._stopping:
            return
        known = self.life.worker(worker.number)
        if known is not None:
            self._telling.of_exit(known, exit_)
        self._step(lives.Exited(worker.number, exit_))

    def on_known_good(self, *, available: bool) -> None:
        """Learn whether there is a release to fall back on."""
        if not self._stopping:
            self._step(lives.FallbackKnown(available=available))

    def on_files(self, key: str, generation: int, *, changed: bool) -> None:
        """Learn that the files of a generation are not, or again, what it imported."""
        if self._stopping:
            return
        if key.endswith(":serving"):
            for worker in self.workers.values():
                if worker.generation == generation:
                    worker.stale = changed
            self._host.changed()
        elif not key.endswith(":newest"):
            member = self.members.get(key.partition(":")[2])
            if member is None or not changed or generation != member.attempt:
                return
            if member.on_files(self._host.now()):
                text = "its files have changed: trying them at once"
                self._host.tell(EventKind.FILES_CHANGED, text, app=member.name)
                self._try_member(member)
        elif changed and generation == self.life.generation:
            waits = self.life.source is CodeSource.KNOWN_GOOD or self._reload_on_change
            if self.life.state is AppState.READY and not waits:
                return  # it has been repaired meanwhile
            self._telling.tell(
                EventKind.FILES_CHANGED, "its files have changed: trying them at once"
            )
            if self.life.state is AppState.READY and self.life.limits.replace:
                self._reload()
            else:
                self._step(lives.FilesChanged())

    # ---- what an operator asks for

    def on_operator(
        self, event: Operation, *, apps: Sequence[str] = (), by: str = "an operator"
    ) -> None:
        """Start, stop, restart or reload; `life` tells how it goes.

        ``apps``: of several that share the process, only these are stopped or started.
        """
        for name in apps or [self.name]:
            self._host.tell(EventKind.OPERATOR, f"{by} asked to {_WORDS[type(event)]} it", app=name)
        self._telling.begin_anew()
        if self.shared and apps and self._on_members([self.members[name] for name in apps], event):
            return
        blocked = self.life.state is AppState.BLOCKED
        if blocked and not isinstance(event, lives.StopAsked):
            for member in self.members.values():  # its port may be free by now
                member.port.try_bind(self._host.now())
            return
        if isinstance(event, lives.ReloadAsked):
            self._reload()
            return
        self._step(event)

    def _reload(self) -> None:
        """Reload; what has to be stopped for that, only if the new code can be imported."""
        left = [m for m in self.members.values() if not m.missing]
        ready = self.life.state is AppState.READY
        if not (self.life.limits.replace and ready):
            self._step(lives.ReloadAsked())
            return

        def tried(trial: Trial) -> None:
            if self._stopping or self.life.state is not AppState.READY:
                return  # something else has happened meanwhile
            if trial.cause is not None:
                self._step(lives.ReloadRefused(trial.cause))
            elif left:
                self._host.try_import(left.pop(0).name, None, tried)
            else:
                self._step(lives.ReloadAsked())

        tried(Trial(cause=None, watch=None))

    def _on_members(self, members: list[Member], event: Operation) -> bool:
        """Stop or start some of several apps; gives whether that was all there is to do.

        Who is stopped stays so, whatever its mates are told, until it is itself started or
        restarted.
        """
        now, worker = self._host.now(), self.worker
        is_stop = isinstance(event, lives.StopAsked)
        if not isinstance(event, lives.ReloadAsked):
            for member in members:
                member.set_stopped(is_stop, now)
        everybody = all(one.stopped for one in self.members.values())
        if worker is None or everybody or not isinstance(event, lives.StopAsked | lives.StartAsked):
            for member in self.members.values():  # one that binds its port runs with its process
                if not member.port.owned and not everybody:
                    member.set_stopped(False, now)
            self._host.changed()
            return is_stop and not everybody
        for member in members:
            worker.send({"type": "close" if is_stop else "open", "app": member.name})
            if not is_stop and member.failure is not None:
                self._try_member(member)
        self._host.changed()
        return True

    def forget_refusal(self, before: lives.Refusal | None) -> None:
        """Take back the newest refusal: the files that it spoke of are gone again."""
        self.life = replace(self.life, refusal=before)
        self._host.changed()

    def configure(
        self, *, limits: Limits, bind_settings: BindSettings, shutdown_timeout_s: float
    ) -> None:
        """Take new settings; workers that run keep theirs until they are replaced."""
        self.life = process_transitions.with_limits(self.life, limits)
        for member in self.members.values():
            member.port.bind_settings = bind_settings
        self._shutdown_timeout_s = shutdown_timeout_s

    # ---- members of a shared process

    def _member_failed(
        self, worker: WorkerHandle, member: Member, report: ImportReport, watch: list[Any]
    ) -> None:
        if not self.shared:  # it bound its port, and failed later: its process ends
            self._step(lives.GaveUp(worker.number, report.cause))
            return
        worker.failed[member.name] = (report, watch)
        if self.life.candidate != worker.generation:  # else decided when all are imported
            self._miss(worker, member)

    def _miss(self, worker: WorkerHandle, member: Member) -> None:
        """Take note that a process serves, or is to, without one of its apps."""
        report, watch = worker.failed[member.name]
        told = member.failure
        member.fail(report.cause, watch, self._host.now(), random.random)
        if told == report.cause:
            return
        text = report.cause.in_full
        self._host.tell(EventKind.IMPORT_FAILED, text, app=member.name, problem=True)
        assert worker.child is not None
        self._host.print_output(member.name, worker.child.pid, report.traceback.splitlines())

    def _member_ready(self, worker: WorkerHandle, member: Member) -> None:
        worker.failed.pop(member.name, None)
        member.serve(self._host.now())
        if member.stopped:  # meanwhile
            worker.send({"type": "close", "app": member.name})
            return
        text = f"ready on {member.port.address.url}, in the process of the others"
        self._host.tell(EventKind.READY, text, app=member.name)

    def _try_members(self, now: float) -> None:
        for member in self.members.values():
            if self.worker is None or not member.missing:
                continue
            if member.trying_until is not None and now >= member.trying_until:
                cause = Cause(
                    reason="its import inside of the running process takes too long",
                    hint="a restart begins anew, with a new process for all its apps",
                )
                member.fail(cause, member.watch, now, random.random)
            if member.is_due(now) and not member.stopped:
                self._try_member(member)

    def _try_member(self, member: Member) -> None:
        """Import a missing member in a throw-away child, then, if that works, in the worker."""
        worker = self.worker
        if worker is None or member.trying_until is not None or member.needs_reload:
            return
        limit_s = 2 * self.life.limits.import_timeout_s
        member.try_again(self._host.now(), limit_s)
        self._host.changed()
        attempt = member.attempt

        def tried(trial: Trial) -> None:
            if attempt != member.attempt or worker is not self.worker:
                return  # overtaken by something else
            if trial.cause is None:
                worker.send({"type": "import", "app": member.name})
                return
            if trial.cause != member.failure:
                text = trial.cause.in_full
                self._host.tell(EventKind.IMPORT_FAILED, text, app=member.name, problem=True)
            member.fail(trial.cause, trial.watch, self._host.now(), random.random)
            self._host.changed()

        if member.port.owned:
            self._host.try_import(member.name, member.watch, tried)
        else:
            worker.send({"type": "import", "app": member.name})  # two can't bind its port

    # ---- the end

    def stop(self) -> None:
        """Let the workers finish their requests and end; nothing is started any more."""
        self._stopping = True
        for member in self.members.values():
            member.port.give_up()
        for worker in list(self.workers.values()):
            known = self.life.worker(worker.number)
            if known is not None and known.phase in (
                WorkerPhase.READY,
                WorkerPhase.PAUSED,
                WorkerPhase.DRAINING,
            ):
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
        for member in self.members.values():
            member.port.remove()

    # ---- how it is done

    def _import_failed(self, worker: WorkerHandle, report: ImportReport) -> None:
        self._step(lives.ImportFailed(worker.number, report))
        if not self.shared:  # else each member has been told of
            self._telling.of_failed_import(self.life, worker, report)

    def _step(self, event: lives.ProcessEvent) -> None:
        before = self.life
        self.life, actions = process_transitions.step(
            before, event, self._host.now(), random.random
        )
        if self.life.since != before.since or self.life.state is not before.state:
            self.since_wall = self._host.wall()
        is_quiet = isinstance(event, lives.UsageReported | lives.HeartbeatSeen)
        is_as_before = is_quiet and not actions and self.life.state is before.state
        if self.life is not before and not is_as_before:
            self._telling.of_step(before, self.life, event)
            self.keeper.on_change(before, self.life)
            self._host.changed()
        for action in actions:
            self._act(action)

    def _act(self, action: lives.Action) -> None:
        if isinstance(action, lives.Spawn):
            self._host.spawn(partial(self._spawn, action))
            return
        if isinstance(action, lives.Note):
            self._telling.tell(EventKind.REPLACED, action.text, problem=True)
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
                worker.accepts = True
                worker.send({"type": "resume"})

    def _spawn(self, action: lives.Spawn) -> Callable[[], None]:
        """Fork a worker; gives what is to be done then."""
        if self.life.worker(action.number) is None:
            return lambda: None  # given up by now: the one before it could not be forked
        number, place = action.number, self._free_place(action.generation)
        release = self.keeper.release_for(action.source)
        held = {
            name: member.port.listener
            for name, member in self.members.items()
            if member.port.listener is not None
        }
        worker = WorkerHandle(
            self._host, self.name, self, number=number, generation=action.generation, place=place
        )
        try:
            pid = worker.start(
                lambda channel: self._worker_main(channel, held, place, release),
                [listener.fileno() for listener in held.values()],
            )
        except OSError as error:
            return partial(self._spawn_failed, number, error)
        self.workers[number] = worker
        return lambda: self._step(lives.Spawned(number, pid))

    def _spawn_failed(self, number: int, error: OSError) -> None:
        cause = Cause(
            reason=f"no worker could be started: {error.strerror}",
            hint="the machine is out of memory, processes or open files",
        )
        self._telling.tell(EventKind.EXITED, cause.reason, problem=True)
        self._step(lives.SpawnFailed(number, cause))

    def _free_place(self, generation: int) -> int:
        """Give the lowest place in a generation: that of a worker that ended is taken again."""
        taken = {w.place for w in self.workers.values() if w.generation == generation}
        return next(place for place in itertools.count() if place not in taken)
