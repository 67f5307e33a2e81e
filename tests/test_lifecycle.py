"""The life of an app, step by step: every pair of the table and what it leaves behind."""

from dataclasses import replace
from typing import Any

import pytest

from supervisor import lifecycle
from supervisor.life import (
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
    EXIT_GRACE_S,
    IMPORT_KILL_AFTER_S,
    IllegalTransition,
    step,
)
from supervisor.model import AppState, Cause, Exit, ImportReport
from supervisor.restart import CHANGES_MAX, FAILED_DELAY_S, FAILURES_MAX, STABLE_S

NOW = 1000.0
TIMEOUT_S = 10.0
PID = 4711
GENERATION = 7
CRASH = Exit(signal=11)
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


def make(state: AppState, **changes: Any) -> Life:
    """Give a life that has come to ``state`` at `NOW`, as `step` would have made it."""
    life = Life(since=NOW, import_timeout_s=TIMEOUT_S, state=state)
    if state is not AppState.BLOCKED:
        life = replace(life, generation=GENERATION, unserved_since=NOW)
    if state is AppState.STARTING:
        kill_at = NOW + TIMEOUT_S + IMPORT_KILL_AFTER_S
        life = replace(life, pid=PID, kill_at=kill_at)
    if state is AppState.READY:
        life = replace(life, pid=PID, unserved_since=None)
    if state in (AppState.BACKOFF, AppState.FAILED):
        history = life.history
        for _ in range(2 if state is AppState.BACKOFF else FAILURES_MAX + 1):
            history = history.after_failure(NOW)
        retry_at = NOW + history.delay_s(middle)
        life = replace(life, history=history, retry_at=retry_at, cause=REPORT.cause)
    return replace(life, **changes)


def after(life: Life, *events: LifeEvent, now: float = NOW) -> Life:
    """Give the life after ``events``, whose actions don't matter."""
    for event in events:
        life, _ = step(life, event, now, middle)
    return life


# ---- the table

EVENTS: list[LifeEvent] = [
    Bound(),
    BindFailed(IN_USE),
    Spawned(PID),
    SpawnFailed(NO_FORK),
    ImportFailed(GENERATION, REPORT),
    Ready(GENERATION),
    Exited(GENERATION, CRASH),
    FilesChanged(),
    Elapsed(),
]
B, S, R, W, F = (
    AppState.BLOCKED,
    AppState.STARTING,
    AppState.READY,
    AppState.BACKOFF,
    AppState.FAILED,
)
NEXT = Spawn(GENERATION + 1)
LATE = TIMEOUT_S + IMPORT_KILL_AFTER_S
# state, event, seconds since `make`: the state afterwards, the actions
TABLE = [
    (B, Bound(), 0, S, (Spawn(1),)),
    (B, BindFailed(IN_USE), 0, B, ()),
    (B, FilesChanged(), 0, B, ()),
    (B, Elapsed(), 999, B, ()),
    (S, Spawned(PID), 0, S, ()),
    (S, SpawnFailed(NO_FORK), 0, S, (NEXT,)),
    (S, ImportFailed(GENERATION, REPORT), 1, S, ()),
    (S, Ready(GENERATION), 1, R, ()),
    (S, Exited(GENERATION, CRASH), 1, S, (NEXT,)),
    (S, FilesChanged(), 1, S, (Kill(PID),)),
    (S, Elapsed(), LATE - 0.1, S, ()),
    (S, Elapsed(), LATE, S, (Kill(PID),)),
    (R, Exited(GENERATION, CRASH), STABLE_S - 0.1, S, (NEXT,)),
    (R, Exited(GENERATION, CRASH), STABLE_S, S, (NEXT,)),
    (R, FilesChanged(), 1, R, ()),
    (R, Elapsed(), 999, R, ()),
    (W, FilesChanged(), 0, S, (NEXT,)),
    (W, Elapsed(), 0.4, W, ()),
    (W, Elapsed(), 0.5, S, (NEXT,)),
    (W, Elapsed(), 999, S, (NEXT,)),
    (F, FilesChanged(), 0, S, (NEXT,)),
    (F, Elapsed(), FAILED_DELAY_S - 0.1, F, ()),
    (F, Elapsed(), FAILED_DELAY_S, S, (NEXT,)),
]


@pytest.mark.parametrize(("state", "event", "later_s", "expected", "actions"), TABLE)
def test_the_table(
    state: AppState,
    event: LifeEvent,
    later_s: float,
    expected: AppState,
    actions: tuple[lifecycle.Action, ...],
) -> None:
    """Each event leads from each state to the next one, and asks for exactly these actions."""
    life, done = step(make(state), event, NOW + later_s, middle)
    assert life.state is expected
    assert done == actions


def test_the_tests_know_the_whole_table() -> None:
    """A pair that is added to the table has to be added to the test; operators have their own."""
    asked = {StartAsked, StopAsked, RestartAsked}
    pairs = {
        (state, event)
        for state, event in lifecycle._TABLE
        if event not in asked and state is not AppState.STOPPED
    }
    assert {(state, type(event)) for state, event, *_ in TABLE} == pairs


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (state, event)
        for state in AppState
        for event in EVENTS
        if (state, type(event)) not in lifecycle._TABLE
    ],
)
def test_any_other_pair_raises(state: AppState, event: LifeEvent) -> None:
    """An event that can't come in a state is a defect, and says which pair it was."""
    life = replace(make(state), generation=GENERATION)
    with pytest.raises(IllegalTransition, match=f"{type(event).__name__} in state {state}"):
        step(life, event, NOW, middle)


