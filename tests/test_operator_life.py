"""What an operator's start, stop and restart mean in each state of an app's life."""

from dataclasses import replace
from typing import Any

import pytest

from supervisor.life import (
    STAND_IN_AFTER_S,
    Action,
    BindFailed,
    Bound,
    Drain,
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
    wants_stand_in,
)
from supervisor.lifecycle import (
    DRAIN_MARGIN_S,
    IMPORT_KILL_AFTER_S,
    IllegalTransition,
    step,
)
from supervisor.model import AppState, Cause, Exit, ImportReport
from supervisor.restart import FAILURES_MAX, History

NOW = 1000.0
STOP_S = 10.0
IMPORT_S = 120.0
PID = 4711
GENERATION = 7
ENDED = Exit(code=0)
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
OPERATOR = (StartAsked(), StopAsked(), RestartAsked())


def middle() -> float:
    """Be a random source that is always the same."""
    return 0.5


def make(state: AppState, **changes: Any) -> Life:
    """Give a life that came to ``state`` a second before `NOW`, as `step` would have made it."""
    since = NOW - 1
    life = Life(since=since, import_timeout_s=IMPORT_S, stop_timeout_s=STOP_S, state=state)
    if state is not AppState.BLOCKED:
        life = replace(life, generation=GENERATION, unserved_since=since)
    if state is AppState.STARTING:
        life = replace(life, pid=PID, kill_at=since + IMPORT_S + IMPORT_KILL_AFTER_S)
    if state is AppState.READY:
        life = replace(life, pid=PID, unserved_since=None)
    if state in (AppState.BACKOFF, AppState.FAILED):
        history = History()
        for _ in range(2 if state is AppState.BACKOFF else FAILURES_MAX + 1):
            history = history.after_failure(since)
        retry_at = since + history.delay_s(middle) + 5
        life = replace(life, history=history, retry_at=retry_at, cause=REPORT.cause)
    return replace(life, **changes)


def after(life: Life, *events: LifeEvent, now: float = NOW) -> tuple[Life, list[Action]]:
    """Give the life after ``events``, and all that was to be done."""
    done: list[Action] = []
    for event in events:
        life, actions = step(life, event, now, middle)
        done += actions
    return life, done


# ---- stop


@pytest.mark.parametrize(
    ("state", "actions"),
    [
        (AppState.BLOCKED, []),
        (AppState.STARTING, [Kill(PID)]),
        (AppState.READY, [Drain(PID)]),
        (AppState.BACKOFF, []),
        (AppState.FAILED, []),
    ],
)
def test_stop_ends_the_worker_and_forgets_the_plans(state: AppState, actions: list[Action]) -> None:
    """A serving worker is drained, an importing one killed; nothing is planned any more."""
    before = make(state)
    life, done = after(before, StopAsked())
    assert done == actions
    assert life.state is AppState.STOPPED
    assert life.since == NOW
    assert life.retry_at is None
    assert life.history == History()
    assert life.cause is not None
    assert life.cause.reason == "stopped by an operator"
    assert life.cause.hint
    assert life.pid == before.pid
    expected = None if before.pid is None else NOW + STOP_S + DRAIN_MARGIN_S
    assert next_wakeup(life, NOW) == expected


@pytest.mark.parametrize("state", [s for s in AppState if s is not AppState.BLOCKED])
def test_a_stopped_app_is_answered_by_the_stand_in_at_once(state: AppState) -> None:
    """The second that a port may stay without an answer is not waited for."""
    life, _ = after(make(state), StopAsked())
    assert wants_stand_in(life, NOW)


def test_a_stopped_app_without_a_port_has_no_stand_in() -> None:
    """There is nothing to answer on before the port is bound, and no worker after that either."""
    life, _ = after(make(AppState.BLOCKED), StopAsked())
    assert not wants_stand_in(life, NOW + 5)
    life, done = after(life, BindFailed(IN_USE), Bound(), Elapsed(), now=NOW + 5)
    assert life.state is AppState.STOPPED
    assert done == []
    assert wants_stand_in(life, NOW + 5)
    assert after(life, StartAsked())[1] == [Spawn(1)]


