"""One process of an app, taken step by step, for the tests of the tables."""

from typing import Any

from process_world import NOW, REPORT, middle

from supervisor.policy.backoff import FAILURES_MAX
from supervisor.policy.process_events import (
    Action,
    Bound,
    Elapsed,
    Exited,
    HeartbeatSeen,
    ImportFailed,
    ProcessEvent,
    Ready,
    Spawn,
    Spawned,
)
from supervisor.policy.process_state import Limits, ProcessState, WorkerPhase, WorkerState
from supervisor.policy.process_transitions import step
from supervisor.values.constants import HEARTBEAT_S
from supervisor.values.reports import Exit

IMPORT_S = 10.0
STOP_S = 8.0
HANG_S = 30.0
FIRST_PID = 4710  # of worker 1 that is 4711
CRASH = Exit(signal=11)
ENDED = Exit(code=0)


class ProcessCase:
    """A process and its time; forks succeed at once, and ``done`` has all that was to be done."""

    def __init__(self, **limits: Any) -> None:
        known = {"import_timeout_s": IMPORT_S, "stop_timeout_s": STOP_S, "hang_timeout_s": HANG_S}
        self.process = ProcessState(since=NOW, limits=Limits(**{**known, **limits}))
        self.now = NOW
        self.done: list[Action] = []

    def take(self, *events: ProcessEvent, later_s: float = 0.0) -> list[Action]:
        """Let ``events`` happen, after ``later_s``; returns what is to be done."""
        self.now += later_s
        asked: list[Action] = []
        for event in events:
            self.process, actions = step(self.process, event, self.now, middle)
            asked += actions
            for action in actions:
                if isinstance(action, Spawn) and self.process.worker(action.number) is not None:
                    forked = Spawned(action.number, FIRST_PID + action.number)
                    self.process, more = step(self.process, forked, self.now, middle)
                    assert more == ()
        self.done += asked
        return asked

    def up(self) -> "ProcessCase":
        """Bind the port, and let every worker be ready; ``done`` is forgotten."""
        self.take(Bound())
        self.ready()
        self.done.clear()
        return self

    def ready(self, *, later_s: float = 0.0) -> list[Action]:
        """Make all importing workers ready."""
        self.now += later_s
        return self.take(*(Ready(w.number) for w in self.process.of(WorkerPhase.IMPORTING)))

    def beat(self, *, later_s: float = 0.0) -> None:
        """Advance the clock; all workers that serve or are paused send heartbeats."""
        end = self.now + later_s
        while self.now < end:
            self.now = min(self.now + HEARTBEAT_S, end)
            for worker in self.process.of(WorkerPhase.READY, WorkerPhase.PAUSED):
                assert self.take(HeartbeatSeen(worker.number, at=self.now)) == []

    def fail(self, *, times: int = 1) -> "ProcessCase":
        """Let the import fail and its worker end, again and again, at the times that are due."""
        for _ in range(times):
            number = self.process.of(WorkerPhase.IMPORTING)[0].number
            self.take(ImportFailed(number, REPORT), Exited(number, Exit(code=1)))
            if self.process.retry_at is not None:
                self.take(Elapsed(), later_s=self.process.retry_at - self.now)
        return self

    def wait_in_backoff(self) -> "ProcessCase":
        """Come to wait for the next attempt."""
        self.take(Bound())
        self.fail()
        number = self.process.of(WorkerPhase.IMPORTING)[0].number
        self.take(ImportFailed(number, REPORT), Exited(number, Exit(code=1)))
        return self

    def fail_for_good(self) -> "ProcessCase":
        """Fail until the app is tried slowly only, and wait for the next attempt."""
        self.take(Bound())
        self.fail(times=FAILURES_MAX)
        number = self.process.of(WorkerPhase.IMPORTING)[0].number
        self.take(ImportFailed(number, REPORT), Exited(number, Exit(code=1)))
        return self

    def numbers(self, *phases: WorkerPhase) -> list[int]:
        """Return the numbers of the workers in these phases, or of all."""
        return [w.number for w in self.process.workers if not phases or w.phase in phases]

    def worker(self, number: int) -> WorkerState:
        """Return a worker that has not been reaped."""
        found = self.process.worker(number)
        assert found is not None
        return found

    @property
    def reason(self) -> str:
        """Why it doesn't serve, or not as it should."""
        assert self.process.cause is not None
        return self.process.cause.reason

    @property
    def refusal(self) -> str:
        """Why the last reload was refused."""
        assert self.process.refusal is not None
        return self.process.refusal.cause.reason
