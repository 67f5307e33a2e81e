"""Whatever operators ask for and workers do: what always holds in the life of an app.

A world of scripted workers, operators and a clock; no real process and no waiting.
"""

import heapq
import itertools

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.life import (
    Action,
    Bound,
    Elapsed,
    Exited,
    FilesChanged,
    ImportFailed,
    Kill,
    Life,
    LifeEvent,
    Ready,
    RestartAsked,
    Spawn,
    Spawned,
    SpawnFailed,
    StartAsked,
    StopAsked,
    next_wakeup,
)
from supervisor.lifecycle import DRAIN_MARGIN_S, step
from supervisor.model import AppState, Cause, Exit, ImportReport

NOW = 1000.0
STOP_S = 10.0
IMPORT_S = 120.0
ENDED = Exit(code=0)
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
OPERATOR = (StartAsked(), StopAsked(), RestartAsked())


def middle() -> float:
    """Be a random source that is always the same."""
    return 0.5


class World:
    """A clock, operators, and workers: each spawn takes the next behaviour of the script."""

    def __init__(self, script: list[tuple[str, float, float]]) -> None:
        self.now = NOW
        self.life = Life(since=NOW, import_timeout_s=IMPORT_S, stop_timeout_s=STOP_S)
        self.told: dict[int, float] = {}  # when each living worker was last told to end
        self._script = itertools.cycle(script)
        self._numbers = itertools.count(4711)
        self._due: list[tuple[float, int, LifeEvent]] = []
        self._living: dict[int, float] = {}  # by generation, how long it takes to drain
        self._stopped = False

    def plan(self, later_s: float, event: LifeEvent) -> None:
        """Let ``event`` come in ``later_s`` seconds."""
        heapq.heappush(self._due, (self.now + later_s, next(self._numbers), event))

    def run(self, until_s: float) -> None:
        """Let time go by, checking everything at each event."""
        while True:
            wakeup = next_wakeup(self.life, self.now)
            assert wakeup is None or wakeup > self.now, "the loop would spin"
            times = [time for time in (wakeup, self._due[0][0] if self._due else None) if time]
            if not times or min(times) > NOW + until_s:
                return
            self.now = min(times)
            while self._due and self._due[0][0] <= self.now:
                event = heapq.heappop(self._due)[2]
                if self._may_come(event):
                    self.step(event)
            self.step(Elapsed())

    def step(self, event: LifeEvent) -> None:
        """Take one step, check it, and carry out its actions."""
        if isinstance(event, StopAsked):
            self._stopped = True
        elif isinstance(event, StartAsked | RestartAsked):
            self._stopped = False
        if isinstance(event, StopAsked | StartAsked | RestartAsked):
            self.told = dict.fromkeys(self.told, self.now)  # it may get its time anew
        if isinstance(event, Exited):
            del self._living[event.generation]
            self.told.pop(event.generation, None)
        self.life, actions = step(self.life, event, self.now, middle)
        for action in actions:
            self._act(action)
        for since in self.told.values():
            assert self.now <= since + STOP_S + DRAIN_MARGIN_S + 0.02, "it outlives its time"

    def _act(self, action: Action) -> None:
        generation = self.life.generation
        if isinstance(action, Spawn):
            assert not self._stopped, "started against the operator's will"
            assert not self._living, "two workers would live at a time"
            self._spawn(action.generation)
            return
        assert self._living, "nobody is there to be told"
        assert action.pid == self.life.pid
        wait_s = 0.01 if isinstance(action, Kill) else self._living[generation]
        self.told.setdefault(generation, self.now)
        self.plan(wait_s, Exited(generation, ENDED))

    def _spawn(self, generation: int) -> None:
        kind, import_s, drain_s = next(self._script)
        if kind == "no_fork":
            self.step(SpawnFailed(NO_FORK))
            return
        self._living[generation] = drain_s
        self.step(Spawned(next(self._numbers)))
        if kind == "ok":
            self.plan(import_s, Ready(generation))
        elif kind == "broken":
            self.plan(import_s, ImportFailed(generation, REPORT))
            self.plan(import_s + 0.1, Exited(generation, Exit(code=1)))

    def _may_come(self, event: LifeEvent) -> bool:
        generation = getattr(event, "generation", None)
        return generation is None or generation in self._living


SOON = st.sampled_from([0.0, 0.01, 0.5, 2.0, 9.0, 10.69, 200.0])
SCRIPT = st.lists(
    st.tuples(st.sampled_from(["ok", "broken", "hang", "no_fork"]), SOON, SOON),
    min_size=1,
    max_size=5,
)
ASKED = st.lists(
    st.tuples(st.integers(0, 600).map(lambda n: n / 10), st.sampled_from(OPERATOR)), max_size=15
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=200)
@given(script=SCRIPT, asked=ASKED, bound_s=SOON, changes=st.lists(st.floats(0, 60), max_size=5))
def test_what_always_holds(
    script: list[tuple[str, float, float]],
    asked: list[tuple[float, LifeEvent]],
    bound_s: float,
    changes: list[float],
) -> None:
    """Nothing is started against an operator's will, one worker lives at most, none for ever."""
    world = World(script)
    world.plan(bound_s, Bound())
    for at_s, event in [*asked, *((at_s, FilesChanged()) for at_s in changes)]:
        world.plan(at_s, event)
    world.run(300)


@settings(deadline=None, max_examples=100)
@given(asked=ASKED, drain_s=SOON, bound_s=st.sampled_from([0.0, 20.0]))
def test_the_last_word_counts(
    asked: list[tuple[float, LifeEvent]], drain_s: float, bound_s: float
) -> None:
    """After all that was asked for, a good app is stopped or ready as the last one wanted it."""
    world = World([("ok", 0.2, drain_s)])
    world.plan(bound_s, Bound())
    for at_s, event in asked:
        world.plan(at_s, event)
    world.run(150)
    in_order = sorted(asked, key=lambda one: one[0])
    last = in_order[-1][1] if asked else StartAsked()
    wanted = AppState.STOPPED if isinstance(last, StopAsked) else AppState.READY
    assert world.life.state is wanted
    assert (world.life.pid is None) == (wanted is AppState.STOPPED)
