"""The main process: one thread, one asyncio loop, every port, all decisions.

It imports no app, starts no thread and never waits for anything but the loop itself. Whatever
may block runs in a worker or in a throw-away child.
"""

import asyncio
import contextlib
import os
import signal
import time
from datetime import UTC, datetime
from typing import Any

from supervisor import __version__
from supervisor.config.settings import Config
from supervisor.control.admin_methods import AdminMethods
from supervisor.control.methods import Commands
from supervisor.control.server import ControlServer
from supervisor.daemon.check_reports import CheckReports
from supervisor.daemon.event_file import EventFile
from supervisor.daemon.file_watching import FileWatching
from supervisor.daemon.log import Log
from supervisor.daemon.own_limits import OwnLimits
from supervisor.daemon.reconfiguration import Reconfigurer, keep_config
from supervisor.daemon.scheduler import Scheduler
from supervisor.daemon.state_folder import StateFolder
from supervisor.daemon.status_feed import StatusFeed
from supervisor.daemon.warmup import warm_up
from supervisor.deploy.lazy_methods import ENDING_WITH_CLIENT, LazyReleaseMethods
from supervisor.files.state_dir import StateDir
from supervisor.policy.config_changes import Changes
from supervisor.policy.generations import DRAIN_MARGIN_S
from supervisor.policy.health_document import CheckFacts, SupervisorFacts
from supervisor.policy.process_events import ReloadAsked
from supervisor.process.channel import Message
from supervisor.process.fork import Run, scrub_environment
from supervisor.process.guardian import start_guardian
from supervisor.process.hanging_disks import hanging
from supervisor.process.prctl import become_subreaper
from supervisor.process.stray_signals import log_stray_signals
from supervisor.releases import file_jobs
from supervisor.supervision.background_jobs import BackgroundJobs
from supervisor.supervision.changes import ChangeSignal
from supervisor.supervision.journal import Journal
from supervisor.supervision.process_set import ProcessSet
from supervisor.supervision.runtime import Runtime
from supervisor.supervision.standin_manager import STAND_IN, StandInManager
from supervisor.supervision.worker_factory import STATUS, WorkerFactory
from supervisor.supervision.worker_pool import WorkerPool
from supervisor.systemd.unit import Unit
from supervisor.values.errors import ConfigError
from supervisor.values.events import EventKind

_DISK_TIMEOUT_S = 5.0  # a card that is checked, or wakes up, takes less
_TIDY_AFTER_S = 3.0  # the apps come first
_UNDO_S = 10.0  # the end waits so long for a deploy to be undone; then the next start does it