def test_stop_twice_changes_nothing() -> None:
    """The second stop neither prolongs the worker's time nor renews the age of the state."""
    life, _ = after(make(AppState.READY), StopAsked())
    again, done = after(life, StopAsked(), now=NOW + 3)
    assert again == life
    assert done == []


@pytest.mark.parametrize("late", [Ready(GENERATION), ImportFailed(GENERATION, REPORT)])
def test_what_a_stopped_worker_still_says_changes_nothing(late: LifeEvent) -> None:
    """A worker that was killed in its import may have become ready just before."""
    life, _ = after(make(AppState.STARTING), StopAsked())
    assert after(life, late) == (life, [])


def test_the_end_of_a_stopped_worker_starts_nothing() -> None:
    """However often time goes by and files change afterwards, it stays stopped."""
    life, done = after(make(AppState.READY), StopAsked(), Exited(GENERATION, ENDED))
    assert done == [Drain(PID)]
    assert life.pid is None
    assert next_wakeup(life, NOW) is None
    later = after(life, FilesChanged(), Elapsed(), FilesChanged(), now=NOW + 4000)
    assert later == (life, [])


# ---- start


@pytest.mark.parametrize("state", [AppState.BLOCKED, AppState.STARTING, AppState.READY])
def test_start_leaves_alone_what_is_on_its_way(state: AppState) -> None:
    """An app that serves, is being imported, or waits for its port, has nothing to start."""
    life = make(state)
    assert after(life, StartAsked()) == (life, [])


@pytest.mark.parametrize("state", [AppState.BACKOFF, AppState.FAILED])
@pytest.mark.parametrize("event", [StartAsked(), RestartAsked()])
def test_a_failed_app_is_started_without_the_wait(state: AppState, event: LifeEvent) -> None:
    """What was counted is forgotten, so that the next failure isn't the tenth."""
    life, done = after(make(state), event)
    assert done == [Spawn(GENERATION + 1)]
    assert life.state is AppState.STARTING
    assert life.history == History()
    assert life.retry_at is None


@pytest.mark.parametrize("event", [StartAsked(), RestartAsked()])
def test_a_stopped_app_is_started(event: LifeEvent) -> None:
    """With its worker gone, the next one is forked at once and the reason is forgotten."""
    life, done = after(make(AppState.READY), StopAsked(), Exited(GENERATION, ENDED), event)
    assert done == [Drain(PID), Spawn(GENERATION + 1)]
    assert life.state is AppState.STARTING
    assert life.cause is None


@pytest.mark.parametrize("event", [StartAsked(), RestartAsked()])
def test_start_while_the_stopped_worker_still_drains(event: LifeEvent) -> None:
    """The worker is not told twice; the next one is forked when it has ended."""
    life, done = after(make(AppState.READY), StopAsked(), event)
    assert done == [Drain(PID)]
    life, done = after(life, Exited(GENERATION, ENDED), now=NOW + 3)
    assert done == [Spawn(GENERATION + 1)]
    assert life.history == History()


@pytest.mark.parametrize("event", [StartAsked(), RestartAsked()])
def test_start_of_a_stopped_app_without_a_port_waits_for_it(event: LifeEvent) -> None:
    """It is blocked as before, and started as soon as the port is bound."""
    life, done = after(make(AppState.BLOCKED), StopAsked(), event)
    assert done == []
    assert life.state is AppState.BLOCKED
    assert after(life, Bound())[1] == [Spawn(1)]


# ---- restart


