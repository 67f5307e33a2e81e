"""When the main process does what: after a change, at a time that something is due, each second."""

import asyncio
import math
from collections.abc import Callable

from supervisor.daemon.event_file import EventFile
from supervisor.daemon.file_watching import FileWatching
from supervisor.daemon.state_folder import StateFolder
from supervisor.daemon.status_feed import StatusFeed
from supervisor.policy import health_document
from supervisor.supervision.port_reach import PortReach
from supervisor.supervision.port_sharing import PortSharing
from supervisor.supervision.process_set import ProcessSet
from supervisor.supervision.runtime import Runtime
from supervisor.supervision.standin_manager import StandInManager
from supervisor.systemd.unit import Unit
from supervisor.values.states import AppState

TICK_S = 1.0
_PAUSE_S = 2.0  # a tick that is so late: this process was stopped, or the whole machine was


class Scheduler:
    """Runs the main process's turns on the running loop; ``flush_log`` writes what was kept."""

    def __init__(
        self,
        runtime: Runtime,
        processes: ProcessSet,
        stand_in: StandInManager,
        *,
        feed: StatusFeed,
        watching: FileWatching,
        event_file: EventFile,
        folder: StateFolder,
        unit: Unit,
        flush_log: Callable[[], None],
    ) -> None:
        self._runtime = runtime
        self._processes = processes
        self._stand_in = stand_in
        self._feed = feed
        self._watching = watching
        self._event_file = event_file
        self._folder = folder
        self._unit = unit
        self._flush_log = flush_log
        self._sharing = PortSharing(runtime, processes.ports, processes.on_port_sharing)
        self._reach = PortReach(processes.ports, processes.on_port_reach, processes.on_port_lost)
        self._settling: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last_turn = runtime.now()
        self._tick_at = math.inf  # when the next tick is due
        self._is_ending = False

    def begin(self) -> None:
        """Do what is due from now on, and after each change."""
        self._runtime.signal.subscribe(self._settle_soon)

    def tick_for_ever(self) -> None:
        """Do what is due each second, for the first time in a second."""
        asyncio.get_running_loop().call_later(TICK_S, self._tick)
        self._tick_at = self._runtime.now() + TICK_S

    def settle_no_more(self) -> None:
        """Follow no further change: the end has begun."""
        self._is_ending = True

    def end(self) -> None:
        """Cancel what is scheduled, but for the ticks, which show systemd that we live."""
        self.settle_no_more()
        for handle in (self._timer, self._settling):
            if handle is not None:
                handle.cancel()

    def on_time(self) -> None:
        """Do what is due, and follow the changes."""
        self._do_what_is_due()
        self._runtime.signal.notify()

    def _do_what_is_due(self) -> None:
        now = self._runtime.now()
        pause_s = now - self._last_turn - TICK_S
        self._last_turn = now
        if pause_s > _PAUSE_S:
            self._stand_in.allow_for_pause(pause_s)
            for process in self._processes.all():
                process.allow_for_pause(pause_s)
        with self._runtime.pool.together():
            for process in [self._processes.status, *self._processes.by_name.values()]:
                process.on_time()

    def _tick(self) -> None:
        self._feed.note_lag(self._runtime.now() - self._tick_at)
        self.tick_for_ever()  # first: whatever fails below
        self._do_what_is_due()  # hangs are checked for
        self._watching.on_tick()
        self._event_file.on_tick()
        self._folder.on_tick()
        if not self._feed.holds():
            self._runtime.signal.notify()
        self._sharing.on_tick(self._runtime.now())
        self._reach.on_tick(self._runtime.now())
        self._runtime.pool.tick()
        self._stand_in.on_tick()
        self._flush_log()
        self._unit.cycle_completed(self._runtime.now())

    # ---- following changes

    def _settle_soon(self) -> None:
        """Bring everything up to date, soon and once."""
        if self._settling is None and not self._is_ending:
            self._settling = asyncio.get_running_loop().call_soon(self._settle)

    def _settle(self) -> None:
        """Make the stand-in, the status worker and the timer follow the states."""
        self._settling = None
        now = self._runtime.now()
        if self._processes.forget_ended():
            self._stand_in.renew()  # it holds their ports too
        wanted = [
            process.ports[name]
            for process in self._processes.all()
            for name in process.names
            if process.view(name).wants_stand_in(now)
        ]
        self._stand_in.set(wanted, self._processes.ports())
        facts = self._feed.facts()
        shown = {one.name: health_document.app_document(one, now) for one in facts}
        self._stand_in.show({"apps": shown})
        self._unit.on_apps_changed(shown)
        self._feed.send(facts)
        states = [process.state.state for process in self._processes.all()]
        if wanted or any(state is not AppState.READY for state in states):
            self._runtime.signal.mark()  # what monitors see of them changes with the time
        self._set_timer(now)

    def _set_timer(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wakeups = [process.next_wakeup() for process in self._processes.all()]
        wakeups.append(self._stand_in.next_wakeup())
        at = min((time for time in wakeups if time is not None), default=None)
        if at is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, at - now), self.on_time)
