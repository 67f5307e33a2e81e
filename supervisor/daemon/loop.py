"""The main process: one thread, one asyncio loop, every port, all decisions.

It imports no app, starts no thread and never waits for anything but the loop itself. Whatever
may block runs in a worker or in a throw-away child.
"""

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from typing import Any

from supervisor import __version__
from supervisor.config.settings import Config
from supervisor.control.methods import Commands
from supervisor.control.server import ControlServer, listen
from supervisor.daemon.app_facts import app_facts
from supervisor.daemon.background_jobs import BackgroundJobs
from supervisor.daemon.check_reports import CheckReports
from supervisor.daemon.log import Log
from supervisor.daemon.reconfiguration import Reconfigurer
from supervisor.daemon.status_feed import StatusFeed
from supervisor.daemon.warmup import warm_up
from supervisor.deploy.lazy_methods import ENDING_WITH_CLIENT, LazyReleaseMethods
from supervisor.files.state_dir import StateDir
from supervisor.health.check_settings import check_settings
from supervisor.policy import health_document
from supervisor.policy.config_changes import Changes
from supervisor.policy.generations import DRAIN_MARGIN_S
from supervisor.policy.health_document import AppFacts, CheckFacts, SupervisorFacts
from supervisor.policy.process_state import ReloadAsked
from supervisor.process.channel import Message
from supervisor.process.fork import (
    Child,
    become_subreaper,
    fork_child,
    kill_group,
    scrub_environment,
)
from supervisor.process.oom import KillCounter
from supervisor.process.throwaway import TaskFailed, run_in_child
from supervisor.releases import file_jobs
from supervisor.source.fingerprints import changed
from supervisor.supervision import port_sharing
from supervisor.supervision.app_process import AppProcess
from supervisor.supervision.log_buffer import LogBook
from supervisor.supervision.process_set import STATUS, ProcessSet
from supervisor.supervision.standin_manager import STAND_IN, StandInManager
from supervisor.supervision.worker_handle import WorkerHandle
from supervisor.supervision.worker_mains import WorkerMains
from supervisor.systemd.unit import Unit
from supervisor.values.errors import ConfigError
from supervisor.values.events import Event, EventKind, EventLog
from supervisor.values.redaction import Redaction
from supervisor.values.reports import Exit
from supervisor.values.states import AppState

PUSH_INTERVAL_S = 1.0
OWN_LINES = "-"  # in the log, the supervisor's own lines stand under this name
_WATCH_TIMEOUT_S = 10.0
_TIDY_AFTER_S = 3.0  # the apps come first
_UNDO_S = 10.0  # the end waits so long for a deploy to be undone; then the next start does it
_PAUSE_S = 2.0  # a look that is so late: this process was stopped, or the whole machine was


