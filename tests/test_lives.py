"""Whatever workers, ports and files do: what always holds in the life of an app.

A world of scripted workers (one that serves, one whose import fails, one that crashes, one that
hangs, one that can't be forked) with a clock of its own; no real process and no waiting.
"""

import heapq
import itertools

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.life import (
    STAND_IN_AFTER_S,
    Action,
    BindFailed,
    Bound,
    Elapsed,
    Exited,
    FilesChanged,
    ImportFailed,
    Kill,
    Life,
    LifeEvent,
    Ready,
    Spawn,
    Spawned,
    SpawnFailed,
    next_wakeup,
    wants_stand_in,
)
from supervisor.lifecycle import step
from supervisor.model import AppState, Cause, Exit, ImportReport
from supervisor.restart import FAILED_DELAY_S

NOW = 1000.0
TIMEOUT_S = 10.0
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


def middle() -> float:
    """Be a random source that is always the same."""
    return 0.5


class World:
    """A clock, and workers that behave by a script: each spawn takes the next behaviour."""

    def __init__(self, script: list[tuple[str, float, float]]) -> None:
        self.now = NOW
        self.life = Life(since=NOW, import_timeout_s=TIMEOUT_S)
        self.failed = False
        self._script = itertools.cycle(script)
        self._numbers = itertools.count(4711)
        self._due: list[tuple[float, int, LifeEvent]] = []
        self._living: set[int] = set()  # generations

    def plan(self, later_s: float, event: LifeEvent) -> None:
        """Let ``event`` come in ``later_s`` seconds."""
        heapq.heappush(self._due, (self.now + later_s, next(self._numbers), event))

    def run(self, events: int) -> None:
        """Let time go by until so many events have come, checking everything at each."""
        for _ in range(events):
            wakeup = next_wakeup(self.life, self.now)
            assert wakeup is None or wakeup > self.now, "the loop would spin"
            if self._due and (wakeup is None or self._due[0][0] <= wakeup):
                self.now, _, event = heapq.heappop(self._due)
            elif wakeup is not None:
                self.now, event = wakeup, Elapsed()
            else:
                return
            if self._may_come(event):
                self.step(event)
            self.step(Elapsed())  # the loop looks at every life at every wake-up

    def step(self, event: LifeEvent) -> None:
        """Take one step, check it, and carry out its actions."""
        before = self.life
        self.life, actions = step(before, event, self.now, middle)
        check_step(before, self.life, actions)
        self.failed |= isinstance(event, ImportFailed | SpawnFailed | Exited)
        if isinstance(event, Exited):
            self._living.discard(event.generation)
        for action in actions:
            if isinstance(action, Spawn):
                self._spawn(action.generation)
            else:
                self.plan(0.01, Exited(self.life.generation, Exit(signal=9)))
        check_life(self.life, self.now, failed=self.failed)

    def _spawn(self, generation: int) -> None:
        assert not self._living, "two workers would run at a time"
        kind, first_s, then_s = next(self._script)
        if kind == "no_fork":
            self.step(SpawnFailed(NO_FORK))
            return
        self._living.add(generation)
        self.step(Spawned(next(self._numbers)))
        if kind == "ok":
            self.plan(first_s, Ready(generation))
            self.plan(first_s + then_s, Exited(generation, Exit(code=0)))
        elif kind == "import_failure":
            self.plan(first_s, ImportFailed(generation, REPORT))
            self.plan(first_s + then_s, Exited(generation, Exit(code=1)))
        elif kind == "crash":
            self.plan(first_s, Exited(generation, Exit(signal=11)))

    def _may_come(self, event: LifeEvent) -> bool:
        """Say whether the world can produce ``event`` now: the dead say nothing."""
        if isinstance(event, Bound | BindFailed):
            return self.life.state is AppState.BLOCKED
        generation = getattr(event, "generation", None)
        return generation is None or generation in self._living


def check_step(before: Life, life: Life, actions: tuple[Action, ...]) -> None:
    """Check what holds for every step."""
    spawns = [action for action in actions if isinstance(action, Spawn)]
    assert len(spawns) <= 1
    assert life.generation == before.generation + len(spawns)
    assert life.restarts - before.restarts in (0, 1)
    assert all(spawn.generation == life.generation for spawn in spawns)
    assert all(a.pid == life.pid for a in actions if isinstance(a, Kill))


def check_life(life: Life, now: float, *, failed: bool) -> None:
    """Check what holds for every life, between two steps."""
    waiting = life.state in (AppState.BACKOFF, AppState.FAILED)
    assert (life.pid is not None) == (life.state in (AppState.STARTING, AppState.READY))
    assert (life.retry_at is not None) == waiting
    assert life.kill_at is None or life.state is AppState.STARTING
    serves = life.state in (AppState.BLOCKED, AppState.READY)
    assert (life.unserved_since is None) == serves
    assert life.since <= now
    if waiting:
        assert (life.state is AppState.FAILED) == life.history.failed
        wakeup = next_wakeup(life, now)
        assert wakeup is not None
        assert wakeup <= now + FAILED_DELAY_S
        assert life.cause is not None
    if failed and life.state is AppState.STARTING:
        assert life.cause is not None
    if life.state is AppState.READY:
        assert life.cause is None
    if life.unserved_since is not None:
        unserved_s = now - life.unserved_since
        assert wants_stand_in(life, now) or unserved_s < STAND_IN_AFTER_S + ROUNDING_S
        assert not wants_stand_in(life, now) or unserved_s > STAND_IN_AFTER_S - ROUNDING_S


SOON = st.sampled_from([0.0, 0.01, 0.3, 1.0, 1.5, 4.0, 10.5, 29.9, 31.0, 700.0])
BEHAVIOUR = st.tuples(
    st.sampled_from(["ok", "import_failure", "crash", "hang", "no_fork"]), SOON, SOON
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=200)
@given(
    script=st.lists(BEHAVIOUR, min_size=1, max_size=8),
    binds=st.lists(SOON, max_size=3),
    changes=st.lists(st.floats(0, 200), max_size=30),
)
def test_what_always_holds(
    script: list[tuple[str, float, float]], binds: list[float], changes: list[float]
) -> None:
    """Whatever workers, ports and files do: no step breaks what every life has to keep to."""
    world = World(script)
    for at_s in binds:
        world.plan(at_s, BindFailed(IN_USE))
    world.plan(sum(binds), Bound())
    for at_s in changes:
        world.plan(at_s, FilesChanged())
    world.run(150)
    assert world.life.generation > 0
