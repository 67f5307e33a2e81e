"""One life of an app, step by step, for the tests of the transition tables."""

from typing import Any

from lifeworld import NOW, REPORT, middle

from supervisor.policy.backoff import FAILURES_MAX
from supervisor.policy.process_state import (
    Action,
    Bound,
    Elapsed,
    Exited,
    ImportFailed,
    Life,
    LifeEvent,
    Limits,
    Phase,
    Ready,
    SignOfLife,
    Spawn,
    Spawned,
    WorkerLife,
)
from supervisor.policy.process_transitions import step
from supervisor.values.constants import HEARTBEAT_S
from supervisor.values.reports import Exit

IMPORT_S = 10.0
STOP_S = 8.0
HANG_S = 30.0
FIRST_PID = 4710  # of worker 1 that is 4711
CRASH = Exit(signal=11)
ENDED = Exit(code=0)


class OneLife:
    """A life and its clock; forks succeed at once, and ``done`` collects all actions."""

    def __init__(self, **limits: Any) -> None:
        known = {"import_timeout_s": IMPORT_S, "stop_timeout_s": STOP_S, "hang_timeout_s": HANG_S}
        self.life = Life(since=NOW, limits=Limits(**{**known, **limits}))
        self.now = NOW
        self.done: list[Action] = []

    def take(self, *events: LifeEvent, later_s: float = 0.0) -> list[Action]:
        """Apply ``events``, ``later_s`` from now; return the actions."""
        self.now += later_s
        asked: list[Action] = []
        for event in events:
            self.life, actions = step(self.life, event, self.now, middle)
            asked += actions
            for action in actions:
                if isinstance(action, Spawn) and self.life.worker(action.number) is not None:
                    forked = Spawned(action.number, FIRST_PID + action.number)
                    self.life, more = step(self.life, forked, self.now, middle)
                    assert more == ()
        self.done += asked
        return asked

    def up(self) -> "OneLife":
        """Bind the port and make every worker ready; clear ``done``."""
        self.take(Bound())
        self.ready()
        self.done.clear()
        return self

    def ready(self, *, later_s: float = 0.0) -> list[Action]:
        """Make all importing workers ready."""
        self.now += later_s
        return self.take(*(Ready(w.number) for w in self.life.of(Phase.IMPORTING)))

    def beat(self, *, later_s: float = 0.0) -> None:
        """Advance the clock; all workers that serve or are paused send heartbeats."""
        end = self.now + later_s
        while self.now < end:
            self.now = min(self.now + HEARTBEAT_S, end)
            for worker in self.life.of(Phase.READY, Phase.PAUSED):
                assert self.take(SignOfLife(worker.number, at=self.now)) == []

    def fail(self, *, times: int = 1) -> "OneLife":
        """Fail the import and end its worker, repeatedly, at the times that are due."""
        for _ in range(times):
            number = self.life.of(Phase.IMPORTING)[0].number
            self.take(ImportFailed(number, REPORT), Exited(number, Exit(code=1)))
            if self.life.retry_at is not None:
                self.take(Elapsed(), later_s=self.life.retry_at - self.now)
        return self

    def wait_in_backoff(self) -> "OneLife":
        """Advance to a wait for the next attempt."""
        self.take(Bound())
        self.fail()
        number = self.life.of(Phase.IMPORTING)[0].number
        self.take(ImportFailed(number, REPORT), Exited(number, Exit(code=1)))
        return self

    def fail_for_good(self) -> "OneLife":
        """Fail until the app is tried slowly only, and wait for the next attempt."""
        self.take(Bound())
        self.fail(times=FAILURES_MAX)
        number = self.life.of(Phase.IMPORTING)[0].number
        self.take(ImportFailed(number, REPORT), Exited(number, Exit(code=1)))
        return self

    def numbers(self, *phases: Phase) -> list[int]:
        """Return the numbers of the workers in these phases, or of all."""
        return [w.number for w in self.life.workers if not phases or w.phase in phases]

    def worker(self, number: int) -> WorkerLife:
        """Return a worker that has not been reaped."""
        found = self.life.worker(number)
        assert found is not None
        return found

    @property
    def reason(self) -> str:
        """The reason why it doesn't serve, or why it has a warning."""
        assert self.life.cause is not None
        return self.life.cause.reason

    @property
    def refusal(self) -> str:
        """The reason why the last reload was refused."""
        assert self.life.refusal is not None
        return self.life.refusal.cause.reason
