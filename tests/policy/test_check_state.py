"""When a check runs and what its results amount to: a table, and properties over any history."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.policy import check_state
from supervisor.policy.check_state import OVERDUE_MARGIN_S, CheckPhase, CheckRule, CheckState
from supervisor.values.reports import Cause

RULE = CheckRule(interval_s=30.0, timeout_s=5.0, threshold=3)
BROKEN = Cause(reason="broken")
PENDING, PASSING, SUSPECT, FAILING = CheckPhase


def run(state: CheckState, cause: Cause | None, rule: CheckRule = RULE) -> CheckState:
    """Return the state after a run at its time, which takes no time."""
    now = state.due_at
    return check_state.finished(check_state.started(state, rule, now), rule, cause, now)


def after(results: str, rule: CheckRule = RULE) -> CheckState:
    """Return the state after runs: ``+`` passes, ``-`` fails."""
    state = check_state.new(0.0)
    for result in results:
        state = run(state, None if result == "+" else BROKEN, rule)
    return state


@pytest.mark.parametrize(
    ("results", "phase", "failures"),
    [
        ("", PENDING, 0),
        ("+", PASSING, 0),
        ("-", FAILING, 1),  # nothing has shown that it can pass
        ("--", FAILING, 2),
        ("+-", SUSPECT, 1),
        ("+--", SUSPECT, 2),
        ("+---", FAILING, 3),
        ("+----", FAILING, 4),
        ("+--+", PASSING, 0),
        ("+--+--", SUSPECT, 2),  # flapping below the threshold
        ("+---+", PASSING, 0),
        ("+---+-", SUSPECT, 1),
        ("-+-", SUSPECT, 1),
    ],
)
def test_results_amount_to(results: str, phase: CheckPhase, failures: int) -> None:
    """The phase and the number of failures in a row, after each kind of history."""
    state = after(results)
    assert (state.phase, state.failures) == (phase, failures)
    assert (state.cause is None) is (failures == 0)


def test_a_threshold_of_one() -> None:
    """Each failure counts at once, each success too."""
    rule = CheckRule(interval_s=1.0, timeout_s=1.0, threshold=1)
    assert [after(results, rule).phase for results in ("+-", "+-+", "+-+-")] == [
        FAILING,
        PASSING,
        FAILING,
    ]


def test_a_phase_knows_when_it_began() -> None:
    """Further results of the same kind change nothing of that."""
    failing = after("+---")
    assert failing.since == 90.0
    assert run(run(failing, BROKEN), BROKEN).since == 90.0


def test_a_run_that_hangs() -> None:
    """Overdue after timeout and margin, then once per interval; it ends with its own result."""
    state = check_state.started(after("+"), RULE, 30.0)
    assert check_state.next_event_at(state) == 30.0 + 5.0 + OVERDUE_MARGIN_S
    assert check_state.elapsed(state, RULE, 35.9) is state
    first = check_state.elapsed(state, RULE, 36.0)
    assert (first.phase, first.failures) == (SUSPECT, 1)
    assert first.cause is not None
    assert first.cause.reason == "still waiting after 6 s; at most 5 s are expected"
    assert check_state.next_event_at(first) == 66.0
    third = check_state.elapsed(check_state.elapsed(first, RULE, 66.0), RULE, 96.0)
    assert (third.phase, third.failures) == (FAILING, 3)
    assert third.cause is not None
    assert "still waiting after 66 s" in third.cause.reason
    assert not check_state.is_due(third, 1000.0)
    passed = check_state.finished(third, RULE, None, 100.0)
    assert (passed.phase, passed.failures, passed.due_at) == (PASSING, 0, 120.0)
    failed = check_state.finished(third, RULE, BROKEN, 100.0)
    assert (failed.phase, failed.failures, failed.cause) == (FAILING, 3, BROKEN)


def test_the_first_run_of_all_hangs() -> None:
    """What has never passed is failing as soon as it is overdue."""
    state = check_state.elapsed(check_state.started(check_state.new(0.0), RULE, 0.0), RULE, 6.0)
    assert state.phase is FAILING


def test_no_second_run_beside_the_first() -> None:
    """Whoever tries is told."""
    state = check_state.started(check_state.new(0.0), RULE, 0.0)
    with pytest.raises(ValueError, match="in progress"):
        check_state.started(state, RULE, 40.0)


def test_runs_keep_their_rhythm() -> None:
    """A run that starts late or takes long moves nothing; whole intervals are left out."""
    state = check_state.started(check_state.new(0.0), RULE, 2.0)
    assert check_state.finished(state, RULE, None, 7.0).due_at == 30.0
    assert check_state.finished(state, RULE, None, 65.0).due_at == 90.0
    assert check_state.finished(state, RULE, None, 30.0).due_at == 60.0


STEPS = st.lists(
    st.tuples(st.sampled_from(["tick", "pass", "fail"]), st.floats(0.0, 200.0)), max_size=60
)
RULES = st.builds(
    CheckRule,
    interval_s=st.floats(0.1, 100.0),
    timeout_s=st.floats(0.1, 100.0),
    threshold=st.integers(1, 5),
)


@given(rule=RULES, steps=STEPS)
def test_any_history(rule: CheckRule, steps: list[tuple[str, float]]) -> None:
    """What holds whatever happens, in whatever order and at whatever times."""
    now, state = 0.0, check_state.new(0.0)
    has_passed = False
    for event, wait_s in steps:
        now += wait_s
        if check_state.is_due(state, now):
            state = check_state.started(state, rule, now)
        before = state
        state = check_state.elapsed(state, rule, now)
        assert state.phase is not before.phase or state.since == before.since
        before = state
        if event != "tick" and state.started_at is not None:
            state = check_state.finished(state, rule, None if event == "pass" else BROKEN, now)
            has_passed |= event == "pass"
            assert state.due_at > now
            assert (state.phase is PASSING) is (event == "pass")
        assert state.started_at is None or check_state.next_event_at(state) > now
        assert (state.failures == 0) is (state.phase in (PENDING, PASSING))
        assert (state.cause is None) is (state.failures == 0)
        if state.phase is SUSPECT:
            assert has_passed
            assert state.failures < rule.threshold
        if state.phase is FAILING:
            assert before.phase is FAILING or not has_passed or state.failures >= rule.threshold
        assert state.since <= now
        assert state.phase is not before.phase or state.since == before.since
