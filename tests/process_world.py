"""A world for lives without processes: scripted workers, operators, files, and a clock.

Each worker that is spawned takes the next behaviour of a script; everything that must hold in
every process is checked at every step.
"""

import heapq
import itertools
from dataclasses import dataclass

from supervisor.policy.backoff import FAILED_DELAY_S
from supervisor.policy.process_events import (
    Action,
    BindFailed,
    Bound,
    Drain,
    Elapsed,
    Exited,
    HeartbeatSeen,
    ImportFailed,
    Kill,
    Pause,
    ProcessEvent,
    Ready,
    Resume,
    Spawn,
    Spawned,
    SpawnFailed,
    UsageReported,
    WorkerEvent,
)
from supervisor.policy.process_state import (
    DRAINING_MAX,
    STAND_IN_AFTER_S,
    Limits,
    ProcessState,
    WorkerPhase,
    next_wakeup,
    wants_stand_in,
)
from supervisor.policy.process_transitions import step
from supervisor.values.reports import Cause, Exit, ImportReport
from supervisor.values.states import AppState, CodeSource

NOW = 1000.0
TICK_S = 1.0  # the loop looks for hangs this often
ROUNDING_S = 1e-6
IN_USE = Cause(reason="it is in use", hint="look")
NO_FORK = Cause(reason="no worker could be started")
REPORT = ImportReport(
    type="ValueError",
    message="no",
    file="coach.py",
    line=3,
    missing_module=None,
    hint=None,
    traceback="",
    seconds=0.1,
)
AT_WORK = (WorkerPhase.IMPORTING, WorkerPhase.READY, WorkerPhase.PAUSED)


def middle() -> float:
    """Be a random source that is always the same."""
    return 0.5


@dataclass(frozen=True)
class Behaviour:
    """What a worker does: ``first_s`` until its import ends, ``then_s`` until what comes after.

    Kinds: ok, import_failure, crash (while importing), endless (an import), no_fork, freeze (shows
    no sign of life after being ready), greedy (is too large when it is ready).
    """

    kind: str
    first_s: float
    then_s: float
    drain_s: float = 0.1


class World:
    """A process, its workers, and the time; `run` lets everything happen that is planned."""

    def __init__(self, script: list[Behaviour], limits: Limits) -> None:
        self.now = NOW
        self.process = ProcessState(since=NOW, limits=limits)
        self.actions: list[Action] = []
        self.script = itertools.cycle(script)
        self._order = itertools.count(4711)
        self._due: list[tuple[float, int, ProcessEvent]] = []
        self._living: dict[int, Behaviour] = {}

    def plan(self, later_s: float, event: ProcessEvent) -> None:
        """Let ``event`` come in ``later_s`` seconds."""
        heapq.heappush(self._due, (self.now + later_s, next(self._order), event))

    def run(self, seconds: float) -> None:
        """Let ``seconds`` go by."""
        end = self.now + seconds
        while self.now < end:
            wakeup = next_wakeup(self.process, self.now)
            assert wakeup is None or wakeup > self.now, "the loop would spin"
            tick = min(self.now + TICK_S, wakeup or end, end)
            if self._due and self._due[0][0] <= tick:
                self.now, _, event = heapq.heappop(self._due)
                if self._may_come(event):
                    self.step(event)
            else:
                self.now = tick
                self._beat()
            self.step(Elapsed())

    def _beat(self) -> None:
        for number, behaviour in list(self._living.items()):
            worker = self.process.worker(number)
            if worker is None or worker.phase not in (
                WorkerPhase.READY,
                WorkerPhase.PAUSED,
                WorkerPhase.DRAINING,
            ):
                continue
            if behaviour.kind != "freeze" or self.now - worker.since < behaviour.then_s:
                memory_mb = 1000.0 if behaviour.kind == "greedy" else 10.0
                self.step(HeartbeatSeen(number, at=self.now))
                self.step(UsageReported(number, memory_mb=memory_mb))

    def step(self, event: ProcessEvent) -> None:
        """Take one step, check it, and carry out its actions."""
        before = self.process
        if isinstance(event, Exited):
            self._living.pop(event.number, None)
        self.process, actions = step(before, event, self.now, middle)
        self.actions += actions
        check_step(before, self.process, actions)
        for action in actions:
            self._act(action)
        check_process(self.process, self.now)

    def _act(self, action: Action) -> None:
        match action:
            case Spawn(number):
                if self.process.worker(number) is not None:
                    self._spawn(number)
            case Kill(number) if number in self._living:
                self.plan(0.01, Exited(number, Exit(signal=9)))
            case Drain(number) if number in self._living:
                self.plan(self._living[number].drain_s, Exited(number, Exit(code=0)))

    def _spawn(self, number: int) -> None:
        behaviour = next(self.script)
        if behaviour.kind == "no_fork":
            self.step(SpawnFailed(number, NO_FORK))
            return
        self._living[number] = behaviour
        self.step(Spawned(number, next(self._order)))
        ends_s = behaviour.first_s + behaviour.then_s
        match behaviour.kind:
            case "ok" | "greedy":
                self.plan(behaviour.first_s, Ready(number))
                self.plan(ends_s, Exited(number, Exit(code=0)))
            case "freeze":
                self.plan(behaviour.first_s, Ready(number))
            case "import_failure":
                self.plan(behaviour.first_s, ImportFailed(number, REPORT))
                self.plan(ends_s, Exited(number, Exit(code=1)))
            case "crash":
                self.plan(behaviour.first_s, Exited(number, Exit(signal=11)))

    def _may_come(self, event: ProcessEvent) -> bool:
        """Return whether the world can produce ``event`` now: the dead say nothing."""
        if isinstance(event, Bound | BindFailed):
            return not self.process.bound
        return not isinstance(event, WorkerEvent) or event.number in self._living