def wall_time() -> str:
    """Give the wall time, for people: RFC 3339, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class Supervisor(BackgroundJobs):
    """The main process of one configuration; `run` is its life."""

    def __init__(self, config: Config, log: Log, *, reload_on_change: bool = False) -> None:
        super().__init__()
        self.config = config
        self._log = log
        self._secrets = config.secret_values()
        self.hide = Redaction(self._secrets)
        self._state = StateDir(config.state_dir)
        self.event_log = EventLog()
        self.log_book = LogBook()
        self._facts = SupervisorFacts(
            version=__version__,
            pid=os.getpid(),
            started_wall=wall_time(),
            started_s=time.monotonic(),
        )
        self._workers: dict[int, WorkerHandle] = {}
        self._settling: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._looked_at = time.monotonic()
        self._stop_signals = 0
        self._stopped = asyncio.Event()
        self._unit = Unit(self._tell_of_unit)
        self.sockets = self._unit.sockets
        self._kills = KillCounter()
        self._pushing = StatusFeed()
        self._watches = False  # files, from here
        self._look_at = 0.0  # for foreign listeners, monotonic seconds
        self._to_fork: list[Callable[[], Callable[[], None]]] | None = None
        self._reconfiguring = Reconfigurer(self)
        mains = WorkerMains(self, self._state)
        self._check_settings = check_settings(config)
        self._check_reports = CheckReports()
        self._fleet = ProcessSet(self, mains, config, reload_on_change=reload_on_change)
        self._stand_in = StandInManager(self, mains.stand_in)
        self._foreign = port_sharing.PortSharing(self)

    # ---- life

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT; gives the exit code.

        Raises `SupervisorError` when another one runs, or the state folder can't be used.
        """
        self._state.lock(self._facts.started_wall)
        try:
            return await self._run_locked()
        finally:
            with contextlib.suppress(OSError):  # the next start replaces it
                self._state.control_socket.unlink()
            self._state.unlock()

    async def _run_locked(self) -> int:
        self._loop = asyncio.get_running_loop()
        become_subreaper()
        scrub_environment(self.config.sources.variables)
        self._handle_signals()
        listener = listen(self._state.control_socket)
        asked = Commands(self)
        releases = LazyReleaseMethods(self, asked)
        methods = {**asked.methods(), **releases.methods()}
        server = ControlServer(listener, methods, ENDING_WITH_CLIENT)
        self._make_data_dirs()
        self.tell(EventKind.STARTED, f"flask-supervisor {__version__}, pid {os.getpid()}", app=None)
        text = f"its configuration is {self.config.file}"  # in the log only: port 6000 is public
        self._log.event(text, app=None, kind=str(EventKind.STARTED), problem=False)
        warm_up()
        await releases.recover()
        await server.start()
        self._on_time()
        self.sockets.discard_rest()
        self._unit.end_orphans(self.config)
        self._push_for_ever()
        self._loop.call_later(_TIDY_AFTER_S, self._tidy)
        await self._stopped.wait()
        await releases.stop(_UNDO_S)
        server.stop()
        await self._shut_down(hand_over=await self._unit.announce_stop())
        return 0

    def _tidy(self) -> None:
        """Put the state folder in order, and keep the configuration: it has come up."""
        text = b"" if self.config.fallback else self.config.text
        self.work(file_jobs.tidy, self._state.path, text, self.wall(), tell=self._tidied)

    def _tidied(self, answer: dict[str, Any]) -> None:
        if not answer["ok"]:
            text = f"the state folder could not be put in order: {answer['reason']}"
            self.tell(EventKind.RELEASE, text, app=None, problem=True)
        for name in answer.get("aside", ()):
            self.tell(EventKind.RELEASE, str(name), app=None, problem=True)

    def _make_data_dirs(self) -> None:
        for name in (name for name, app in self.config.apps.items() if app.enabled):
            try:
                self._state.make_data_dir(name)
            except OSError as error:
                text = f"its data folder can't be created: {error.strerror}"
                self.tell(EventKind.STARTED, text, app=name, problem=True)

    def _handle_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._on_stop_signal, number)
        self._loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def _on_stop_signal(self, number: int) -> None:
        self._stop_signals += 1
        name = signal.Signals(number).name
        if self._stop_signals == 1:
            self.tell(EventKind.STOPPING, f"stopping, because of {name}", app=None)
            self._stopped.set()
        elif number == signal.SIGINT:
            self.tell(EventKind.STOPPING, "stopping at once, because of a second SIGINT", app=None)
            self._kill_all()

    def _on_hangup(self) -> None:
        self.run_task(self._reload_for_hangup())

    async def _reload_for_hangup(self) -> None:
        with contextlib.suppress(ConfigError):  # told already
            await self.reconfigure(by="SIGHUP")

    async def _shut_down(self, *, hand_over: bool) -> None:
        """Let every worker finish what it does, within the limit; then leave nothing behind.

        ``hand_over``: but leave those that serve until the next main process is there.
        """
        for handle in (self._timer, self._settling):
            if handle is not None:
                handle.cancel()
        self.end_tasks()
        spared = self._outliving() if hand_over else set()
        self._fleet.stop(spared)
        if not hand_over:
            self._stand_in.stop()
        limit_s = self.config.supervisor.shutdown_timeout_s + DRAIN_MARGIN_S
        await self._until_no_workers(limit_s, spared)
        self._kill_all(spared)
        await self._until_no_workers(DRAIN_MARGIN_S, spared)
        self._fleet.close()
        if not hand_over:
            await self._unit.kill_everything()
        self._log.flush()

    def _outliving(self) -> set[str]:
        """Give the names of workers that serve on until the next main process is there."""
        outliving = {
            process
            for process, names in self.config.processes().items()
            if self._unit.may_outlive([self.config.apps[name] for name in names])
        }
        return {*outliving, STATUS, STAND_IN}

    async def _until_no_workers(self, limit_s: float, spared: Collection[str] = ()) -> None:
        deadline = self.now() + limit_s
        while self._pids_but(spared) and self.now() < deadline:
            await asyncio.sleep(0.01)

    def _kill_all(self, spared: Collection[str] = ()) -> None:
        for pid in self._pids_but(spared):
            kill_group(pid)

    def _pids_but(self, spared: Collection[str]) -> list[int]:
        return [pid for pid, worker in self._workers.items() if worker.name not in spared]

    # ---- what a service asks for (service.Host)

    def now(self) -> float:
        """Give the monotonic time in seconds: the only clock decisions are made by."""
        return time.monotonic()

    def wall(self) -> str:
        """Give the wall time, for people."""
        return wall_time()

    def tell(self, kind: EventKind, text: str, *, app: str | None, problem: bool = False) -> None:
        """Log and remember an event."""
        text = self.hide(text)
        event = Event(
            kind=kind, text=text, app=app, monotonic_s=self.now(), wall=self.wall(), problem=problem
        )
        self.event_log.add(event)
        self.news()
        self._log.event(text, app=app, kind=str(kind), problem=problem)
        self._remember(text, app=app or OWN_LINES, pid=None, output=False)

    def _tell_of_unit(self, text: str) -> None:
        self.tell(EventKind.HAND_OVER, text, app=None)

    def changed(self) -> None:
        """Bring everything up to date, soon and once."""
        self.news()
        if self._settling is None and not self._stopped.is_set():
            self._settling = self._loop.call_soon(self._settle)

    def news(self) -> None:
        """Take note of something that monitors are told within a second."""
        self._pushing.news()

    def fork(
        self, run: Callable[[socket.socket], int], name: str, keep: list[int], owner: WorkerHandle
    ) -> Child:
        """Fork a worker and listen to it."""
        apps = [self.config.apps[one] for one in self.config.processes().get(owner.name, [])]
        main = self._unit.worker_main(run, apps, self.config)
        child = fork_child(main, name=name, keep=[*keep, *self._unit.fds_for_workers])
        self._workers[child.pid] = owner
        self._loop.add_reader(child.channel, owner.on_messages)
        self._loop.add_reader(child.output, owner.on_output)
        return child

    def spawn(self, start: Callable[[], Callable[[], None]]) -> None:
        """Call ``start``, which forks a worker, and then what it gives."""
        if self._to_fork is None:
            start()()
        else:
            self._to_fork.append(start)

    @contextlib.contextmanager
    def _forking_together(self) -> Iterator[None]:
        """Fork what is to be forked in the block after it, with nothing else in between.

        What this process does between two forks, each child has a copy of to itself.
        """
        to_fork: list[Callable[[], Callable[[], None]]] = []
        self._to_fork = to_fork
        try:
            yield
        finally:
            self._to_fork = None
            for tell in [start() for start in to_fork]:
                tell()

    def when_writable(self, worker: WorkerHandle) -> None:
        """Call the worker's `on_writable` once, when its channel takes more."""
        assert worker.child is not None
        channel = worker.child.channel

        def writable() -> None:
            self._loop.remove_writer(channel)
            worker.on_writable()

        self._loop.add_writer(channel, writable)

    def pause_output(self, worker: WorkerHandle, pause_s: float) -> None:
        """Read no output of the worker for a moment."""
        assert worker.child is not None
        output = worker.child.output
        self._loop.remove_reader(output)

        def go_on() -> None:
            if worker.reads_output:
                self._loop.add_reader(output, worker.on_output)

        self._loop.call_later(pause_s, go_on)

    def end_by(self, workers: list[WorkerHandle], limit_s: float) -> None:
        """Kill those of ``workers`` that have not ended in ``limit_s`` seconds."""

        def end() -> None:
            for pid, worker in self._workers.items():
                if worker in workers:
                    kill_group(pid)

        self._loop.call_later(limit_s, end)

    def deaf_to(self, fd: int) -> None:
        """Stop listening to a descriptor of a worker."""
        self._loop.remove_reader(fd)
        self._loop.remove_writer(fd)

    def print_output(self, app: str, pid: int, lines: list[str]) -> None:
        """Pass on what a worker printed."""
        for line in lines:
            self._log.output(line, app=app, pid=pid)
            self._remember(line, app=app, pid=pid, output=True)

    def _remember(self, text: str, *, app: str, pid: int | None, output: bool) -> None:
        self.log_book.add(text, app=app, pid=pid, output=output, time=self.wall(), now=self.now())

    # ---- what commands ask for (commands.Supervised)

    def services(self) -> dict[str, AppProcess]:
        """Give the services by app."""
        return self._fleet.apps

    def processes(self) -> dict[str, AppProcess]:
        """Give the services by process."""
        return self._fleet.services

    async def reconfigure(self, *, by: str) -> Changes:
        """Read the configuration anew and change what it changes; raises `ConfigError`."""
        self._unit.notifier.reloading(self.now())
        try:
            return await self._reconfiguring.read_anew(by=by)
        finally:
            self._unit.notifier.reloaded()

    def configure(self, config: Config, changes: Changes) -> None:
        """Take ``config``, which changes what ``changes`` says."""
        self.config = config
        self._check_settings = check_settings(config)
        scrub_environment(config.sources.variables)
        self._secrets |= config.secret_values()  # workers that know the old ones still run
        self.hide = Redaction(self._secrets)
        self._make_data_dirs()
        self._fleet.configure(config, changes)
        self._stand_in.renew()  # it knows the ports as they were
        for process in changes.changed:
            if process in self._fleet.services:  # else it is about to be started anyway
                self._fleet.services[process].on_operator(ReloadAsked(), by="the new configuration")
        self._on_time()
        self._loop.call_later(_TIDY_AFTER_S, self._tidy)

    # ---- what happens

    def _reap(self) -> None:
        """Take note of every process that ended; kill what is left of a worker's group first."""
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
            if worker is not None:
                worker.on_exit(self._exit(os.waitstatus_to_exitcode(status)))

    def _exit(self, code: int) -> Exit:
        killed = code == -signal.SIGKILL
        return Exit.from_exitcode(code, out_of_memory=self._kills.claim() if killed else None)

    def on_files(self, message: Message) -> None:
        """Take what the status worker says of an app's files."""
        service = self._fleet.services.get(message["key"].partition(":")[0])
        if service is not None:
            service.on_files(message["key"], message["generation"], changed=message["changed"])

    def _on_time(self) -> None:
        self._do_what_is_due()
        self.changed()

    def _do_what_is_due(self) -> None:
        now = self.now()
        pause_s = now - self._looked_at - PUSH_INTERVAL_S
        self._looked_at = now
        if pause_s > _PAUSE_S:
            self._stand_in.forgive(pause_s)
            for service in self._fleet.all():
                service.forgive(pause_s)
        with self._forking_together():
            for service in [self._fleet.status, *self._fleet.services.values()]:
                service.on_time()

    def _settle(self) -> None:
        """Make the stand-in, the status worker and the timer follow the states."""
        self._settling = None
        now = self.now()
        if self._fleet.retired():
            self._stand_in.renew()  # it holds their ports too
        wanted = [
            member.port
            for service in self._fleet.all()
            for member in service.members.values()
            if member.wants_stand_in(service.life, now)
        ]
        self._stand_in.set(wanted, self._fleet.ports())
        facts = self._app_facts()  # each second: once for all who are told
        shown = {one.name: health_document.app_document(one, now) for one in facts}
        self._stand_in.show({"apps": shown})
        self._unit.on_apps_changed(shown)
        self._push(facts)
        if wanted or any(one.life.state is not AppState.READY for one in self._fleet.all()):
            self.news()  # what is told of them changes with the time
        self._set_timer(now)

    def _set_timer(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wakeups = [service.next_wakeup() for service in self._fleet.all()]
        wakeups.append(self._stand_in.next_wakeup())
        at = min((time for time in wakeups if time is not None), default=None)
        if at is not None:
            self._timer = self._loop.call_later(max(0.0, at - now), self._on_time)

    def _push_for_ever(self) -> None:
        self._loop.call_later(PUSH_INTERVAL_S, self._push_for_ever)  # first: whatever fails below
        self._do_what_is_due()  # hangs are looked for
        if self._fleet.status.life.state is not AppState.READY and not self._watches:
            self.run_task(self._watch_without_status())
        if not self._pushing.holds(self._fleet.status.workers.values(), now=self.now()):
            self.changed()
        if self.now() >= self._look_at:
            self._look_at = self.now() + port_sharing.INTERVAL_S
            self._foreign.look(self._fleet.ports())
        for worker in self._workers.values():
            worker.on_tick()
        self._stand_in.on_tick()
        self._log.flush()
        self._unit.cycle_completed(self.now())

    def _push(self, facts: list[AppFacts]) -> None:
        """Send the snapshot to the status worker, to one that starts too: it answers by it."""
        self._pushing.push(
            self._fleet.status.workers.values(),
            lambda: {
                "type": "snapshot",
                "snapshot": self._snapshot_of(facts),
                "watches": self._looks(),
                "checks": self._check_settings,
            },
            now=self.now(),
        )

    def _looks(self) -> dict[str, Any]:
        services = self._fleet.services.values()
        return {key: look for service in services for key, look in service.looks().items()}

    async def _watch_without_status(self) -> None:
        """Look at files from here while the status worker, which does it otherwise, can't."""
        looks = {key: look for key, look in self._looks().items() if look["every_s"] < 1}
        if not looks:
            return
        self._watches = True
        try:
            found = await run_in_child(changed, looks, timeout_s=_WATCH_TIMEOUT_S, quiet=True)
        except (TaskFailed, OSError):  # then the next look, or the next retry
            return
        finally:
            self._watches = False
        for key in found:
            generation = looks[key]["generation"]
            self.on_files({"key": key, "generation": generation, "changed": True})

    async def looks_now(self) -> set[str]:
        """Give the names of the processes whose files are not what they imported."""
        found = await run_in_child(changed, self._looks(), timeout_s=_WATCH_TIMEOUT_S, quiet=True)
        return {key.partition(":")[0] for key in found}

    # ---- what it says of itself

    def snapshot(self) -> dict[str, Any]:
        """Give the health document, with the checks that the status worker runs."""
        return self._check_reports.added_to(self._snapshot_of(self._app_facts()), self.now())

    def on_checks(self, checks: dict[str, Any]) -> None:
        """Take what the status worker's checks say now; what is news is an event."""
        for change in self._check_reports.receive(checks, self.now()):
            self.tell(EventKind.CHECK, change.text, app=change.app, problem=change.is_problem)

    def _snapshot_of(self, facts: list[AppFacts]) -> dict[str, Any]:
        of = {one.name: one for one in facts}
        apps = [of[name] for name in self._fleet.apps]
        return health_document.document(
            self._facts,
            apps,
            self._checks(),
            self.event_log.last(health_document.EVENTS_SHOWN),
            self.now(),
        )

    def _app_facts(self) -> list[AppFacts]:
        """Give the facts of all apps, and of the status server as one of them."""
        return [
            app_facts(service, member, self._stand_in)
            for service in self._fleet.all()
            for member in service.members.values()
        ]

    def _checks(self) -> list[CheckFacts]:
        life = self._fleet.status.life
        failed = life.cause if life.state is not AppState.READY else None
        checks = [
            CheckFacts(
                name="status_port",
                reason=failed.reason if failed else None,
                hint=failed.hint if failed else None,
            )
        ]
        refused = self._reconfiguring.check()
        return [*checks, refused] if refused else checks