def wall_time() -> str:
    """Return the wall time, for people: RFC 3339, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class Supervisor:
    """The main process of one configuration: puts its parts together, begins and ends them."""

    def __init__(self, config: Config, log: Log, *, reload_on_change: bool = False) -> None:
        self._log = log
        self._limits = OwnLimits()
        self._state = StateDir(config.state_dir)
        self._about = SupervisorFacts(
            version=__version__,
            pid=os.getpid(),
            started_wall=wall_time(),
            started_s=time.monotonic(),
        )
        self._stop_signals = 0
        self._stopped = asyncio.Event()
        self._unit = Unit(lambda text: self._journal.record(EventKind.HAND_OVER, text, app=None))
        self._runtime = runtime = self._make_runtime(config)
        self._journal = runtime.journal
        factory = WorkerFactory(
            runtime,
            self._state,
            self._on_status_message,
            take_over=lambda: self._unit.take_over(STATUS),
        )
        self._processes = ProcessSet(runtime, factory, reload_on_change=reload_on_change)
        self._stand_in = StandInManager(runtime, factory.stand_in)
        self._event_file = EventFile(runtime, self._state.events)
        self._server = ControlServer(ENDING_WITH_CLIENT)
        self._folder = StateFolder(
            runtime,
            self._state,
            self._server,
            started=self._about.started_wall,
            renewed=self._on_new_folder,
        )
        self._watching = FileWatching(runtime, self._processes, self._folder)
        self._check_reports = reports = CheckReports(runtime)
        self._reconfigurer = Reconfigurer(runtime, self._apply)
        feed = StatusFeed(
            runtime,
            self._processes,
            self._stand_in,
            self._about,
            checks=self._own_checks,
            last_failure=self._event_file.last_failure,
            watches=self._watching.watches,
        )
        self._scheduler = Scheduler(
            runtime,
            self._processes,
            self._stand_in,
            feed=feed,
            watching=self._watching,
            event_file=self._event_file,
            folder=self._folder,
            unit=self._unit,
            flush_log=log.flush,
        )
        commands = Commands(
            runtime,
            self._processes,
            snapshot=lambda: reports.added_to(feed.snapshot()),
            reconfigure=self._reconfigure,
            stale_processes=self._watching.stale_processes,
        )
        self._releases = LazyReleaseMethods(
            runtime, self._processes, commands, obstacle=lambda: self._folder.problem
        )
        admin = AdminMethods(runtime, commands, self._reconfigure, self._event_file.failure_in_full)
        methods = (commands.methods(), self._releases.methods(), admin.methods())
        self._server.methods = {name: one for some in methods for name, one in some.items()}

    def _make_runtime(self, config: Config) -> Runtime:
        changes = ChangeSignal()
        secrets = config.secret_values()
        folders = [config.app_path(name) for name in config.apps]
        return Runtime(
            config=config,
            signal=changes,
            journal=Journal(self._log, changes, secrets, now=time.monotonic, wall=wall_time),
            pool=WorkerPool(changes, prepare=self._prepare_worker, kept=self._unit.fds_for_workers),
            jobs=BackgroundJobs(),
            sockets=self._unit.sockets,
            now=time.monotonic,
            wall=wall_time,
            tasks=self._limits.tasks,
            silent=frozenset(hanging([config.state_dir, *folders], timeout_s=_DISK_TIMEOUT_S)),
        )

    # ---- from the beginning to the end

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT; returns the exit code.

        Raises `AlreadyRunning`.
        """
        self._folder.begin()
        code = await self._run_locked()
        self._folder.close()
        return code

    async def _run_locked(self) -> int:
        config = self._runtime.config
        become_subreaper()
        scrub_environment(config.origins.variables)
        self._handle_signals()
        if self._state.answers:
            self._event_file.restore(unexpected_end=self._folder.was_left)
            self._make_data_dirs()
        keeping = asyncio.ensure_future(keep_config(config, self._state))
        await asyncio.sleep(0)  # its child works while this process loads the rest
        text = f"flask-supervisor {__version__}, pid {os.getpid()}"
        self._journal.record(EventKind.STARTED, text, app=None)
        origin = config.file if config.text else "the command line"
        self._journal.log_only(f"its configuration is {origin}", kind=EventKind.STARTED)
        for check in self._limits.checks(config):
            self._problem(str(check.reason))
        stop_guardian = start_guardian(self._problem, is_needed=not self._unit.has_cgroup)
        warm_up()
        await keeping
        self._releases.begin_recovery()
        await self._folder.serve()
        self._scheduler.begin()
        self._scheduler.on_time()
        self._unit.sockets.discard_rest()
        self._unit.end_orphans(config)
        self._scheduler.tick_for_ever()
        self._tidy_later()
        await self._stopped.wait()
        await self._releases.stop(_UNDO_S)
        self._server.stop()
        await self._shut_down(hand_over=await self._unit.announce_stop())
        stop_guardian()
        return 0

    def _problem(self, text: str, app: str | None = None) -> None:
        self._journal.record(EventKind.STARTED, text, app=app, problem=True)

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        loop.add_signal_handler(signal.SIGCHLD, self._runtime.pool.reap)
        log_stray_signals(loop, lambda text: self._journal.log_only(text, kind=EventKind.OPERATOR))

    def _on_stop_signal(self, number: int) -> None:
        self._stop_signals += 1
        name = signal.Signals(number).name
        if self._stop_signals == 1:
            self._journal.record(EventKind.STOPPING, f"stopping, because of {name}", app=None)
            self._scheduler.settle_no_more()
            self._stopped.set()
        elif number == signal.SIGINT:
            text = "stopping at once, because of a second SIGINT"
            self._journal.record(EventKind.STOPPING, text, app=None)
            self._runtime.pool.kill_all()

    def _on_hangup(self) -> None:
        self._runtime.jobs.run(self._reload_for_hangup())

    async def _reload_for_hangup(self) -> None:
        with contextlib.suppress(ConfigError):  # it has been recorded
            await self._reconfigure(by="SIGHUP")

    async def _shut_down(self, *, hand_over: bool) -> None:
        """Let every worker finish its requests, within the limit; then leave nothing behind.

        ``hand_over``: but leave those that serve until the next main process is there.
        """
        self._scheduler.end()
        self._runtime.jobs.end()
        spared = self._outliving() if hand_over else set()
        self._processes.stop(spared)
        if not hand_over:
            self._stand_in.stop()
        pool = self._runtime.pool
        limit_s = self._runtime.config.supervisor.shutdown_timeout_s + DRAIN_MARGIN_S
        if not await pool.wait_for_end(limit_s, spared):
            pool.kill_all(spared)
            await pool.wait_for_end(DRAIN_MARGIN_S, spared)
        if not hand_over:
            pool.kill_all()  # daemons of apps
            await pool.wait_for_end(DRAIN_MARGIN_S)
        self._processes.close()
        with contextlib.suppress(OSError):  # a full disk: then the last events are missing
            self._event_file.close()
        if not hand_over:
            await self._unit.kill_everything()
        self._log.flush()

    def _outliving(self) -> set[str]:
        """Return the names of processes that serve on until the next main process is there."""
        config = self._runtime.config
        outliving = {
            process
            for process, names in config.processes().items()
            if self._unit.may_outlive([config.apps[name] for name in names])
        }
        return {*outliving, STATUS, STAND_IN}

    def _prepare_worker(self, run: Run, process: str) -> Run:
        """Return what a worker of a process runs, so that it can outlive this process."""
        return self._unit.worker_main(run, process, self._runtime.config)

    # ---- the state folder

    def _make_data_dirs(self) -> None:
        apps = self._runtime.config.apps
        for name in (name for name, app in apps.items() if app.enabled):
            try:
                self._state.make_data_dir(name)
            except OSError as error:
                self._problem(f"its data folder can't be created: {error.strerror}", app=name)

    def _on_new_folder(self) -> None:
        """Fill a state folder that can be used again, and may be empty."""
        self._make_data_dirs()
        self._tidy_later()
        for process in self._processes.by_name.values():
            process.known_good.forget_kept()

    def _tidy_later(self) -> None:
        asyncio.get_running_loop().call_later(_TIDY_AFTER_S, self._tidy)

    def _tidy(self) -> None:
        """Put the state folder in order, and keep the configuration: it has come up."""
        config = self._runtime.config
        text = b"" if config.fallback else config.text
        self._runtime.jobs.work_with_files(
            file_jobs.tidy, self._state.path, text, wall_time(), done=self._tidied
        )

    def _tidied(self, answer: dict[str, Any]) -> None:
        if not answer["ok"]:
            text = f"the state folder could not be put in order: {answer['reason']}"
            self._journal.record(EventKind.RELEASE, text, app=None, problem=True)
        for name in answer.get("aside", ()):
            self._journal.record(EventKind.RELEASE, str(name), app=None, problem=True)

    # ---- another configuration

    async def _reconfigure(self, *, by: str) -> Changes:
        """Read the configuration again and change what it changes; raises `ConfigError`."""
        self._unit.notifier.reloading(time.monotonic())
        try:
            changes = await self._reconfigurer.read_again(by=by)
            await keep_config(self._runtime.config, self._state)
            return changes
        finally:
            self._unit.notifier.reloaded()

    def _apply(self, config: Config, changes: Changes) -> None:
        """Put ``config``, which changes what ``changes`` says, into effect."""
        self._runtime.config = config
        scrub_environment(config.origins.variables)
        self._journal.add_secrets(config.secret_values())
        self._make_data_dirs()
        self._processes.configure(changes)
        self._stand_in.renew()  # it knows the ports as they were
        for name in changes.changed:
            if name in self._processes.by_name:  # else it is about to be started anyway
                self._processes.by_name[name].on_operator(ReloadAsked(), by="the new configuration")
        self._scheduler.on_time()
        self._tidy_later()

    def _on_status_message(self, message: Message) -> None:
        """Handle what the status worker reports: of files, or of its checks."""
        if message["type"] == "checks":
            self._check_reports.receive(message["checks"], message["host"])
        else:
            self._watching.on_message(message)

    def _own_checks(self) -> list[CheckFacts]:
        refused = self._reconfigurer.check()
        kept = self._folder.checks() or self._event_file.checks()  # the one explains the other
        limits = self._limits.checks(self._runtime.config)
        return [*([refused] if refused else []), *kept, *limits]