@pytest.mark.parametrize(
    ("state", "told"), [(AppState.READY, Drain(PID)), (AppState.STARTING, Kill(PID))]
)
def test_restart_ends_the_worker_and_starts_the_next(state: AppState, told: Action) -> None:
    """It counts as a restart, not as a failure, however the worker ended."""
    life, done = after(make(state), RestartAsked())
    assert done == [told]
    assert life.state is AppState.STARTING
    assert next_wakeup(life, NOW + STAND_IN_AFTER_S) == NOW + STOP_S + DRAIN_MARGIN_S
    life, done = after(life, Exited(GENERATION, Exit(signal=9)), now=NOW + 1)
    assert done == [Spawn(GENERATION + 1)]
    assert life.restarts == 1
    assert life.history == History()


def test_restart_of_a_blocked_app_starts_nothing() -> None:
    """Without a port there is nothing to start."""
    life = make(AppState.BLOCKED)
    assert after(life, RestartAsked()) == (life, [])


def test_restart_twice_is_one_restart() -> None:
    """The second operator's wish is fulfilled by what is under way."""
    life, _ = after(make(AppState.READY), RestartAsked())
    assert after(life, RestartAsked(), StartAsked(), now=NOW + 3) == (life, [])


@pytest.mark.parametrize(
    "late", [Ready(GENERATION), ImportFailed(GENERATION, REPORT), FilesChanged()]
)
def test_what_comes_while_the_old_worker_ends_changes_nothing(late: LifeEvent) -> None:
    """What is said by, or of, a worker that is being replaced is of no interest."""
    life, _ = after(make(AppState.STARTING), RestartAsked())
    assert after(life, late) == (life, [])


def test_stop_during_a_restart() -> None:
    """The worker has been told to end already, and nothing is started after it."""
    life, done = after(make(AppState.READY), RestartAsked(), StopAsked())
    assert done == [Drain(PID)]
    life, done = after(life, Exited(GENERATION, ENDED))
    assert done == []
    assert life.state is AppState.STOPPED


# ---- a worker that doesn't end


@pytest.mark.parametrize("event", [StopAsked(), RestartAsked()])
def test_a_worker_that_does_not_end_is_killed_once(event: LifeEvent) -> None:
    """Not before its time is over, and then once."""
    life, _ = after(make(AppState.READY), event)
    over = NOW + STOP_S + DRAIN_MARGIN_S
    assert after(life, Elapsed(), now=over - 0.01) == (life, [])
    life, done = after(life, Elapsed(), now=over)
    assert done == [Kill(PID)]
    assert after(life, Elapsed(), now=over + 1) == (life, [])


@pytest.mark.parametrize("first", [StopAsked(), RestartAsked()])
def test_asking_again_does_not_prolong_a_workers_time(first: LifeEvent) -> None:
    """Its time counts from when it was told to end, whatever operators ask for meanwhile."""
    life, _ = after(make(AppState.READY), first)
    for later_s, event in ((4, StartAsked()), (6, StopAsked()), (8, RestartAsked())):
        life, _ = after(life, event, now=NOW + later_s)
    assert after(life, Elapsed(), now=NOW + STOP_S + DRAIN_MARGIN_S)[1] == [Kill(PID)]


# ---- the table as a whole


@pytest.mark.parametrize("state", AppState)
@pytest.mark.parametrize("event", [*OPERATOR, Elapsed(), FilesChanged()])
def test_what_may_come_at_any_time_is_known_in_every_state(
    state: AppState, event: LifeEvent
) -> None:
    """Operators, clocks and files don't ask for the state before they act."""
    life, _ = after(make(state), event)
    wakeup = next_wakeup(life, NOW)
    assert wakeup is None or wakeup > NOW


@pytest.mark.parametrize("event", [Spawned(PID), SpawnFailed(NO_FORK)])
def test_a_stopped_app_has_no_worker_to_come(event: LifeEvent) -> None:
    """A fork is answered at once, so no stop can come between: that would be a defect."""
    with pytest.raises(IllegalTransition):
        after(make(AppState.STOPPED), event)
