"""One process and its apps: their states, the steps they take, and the actions that follow.

Nothing is decided here: `policy` does, in its tables. The classes around this one turn what happens
into events, and call `step` and `step_app`; see `app_process`.
"""

import random
from collections.abc import Callable

from supervisor.config.settings import BindSettings
from supervisor.policy import app_transitions, process_state, process_transitions
from supervisor.policy.app_state import AppRecord, AppView
from supervisor.policy.app_transitions import AppEvent
from supervisor.policy.process_events import (
    Action,
    Drain,
    HeartbeatSeen,
    Kill,
    Note,
    Pause,
    ProcessEvent,
    Resume,
    Spawn,
    UsageReported,
)
from supervisor.policy.process_state import Limits, ProcessState, Refusal
from supervisor.supervision.event_messages import EventMessages
from supervisor.supervision.known_good import NoKnownGood
from supervisor.supervision.managed_port import ManagedPort
from supervisor.supervision.metric_totals import MetricTotals
from supervisor.supervision.runtime import Runtime
from supervisor.supervision.worker_handle import WorkerHandle
from supervisor.values.events import EventKind

RELOAD_IDLE_S = 5.0  # when another worker serves, idle connections are kept this long
SHUTDOWN_IDLE_S = 0.3  # else; at once would lose one in eight requests of a client that paces them


class ProcessCore:
    """The process ``name``; ``spawn`` forks a worker, ``import_app`` begins an attempt of an app.

    ``apps``, ``ports`` and ``metrics`` have the same names of apps, in the configuration's order.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        name: str,
        limits: Limits,
        bind_settings: BindSettings,
        known_good: NoKnownGood,
        spawn: Callable[[Spawn], None],
        import_app: Callable[[str], None],
    ) -> None:
        self.runtime = runtime
        self.name = name
        self.bind_settings = bind_settings
        self.known_good = known_good
        self.messages = EventMessages(runtime.journal, name)
        self.state = ProcessState(since=runtime.now(), limits=limits)
        self.apps: dict[str, AppRecord] = {}
        self.ports: dict[str, ManagedPort] = {}
        self.metrics: dict[str, MetricTotals] = {}
        self.workers: dict[int, WorkerHandle] = {}  # by number; not yet reaped
        self.is_ending = False  # nothing is started or decided any more
        self._spawn = spawn
        self._import_app = import_app
        self._walls: dict[str, tuple[float, str]] = {}  # by app: its ``since``, and its wall time

    def add(self, port: ManagedPort) -> None:
        """Let the app of ``port`` live in this process; before anything else is done with it."""
        now = self.runtime.now()
        self.ports[port.name] = port
        self.metrics[port.name] = MetricTotals()
        self.apps[port.name] = AppRecord(since=now, bind_at=now, self_bound=port.self_bound)

    def steer(self, worker: WorkerHandle | None = None) -> None:
        """Give new connections to the listener of ``worker``, on a port that has two.

        None: to the one that gets them, also what a worker had steered apart for its program.
        """
        for port in self.ports.values():
            port.steer(port.steered_to if worker is None else worker.place)

    @property
    def serving(self) -> WorkerHandle | None:
        """A worker that serves, or None."""
        serving = self.state.serving
        return None if serving is None else self.workers.get(serving.number)

    def view(self, name: str) -> AppView:
        """Return an app in its process."""
        return AppView(app=self.apps[name], process=self.state)

    def since_wall(self, name: str) -> str:
        """Return the wall time of an app's last change of state."""
        since = self.view(name).since
        known = self._walls.get(name)
        if known is None or known[0] != since:
            known = self._walls[name] = (since, self.runtime.wall())
        return known[1]

    # ---- steps

    def step(self, event: ProcessEvent) -> None:
        """Let ``event`` happen to the process, and carry out the actions that follow."""
        before = self.state
        self.state, actions = process_transitions.step(
            before, event, self.runtime.now(), random.random
        )
        is_report = isinstance(event, UsageReported | HeartbeatSeen)
        is_same = (self.state.state, self.state.oversize) == (before.state, before.oversize)
        is_quiet = is_report and not actions and is_same
        if self.state is not before and not is_quiet:
            self.messages.of_step(before, self.state, event)
            self.known_good.on_change(before, self.state)
            self._changed()
        for action in actions:
            self._act(action)

    def step_app(self, name: str, event: AppEvent) -> None:
        """Let ``event`` happen to an app; an attempt that begins with it is begun."""
        before = self.apps[name]
        after = app_transitions.step(before, event, self.runtime.now(), random.random)
        if after is before:
            return
        self.apps[name] = after
        self._changed()
        if after.attempt != before.attempt:
            self._import_app(name)

    def configure(self, limits: Limits, bind_settings: BindSettings) -> None:
        """Take new settings; they hold from the next decision on."""
        self.state = process_state.with_limits(self.state, limits)
        self.bind_settings = bind_settings

    def allow_for_pause(self, pause_s: float) -> None:
        """Don't count ``pause_s`` seconds, in which this process did not run, against workers."""
        self.state = process_state.after_pause(self.state, pause_s)

    def forget_refusal(self, before: Refusal | None) -> None:
        """Take back the newest refusal: the files that it spoke of are gone again."""
        self.state = process_state.with_refusal(self.state, before)
        self._changed()

    def _changed(self) -> None:
        for name in self.apps:
            self.since_wall(name)
        self.runtime.signal.notify()

    # ---- actions

    def _act(self, action: Action) -> None:
        if isinstance(action, Spawn):
            self._spawn(action)
            return
        if isinstance(action, Note):
            self.messages.record(EventKind.REPLACED, action.text, problem=True)
            return
        worker = self.workers.get(action.number)
        if worker is None:
            return
        match action:
            case Kill():
                worker.kill()
            case Drain(replaced=replaced):
                idle_s = RELOAD_IDLE_S if replaced else SHUTDOWN_IDLE_S
                limits = self.state.limits  # nobody serves while one that can't run twice drains
                worker.drain(limits.stop_timeout_s, idle_s, cut_streams=limits.replace)
            case Pause():
                worker.send({"type": "pause"})
            case Resume():
                self.steer(worker)
                worker.send({"type": "resume"})