@pytest.mark.parametrize("state", AppState)
@pytest.mark.parametrize("generation", [GENERATION - 1, GENERATION + 1])
def test_another_generation_changes_nothing(state: AppState, generation: int) -> None:
    """What a worker of another generation says is ignored in every state."""
    life = replace(make(state), generation=GENERATION)
    for event in (
        ImportFailed(generation, REPORT),
        Ready(generation),
        Exited(generation, CRASH),
    ):
        assert step(life, event, NOW + 999, middle) == (life, ())


# ---- what the steps leave behind


def test_a_bound_port_waits_for_its_worker() -> None:
    """The first worker has generation 1, and from then on the port counts as not served."""
    life = after(make(B, cause=IN_USE), Bound(), now=NOW + 5)
    assert (life.generation, life.pid, life.cause) == (1, None, None)
    assert life.unserved_since == life.since == NOW + 5
    assert after(life, Spawned(PID)).pid == PID


def test_a_blocked_port_says_why() -> None:
    """The cause of a failed bind is shown; the port isn't one the stand-in could answer."""
    life = after(make(B), BindFailed(IN_USE), now=NOW + 99)
    assert life.cause == IN_USE
    assert not wants_stand_in(life, NOW + 999)
    assert next_wakeup(life, NOW) is None


def test_ready_clears_what_was() -> None:
    """A worker that serves has no cause, no deadline, and its port is served."""
    life = after(make(S, cause=REPORT.cause), Ready(GENERATION), now=NOW + 2)
    assert (life.cause, life.kill_at, life.unserved_since) == (None, None, None)
    assert life.since == NOW + 2
    assert life.pid == PID
    assert next_wakeup(life, NOW + 2) is None


def test_a_failed_import_is_the_cause_of_the_exit() -> None:
    """The report is shown at once, and its worker's exit code doesn't hide it."""
    life = after(make(S), ImportFailed(GENERATION, REPORT))
    assert life.cause == REPORT.cause
    assert life.kill_at == NOW + EXIT_GRACE_S
    life = after(life, Exited(GENERATION, Exit(code=1)))
    assert life.cause == REPORT.cause


def test_a_worker_that_does_not_end_is_killed() -> None:
    """A worker whose import failed gets a few seconds to end, then SIGKILL, once."""
    life = after(make(S), ImportFailed(GENERATION, REPORT))
    life, actions = step(life, Elapsed(), NOW + EXIT_GRACE_S, middle)
    assert actions == (Kill(PID),)
    assert life.cause == REPORT.cause
    assert step(life, Elapsed(), NOW + 999, middle) == (life, ())


def test_an_import_that_hangs_names_its_limit() -> None:
    """The cause of a killed import is the limit, and not the signal we sent."""
    life = after(make(S), Elapsed(), now=NOW + LATE)
    life = after(life, Exited(GENERATION, Exit(signal=9)), now=NOW + LATE)
    assert life.cause is not None
    assert life.cause.reason.startswith("the import took longer than 10 s")


@pytest.mark.parametrize(
    ("exit_", "text"),
    [(Exit(code=3), "exit code 3"), (Exit(signal=11), "SIGSEGV"), (Exit(signal=9), "SIGKILL")],
)
@pytest.mark.parametrize("state", [S, R])
def test_an_exit_says_how(state: AppState, exit_: Exit, text: str) -> None:
    """The cause of an exit names the exit code or the signal."""
    life = after(make(state), Exited(GENERATION, exit_))
    assert life.cause is not None
    assert text in life.cause.reason
    assert life.restarts == 1


def test_an_app_that_fails_again_and_again_waits_longer() -> None:
    """Failure by failure: at once, 0.5, 1, 2, 4 s later, and then as `failed` every minute."""
    life, now, seen = after(make(B), Bound()), NOW, []
    for _ in range(8):
        life = after(life, Spawned(PID), Exited(life.generation, CRASH), now=now)
        if life.retry_at is None:
            seen.append((life.state, 0.0))
        else:
            seen.append((life.state, round(life.retry_at - now, 3)))
            now = life.retry_at
            life = after(life, Elapsed(), now=now)
    assert seen == [(S, 0), (W, 0.5), (W, 0.9), (W, 1.8), (W, 3.6), *[(F, 60)] * 3]


def test_a_change_during_an_import_begins_it_anew() -> None:
    """What the import reads is a mixture of old and new files, so that it's started again."""
    life = after(make(S), FilesChanged())
    life, actions = step(life, Exited(GENERATION, Exit(signal=9)), NOW, middle)
    assert actions == (NEXT,)


@pytest.mark.parametrize("failures", [1, 2, FAILURES_MAX + 3])
def test_a_change_after_the_report_is_not_lost(failures: int) -> None:
    """Files that change while the worker of a failed import ends are tried as soon as it has."""
    life = make(S)
    for _ in range(failures):
        life = replace(life, history=life.history.after_failure(NOW))
    life = after(life, ImportFailed(GENERATION, REPORT), FilesChanged())
    life, actions = step(life, Exited(GENERATION, Exit(code=1)), NOW + 1, middle)
    assert actions == (NEXT,)


@pytest.mark.parametrize("state", [S, W, F])
def test_an_import_that_rewrites_its_files_does_not_run_for_ever(state: AppState) -> None:
    """More than 20 changes in a minute are no reason for a new attempt."""
    life = make(state)
    history = life.history
    for _ in range(CHANGES_MAX):
        history = history.after_change(NOW) or history
    life = replace(life, history=history)
    assert step(life, FilesChanged(), NOW, middle) == (life, ())