def check_step(before: ProcessState, process: ProcessState, actions: tuple[Action, ...]) -> None:
    """Check what holds for every step."""
    spawned = [action for action in actions if isinstance(action, Spawn)]
    assert not (spawned and process.stopped), "an operator's stop lasts"
    assert len(spawned) <= process.limits.workers, "never more than the configured workers"
    assert len({spawn.generation for spawn in spawned}) <= 1
    assert all(spawn.number > before.last_number for spawn in spawned)
    assert process.generation - before.generation in (0, 1)
    assert process.restarts - before.restarts in (0, 1)
    if spawned and process.limits.replace:
        others = {w.generation for w in process.workers} - {spawned[0].generation}
        assert not others, "an app that can't run twice would"
    for action in actions:
        if isinstance(action, Kill | Drain | Pause | Resume):
            assert before.worker(action.number) is not None
    drained = {a.number for a in actions if isinstance(a, Drain)}
    assert all(w.phase is not WorkerPhase.DRAINING for w in before.workers if w.number in drained)


def check_process(process: ProcessState, now: float) -> None:
    """Check what holds for every process, between two steps."""
    serving = [w for w in process.of(WorkerPhase.READY, generation=process.current) if not w.stuck]
    assert (process.state is AppState.READY) == bool(serving and not process.stopped)
    assert (process.state is AppState.STOPPED) == process.stopped
    assert len({w.number for w in process.workers}) == len(process.workers)
    assert process.since <= now
    _check_generations(process)
    _check_deadlines(process)
    if process.stopped:
        assert not process.of(*AT_WORK)
        assert process.cause is not None
        assert process.retry_at is process.candidate is process.pending is None
    elif process.bound:
        assert _goes_on(process), "nothing would ever happen again"
    if process.state is AppState.READY:
        assert process.unserved_since is None
    elif process.bound:
        assert process.unserved_since is not None
        unserved_s = now - process.unserved_since
        assert wants_stand_in(process, now) or unserved_s < STAND_IN_AFTER_S + ROUNDING_S
        assert not wants_stand_in(process, now) or process.stopped or unserved_s > 1 - ROUNDING_S
    assert process.retry_live_at is None or process.source is CodeSource.KNOWN_GOOD
    serving_sources = {w.source for w in process.of(WorkerPhase.READY, generation=process.current)}
    assert serving_sources <= {process.source}
    if process.state in (AppState.BACKOFF, AppState.FAILED):
        assert process.cause is not None, "a port that isn't served has a reason"
        if process.retry_at is not None:
            stuck = any(worker.stuck for worker in process.workers)
            assert stuck or (process.state is AppState.FAILED) == process.history.failed
            assert process.retry_at <= now + FAILED_DELAY_S


def _check_generations(process: ProcessState) -> None:
    at_work = {w.generation for w in process.of(WorkerPhase.IMPORTING, WorkerPhase.READY)}
    assert at_work <= {process.current, process.candidate}, "two generations at most"
    paused = process.of(WorkerPhase.PAUSED)
    assert (process.probation_until is None) or paused or process.state is AppState.READY
    assert not paused or process.probation_until is not None
    assert not paused or process.candidate is None
    draining = {w.generation for w in process.of(WorkerPhase.DRAINING)}
    assert len(draining) <= DRAINING_MAX + 1
    for generation in at_work:
        ours = process.of(WorkerPhase.IMPORTING, WorkerPhase.READY, generation=generation)
        assert len(ours) <= process.limits.workers


def _check_deadlines(process: ProcessState) -> None:
    """Every wait has an end."""
    for worker in process.workers:
        if worker.phase is WorkerPhase.IMPORTING:
            assert worker.kill_at is not None


def _goes_on(process: ProcessState) -> bool:
    moving = process.of(
        WorkerPhase.IMPORTING, WorkerPhase.READY, WorkerPhase.ENDING, generation=process.current
    )
    return bool(
        moving
        or process.candidate is not None
        or process.retry_at is not None
        or (process.pending is not None and process.workers)
    )
