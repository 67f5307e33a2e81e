"""When a check runs, and what its results amount to: pure, the time is an argument.

A check that has never passed fails at its first failure: nothing has shown that it can pass. One
that has passed fails after ``threshold`` failures in a row, and passes again at the first success.
A run that takes longer than its timeout counts as a failure, and as a further one after each
interval that it goes on; it is never started a second time beside that.
"""

from dataclasses import replace
from enum import StrEnum

from supervisor.values.records import dataclass
from supervisor.values.reports import Cause

OVERDUE_MARGIN_S = 1.0  # a check that ends by its own timeout is let report that itself


class CheckPhase(StrEnum):
    """What is known from the results of a check."""

    PENDING = "pending"  # there is no result yet
    PASSING = "passing"
    SUSPECT = "suspect"  # it failed, but not often enough to count
    FAILING = "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRule:
    """How often a check runs, how long it may take, how many failures in a row count."""

    interval_s: float
    timeout_s: float
    threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckState:
    """One check; times are monotonic seconds.

    ``since`` is when ``phase`` began, ``due_at`` when the next run starts. While a run is in
    progress, ``started_at`` is its start and ``overdue_at`` when it counts as a failure next.
    """

    since: float
    due_at: float
    phase: CheckPhase = CheckPhase.PENDING
    failures: int = 0  # in a row
    cause: Cause | None = None  # of the last failure, None after a success
    started_at: float | None = None
    overdue_at: float | None = None
    is_overdue: bool = False  # the run in progress has been counted as a failure


def new(now: float) -> CheckState:
    """Return the state of a check that is to run at once."""
    return CheckState(since=now, due_at=now)


def next_event_at(state: CheckState) -> float:
    """Return when the check wants attention: its next run, or the run in progress is overdue."""
    return state.due_at if state.overdue_at is None else state.overdue_at


def is_due(state: CheckState, now: float) -> bool:
    """Return whether a run is to be started: never while one is in progress."""
    return state.started_at is None and now >= state.due_at


def started(state: CheckState, rule: CheckRule, now: float) -> CheckState:
    """Return the state with a run in progress; raises ValueError while another one is."""
    if state.started_at is not None:
        raise ValueError("a run of this check is in progress already")
    return replace(
        state, started_at=now, overdue_at=now + rule.timeout_s + OVERDUE_MARGIN_S, is_overdue=False
    )


def finished(state: CheckState, rule: CheckRule, cause: Cause | None, now: float) -> CheckState:
    """Return the state after a run, which failed for ``cause``, or passed (None)."""
    due_at = _next_due(state.due_at, rule.interval_s, now)
    ended = replace(state, started_at=None, overdue_at=None, is_overdue=False, due_at=due_at)
    if cause is None:
        return _in_phase(replace(ended, failures=0, cause=None), CheckPhase.PASSING, now)
    if state.is_overdue:  # this run has been counted
        return replace(ended, cause=cause)
    return _failed(ended, rule, cause, now)


def elapsed(state: CheckState, rule: CheckRule, now: float) -> CheckState:
    """Return the state when time has passed: a run that takes too long counts as a failure."""
    if state.started_at is None or state.overdue_at is None or now < state.overdue_at:
        return state
    waited_s = round(now - state.started_at)
    cause = Cause(
        reason=f"still waiting after {waited_s} s; at most {rule.timeout_s:g} s are expected",
        hint="what it waits for is stuck: a network disk, a name server or a silent server",
    )
    overdue_at = _next_due(state.overdue_at, rule.interval_s, now)
    return _failed(replace(state, overdue_at=overdue_at, is_overdue=True), rule, cause, now)


def _failed(state: CheckState, rule: CheckRule, cause: Cause, now: float) -> CheckState:
    failures = state.failures + 1
    counts = state.phase in (CheckPhase.PENDING, CheckPhase.FAILING) or failures >= rule.threshold
    phase = CheckPhase.FAILING if counts else CheckPhase.SUSPECT
    return _in_phase(replace(state, failures=failures, cause=cause), phase, now)


def _in_phase(state: CheckState, phase: CheckPhase, now: float) -> CheckState:
    return state if state.phase is phase else replace(state, phase=phase, since=now)


def _next_due(due_at: float, interval_s: float, now: float) -> float:
    """Return the first time after ``now`` that is whole intervals after ``due_at``."""
    if now < due_at:
        return due_at
    found = due_at + interval_s * ((now - due_at) // interval_s + 1)
    return found if found > now else found + interval_s  # the quotient was rounded down
