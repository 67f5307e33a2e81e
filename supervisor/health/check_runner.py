"""Runs checks while the apps run: each in a thread of its own, so that none delays another.

A check has at most one thread, and that only while it runs: one that hangs, on a dead network disk,
a silent server or a name server, is not started again, and its thread is the only thing it costs.
When it is due and how its results count is decided by `supervisor.policy.check_state`.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from supervisor.policy import check_state
from supervisor.policy.check_documents import PENDING
from supervisor.policy.check_state import CheckPhase, CheckRule, CheckState
from supervisor.values.reports import Cause

# More than 64 checks that hang at the same time: each further one fails until one of them ends.
THREADS_MAX = 64
_FULL_WAIT_S = 0.1  # for a thread to end, before a check that is due is looked at again


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Something to be checked while the apps run; ``app`` is None for what all of them require.

    ``run`` returns why it fails, or None; it may block, in a thread of its own. Two checks are the
    same if all but ``run`` is equal: ``definition`` is what ``run`` was made from.
    """

    name: str
    app: str | None
    critical: bool
    rule: CheckRule
    definition: Any
    run: Callable[[], Cause | None] = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """What is known of a check; ``cause`` is None while it passes, and while a failure is new."""

    name: str
    app: str | None
    critical: bool
    phase: CheckPhase
    since: float  # monotonic seconds
    failures: int
    cause: Cause | None


class CheckRunner(threading.Thread):
    """Runs the checks that `set` names, for ever.

    ``on_change`` is called, in this thread, after a check's phase or cause has changed. The methods
    are safe to call from any thread, and never wait for a check.
    """

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        super().__init__(name="checks", daemon=True)
        self._on_change = on_change
        self._condition = threading.Condition()
        self._checks: dict[str, Check] = {}
        self._states: dict[str, CheckState] = {}
        self._running: dict[str, Check] = {}  # in a thread now, also when it is wanted no more
        self._last_news: list[tuple[Any, ...]] = []  # as of the last call of `on_change`
        self._stopped = False

    def set(self, checks: Sequence[Check]) -> None:
        """Run exactly these checks; those that were there before keep what is known of them."""
        with self._condition:
            now = time.monotonic()
            before, self._checks = self._checks, {check.name: check for check in checks}
            self._states = {
                name: self._states[name] if before.get(name) == check else self._first(check, now)
                for name, check in self._checks.items()
            }
            self._condition.notify()

    def stop(self) -> None:
        """Start no check any more, and end this thread; those that run are left alone."""
        with self._condition:
            self._stopped = True
            self._condition.notify()

    def outcomes(self) -> list[CheckOutcome]:
        """Return what is known of each check, in the order of `set`."""
        with self._condition:
            return [outcome_of(check, self._states[name]) for name, check in self._checks.items()]

    def documents(self) -> dict[str, dict[str, Any]]:
        """Return the health documents of the checks, by name."""
        now = time.monotonic()
        return {one.name: document_of(one, now) for one in self.outcomes()}

    def run(self) -> None:
        """Start each check when it is due, and count those that are overdue."""
        while True:
            with self._condition:
                if self._stopped:
                    return
                self._wait()
                self._act(time.monotonic())
                changed = self._has_changed()
            if changed:
                self._on_change()

    # ---- with the lock held

    def _first(self, check: Check, now: float) -> CheckState:
        """Return the first state of a check; one that still runs from before is not run twice."""
        state = check_state.new(now)
        if self._running.get(check.name) == check:
            return check_state.started(state, check.rule, now)
        return state

    def _wait(self) -> None:
        wait_s = self._wait_s(time.monotonic())
        if wait_s is None or wait_s > 0:
            self._condition.wait(wait_s)

    def _wait_s(self, now: float) -> float | None:
        times = [check_state.next_event_at(state) for state in self._states.values()]
        return min(times) - now if times else None

    def _act(self, now: float) -> None:
        if self._stopped:
            return
        for name, check in self._checks.items():
            state = check_state.elapsed(self._states[name], check.rule, now)
            if check_state.is_due(state, now) and self._is_full_for_now():
                state = replace(state, due_at=now + _FULL_WAIT_S)
            elif check_state.is_due(state, now):
                state = check_state.started(state, check.rule, now)
                problem = self._start(check)
                if problem is not None:
                    state = check_state.finished(state, check.rule, problem, now)
            self._states[name] = state

    def _is_full_for_now(self) -> bool:
        """Return whether all threads are busy, but one may soon end: its check is not overdue."""
        if len(self._running) < THREADS_MAX:
            return False
        states = [self._states.get(name) for name in self._running]
        return any(state is not None and not state.is_overdue for state in states)

    def _start(self, check: Check) -> Cause | None:
        """Run a check in a thread; return why that can't be done now."""
        if check.name in self._running:
            return Cause(
                reason="not checked: its run from before the configuration changed is stuck",
                hint="end what it waits for, or restart the service",
            )
        if len(self._running) >= THREADS_MAX:
            return Cause(
                reason=f"not checked: {len(self._running)} checks are stuck",
                hint="end what they wait for, or restart the service",
            )
        thread = threading.Thread(
            target=self._run, args=(check,), name=f"check {check.name}", daemon=True
        )
        self._running[check.name] = check
        try:
            thread.start()
        except RuntimeError as error:  # the machine has no thread left
            del self._running[check.name]
            return Cause(reason=f"not checked: {error}", hint="see TasksMax= and `ulimit -u`")
        return None

    def _has_changed(self) -> bool:
        before = self._last_news
        self._last_news = [
            _news(outcome_of(check, self._states[name])) for name, check in self._checks.items()
        ]
        return self._last_news != before

    # ---- in the thread of a check

    def _run(self, check: Check) -> None:
        try:
            cause = check.run()
        except Exception as error:  # noqa: BLE001 - the end of a thread: reported as its result
            cause = Cause(
                reason=f"the check itself failed: {type(error).__name__}",
                hint="this is a fault of flask-supervisor: report it",
            )
        with self._condition:
            del self._running[check.name]
            state = self._states.get(check.name)
            is_same = self._checks.get(check.name) == check  # another may have its name by now
            if state is not None and is_same and state.started_at is not None:
                now = time.monotonic()
                self._states[check.name] = check_state.finished(state, check.rule, cause, now)
            self._condition.notify()


def outcome_of(check: Check, state: CheckState) -> CheckOutcome:
    """Return what the state of a check says."""
    return CheckOutcome(
        name=check.name,
        app=check.app,
        critical=check.critical,
        phase=state.phase,
        since=state.since,
        failures=state.failures,
        cause=state.cause if state.phase is CheckPhase.FAILING else None,
    )


def document_of(outcome: CheckOutcome, now: float) -> dict[str, Any]:
    """Return the health document of one check."""
    reason, hint = (
        (outcome.cause.reason, outcome.cause.hint) if outcome.cause is not None else (None, None)
    )
    status = "pass"
    if outcome.phase is CheckPhase.FAILING:
        status = "fail" if outcome.critical else "warn"
    elif outcome.phase is CheckPhase.PENDING:
        status, reason = "warn", PENDING
    return {
        "status": status,
        "reason": reason,
        "hint": hint,
        "critical": outcome.critical,
        "app": outcome.app,
        "age_s": round(now - outcome.since, 1),
        "failures": outcome.failures,
    }


def _news(result: CheckOutcome) -> tuple[Any, ...]:
    return (result.name, result.critical, result.phase, result.cause)
