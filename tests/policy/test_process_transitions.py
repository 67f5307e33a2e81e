"""Both tables of an app's process: every pair, what it leads to, and that any other raises."""

from collections.abc import Callable

import pytest
from process_case import CRASH, ENDED, IMPORT_S, STOP_S, ProcessCase
from process_world import IN_USE, NO_FORK, REPORT

from supervisor.policy import process_transitions, worker_transitions
from supervisor.policy.backoff import FAILED_DELAY_S, STABLE_S
from supervisor.policy.generations import DRAIN_MARGIN_S, EXIT_GRACE_S, IMPORT_KILL_AFTER_S
from supervisor.policy.illegal_transition import IllegalTransition
from supervisor.policy.process_events import (
    Action,
    AppFailed,
    AppJoined,
    BindFailed,
    Bound,
    Drain,
    Elapsed,
    Exited,
    FallbackKnown,
    FilesChanged,
    FilesDiffer,
    GaveUp,
    HeartbeatSeen,
    Held,
    ImportAt,
    ImportFailed,
    Importing,
    Kill,
    LifecycleEvent,
    Pause,
    PauseConfirmed,
    Ready,
    Released,
    ReloadAsked,
    ReloadRefused,
    RestartAsked,
    Spawn,
    Spawned,
    SpawnFailed,
    StartAsked,
    StopAsked,
    UsageReported,
    WorkerEvent,
)
from supervisor.policy.process_state import Refusal, WorkerPhase, next_wakeup, wants_stand_in
from supervisor.policy.process_transitions import SETTLE_S, step
from supervisor.values.reports import Cause
from supervisor.values.states import AppState, CodeSource

B, S, R, W, F, X = (
    AppState.BLOCKED,
    AppState.STARTING,
    AppState.READY,
    AppState.BACKOFF,
    AppState.FAILED,
    AppState.STOPPED,
)


def bound() -> ProcessCase:
    """Return a process whose first worker imports."""
    one = ProcessCase()
    one.take(Bound())
    return one


def stopped() -> ProcessCase:
    """Return a process that an operator stopped, and whose worker has ended."""
    one = ProcessCase().up()
    one.take(StopAsked(), Exited(1, ENDED))
    return one


STATES: dict[AppState, Callable[[], ProcessCase]] = {
    B: ProcessCase,
    S: bound,
    R: lambda: ProcessCase().up(),
    W: lambda: ProcessCase().wait_in_backoff(),
    F: lambda: ProcessCase().fail_for_good(),
    X: stopped,
}
NEXT = {S: Spawn(2, 2), R: Spawn(2, 2), W: Spawn(3, 3), F: Spawn(7, 7), X: Spawn(2, 2)}
LATE_S = IMPORT_S + IMPORT_KILL_AFTER_S
# state, event, seconds since then: the state afterwards, the actions
PROCESS_TABLE: list[tuple[AppState, LifecycleEvent, float, AppState, list[Action]]] = [
    (B, Bound(), 0, S, [Spawn(1, 1)]),
    (B, BindFailed(IN_USE), 0, B, []),
    (B, FilesChanged(), 0, B, []),
    (B, StartAsked(), 0, B, []),
    (B, StopAsked(), 0, X, []),
    (B, RestartAsked(), 0, B, []),
    (B, ReloadAsked(), 0, B, []),
    (B, ReloadRefused(IN_USE), 0, B, []),
    (B, FallbackKnown(available=True), 0, B, []),
    (B, Elapsed(), 999, B, []),
    (S, FilesChanged(), 1, S, [Kill(1)]),
    (S, StartAsked(), 1, S, []),
    (S, StopAsked(), 1, X, [Kill(1)]),
    (S, RestartAsked(), 1, S, [Kill(1)]),
    (S, ReloadAsked(), 1, S, [Kill(1)]),
    (S, ReloadRefused(IN_USE), 0, S, []),
    (S, FallbackKnown(available=True), 0, S, []),
    (S, Elapsed(), LATE_S - 0.1, S, []),
    (S, Elapsed(), LATE_S, S, [Kill(1)]),
    (R, FilesChanged(), 1, R, [NEXT[R]]),
    (R, StartAsked(), 1, R, []),
    (R, StopAsked(), 1, X, [Drain(1, False)]),
    (R, RestartAsked(), 1, S, [Drain(1, False)]),
    (R, ReloadAsked(), 1, R, [NEXT[R]]),
    (R, ReloadRefused(IN_USE), 1, R, []),
    (R, FallbackKnown(available=True), 0, R, []),
    (R, Elapsed(), 6, R, []),
    (W, FilesChanged(), 0, S, [NEXT[W]]),
    (W, StartAsked(), 0, S, [NEXT[W]]),
    (W, StopAsked(), 0, X, []),
    (W, RestartAsked(), 0, S, [NEXT[W]]),
    (W, ReloadAsked(), 0, S, [NEXT[W]]),
    (W, ReloadRefused(IN_USE), 0, W, []),
    (W, FallbackKnown(available=True), 0, S, [Spawn(3, 3, CodeSource.KNOWN_GOOD)]),
    (W, Elapsed(), 0.4, W, []),
    (W, Elapsed(), 0.5, S, [NEXT[W]]),
    (W, Elapsed(), 999, S, [NEXT[W]]),
    (F, FilesChanged(), 0, S, [NEXT[F]]),
    (F, StartAsked(), 0, S, [NEXT[F]]),
    (F, StopAsked(), 0, X, []),
    (F, RestartAsked(), 0, S, [NEXT[F]]),
    (F, ReloadAsked(), 0, S, [NEXT[F]]),
    (F, ReloadRefused(IN_USE), 0, F, []),
    (F, FallbackKnown(available=False), 0, F, []),
    (F, FallbackKnown(available=True), 0, S, [Spawn(7, 7, CodeSource.KNOWN_GOOD)]),
    (F, Elapsed(), FAILED_DELAY_S - 0.1, F, []),
    (F, Elapsed(), FAILED_DELAY_S, S, [NEXT[F]]),
    (X, FilesChanged(), 0, X, []),
    (X, StartAsked(), 0, S, [NEXT[X]]),
    (X, StopAsked(), 0, X, []),
    (X, RestartAsked(), 0, S, [NEXT[X]]),
    (X, ReloadAsked(), 0, X, []),
    (X, ReloadRefused(IN_USE), 0, X, []),
    (X, FallbackKnown(available=True), 0, X, []),
    (X, Elapsed(), 999, X, []),
    *((state, FilesDiffer(1, True), 0, state, []) for state in AppState),
    *((state, Held(IN_USE), 0, state, [Kill(1)] if state is S else []) for state in AppState),
    *((state, Released(), 0, state, []) for state in AppState),
]
PROCESS_EVENTS = [
    Bound(),
    BindFailed(IN_USE),
    FilesChanged(),
    FilesDiffer(1, True),
    Held(IN_USE),
    Released(),
    StartAsked(),
    StopAsked(),
    RestartAsked(),
    ReloadAsked(),
    ReloadRefused(IN_USE),
    FallbackKnown(available=True),
    Elapsed(),
]


@pytest.mark.parametrize(("state", "event", "later_s", "expected", "actions"), PROCESS_TABLE)
def test_the_table_of_a_process(
    state: AppState,
    event: LifecycleEvent,
    later_s: float,
    expected: AppState,
    actions: list[Action],
) -> None:
    """Each event leads from each state to the next one, and asks for exactly these actions."""
    one = STATES[state]()
    assert one.process.state is state
    assert one.take(event, later_s=later_s) == actions
    assert one.process.state is expected


def test_a_reload_that_was_tried_beforehand_is_refused_visibly() -> None:
    """What runs goes on, and the refusal stands until the next success."""
    one = ProcessCase().up()
    one.take(ReloadRefused(IN_USE))
    assert one.process.refusal == Refusal(cause=IN_USE, at=one.now)
    assert one.process.state is R


def test_a_stopped_app_may_still_wait_for_its_port() -> None:
    """The two pairs that a process which is stopped and bound doesn't meet: it stays stopped."""
    one = ProcessCase()
    one.take(StopAsked(), BindFailed(IN_USE))
    assert one.reason == "stopped by an operator"
    assert not wants_stand_in(one.process, one.now + 5)
    assert one.take(Bound(), Elapsed(), later_s=5) == []
    assert one.process.state is X
    assert wants_stand_in(one.process, one.now)
    assert one.take(StartAsked()) == [Spawn(1, 1)]


def test_the_tests_know_the_whole_table_of_a_process() -> None:
    """A pair that is added to the table has to be added to the tests."""
    tested = {(state, type(event)) for state, event, *_ in PROCESS_TABLE}
    assert tested | {(X, Bound), (X, BindFailed)} == set(process_transitions.TABLE)


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (s, e)
        for s in AppState
        for e in PROCESS_EVENTS
        if (s, type(e)) not in process_transitions.TABLE
    ],
)
def test_any_other_event_of_a_process_raises(state: AppState, event: LifecycleEvent) -> None:
    """An event that can't come in a state is a defect, and says which pair it was."""
    one = STATES[state]()
    with pytest.raises(IllegalTransition, match=f"{type(event).__name__} in state {state}"):
        one.take(event)


@pytest.mark.parametrize("state", AppState)
@pytest.mark.parametrize("event", PROCESS_EVENTS[2:])
def test_what_may_come_at_any_time_is_known_in_every_state(
    state: AppState, event: LifecycleEvent
) -> None:
    """Operators, clocks and files don't ask for the state before they act; no loop spins."""
    one = STATES[state]()
    one.take(event)
    wakeup = next_wakeup(one.process, one.now)
    assert wakeup is None or wakeup > one.now


# ---- the workers' table


def forking() -> ProcessCase:
    """Return a process whose first worker has been asked for, but not forked."""
    one = ProcessCase()
    one.process, _ = step(one.process, Bound(), one.now, lambda: 0.5)
    return one


def paused() -> ProcessCase:
    """Return a process whose worker 1 is paused, because worker 2 serves."""
    one = ProcessCase().up()
    one.take(ReloadAsked())
    one.ready()
    return one


def draining() -> ProcessCase:
    """Return a process whose worker 1 drains, and worker 2 serves."""
    one = paused()
    one.take(Elapsed(), later_s=STABLE_S)
    return one


def ending() -> ProcessCase:
    """Return a process whose worker 1 could not import the app and has not ended."""
    one = bound()
    one.take(ImportFailed(1, REPORT))
    return one


PHASES: dict[WorkerPhase, Callable[[], ProcessCase]] = {
    WorkerPhase.IMPORTING: bound,
    WorkerPhase.READY: lambda: ProcessCase().up(),
    WorkerPhase.PAUSED: paused,
    WorkerPhase.DRAINING: draining,
    WorkerPhase.ENDING: ending,
}
WORKER_EVENTS: list[WorkerEvent] = [
    Spawned(1, 4711),
    SpawnFailed(1, NO_FORK),
    Importing(1, []),
    ImportAt(1, "coach.py, line 7"),
    ImportFailed(1, REPORT),
    AppFailed(1, "coach", REPORT, []),
    AppJoined(1, "coach", []),
    Ready(1),
    PauseConfirmed(1),
    HeartbeatSeen(1, at=0.1),
    UsageReported(1),
    Exited(1, CRASH),
]
# the phase of worker 1, its event: its phase afterwards (None: it is gone), the actions
WORKER_TABLE: list[tuple[WorkerPhase, WorkerEvent, WorkerPhase | None, list[Action]]] = [
    (WorkerPhase.IMPORTING, Spawned(1, 4711), WorkerPhase.IMPORTING, []),
    (WorkerPhase.IMPORTING, SpawnFailed(1, NO_FORK), None, [Spawn(2, 2)]),
    (WorkerPhase.IMPORTING, Importing(1, []), WorkerPhase.IMPORTING, []),
    (WorkerPhase.IMPORTING, ImportAt(1, "coach.py, line 7"), WorkerPhase.IMPORTING, []),
    (WorkerPhase.IMPORTING, ImportFailed(1, REPORT), WorkerPhase.ENDING, []),
    (WorkerPhase.IMPORTING, AppFailed(1, "coach", REPORT, []), WorkerPhase.IMPORTING, []),
    (WorkerPhase.IMPORTING, Ready(1), WorkerPhase.READY, []),
    (WorkerPhase.IMPORTING, HeartbeatSeen(1, at=0.1), WorkerPhase.IMPORTING, []),
    (WorkerPhase.IMPORTING, GaveUp(1, REPORT.cause), WorkerPhase.IMPORTING, []),
    (WorkerPhase.IMPORTING, Exited(1, CRASH), None, [Spawn(2, 2)]),
    (WorkerPhase.READY, AppFailed(1, "coach", REPORT, []), WorkerPhase.READY, []),
    (WorkerPhase.READY, AppJoined(1, "coach", []), WorkerPhase.READY, []),
    (WorkerPhase.READY, PauseConfirmed(1), WorkerPhase.READY, []),
    (WorkerPhase.READY, HeartbeatSeen(1, at=0.1), WorkerPhase.READY, []),
    (WorkerPhase.READY, UsageReported(1), WorkerPhase.READY, []),
    (WorkerPhase.READY, GaveUp(1, REPORT.cause), WorkerPhase.READY, []),
    (WorkerPhase.READY, Exited(1, CRASH), None, [Spawn(2, 2)]),
    (WorkerPhase.PAUSED, AppFailed(1, "coach", REPORT, []), WorkerPhase.PAUSED, []),
    (WorkerPhase.PAUSED, AppJoined(1, "coach", []), WorkerPhase.PAUSED, []),
    (WorkerPhase.PAUSED, PauseConfirmed(1), WorkerPhase.PAUSED, []),
    (WorkerPhase.PAUSED, HeartbeatSeen(1, at=0.1), WorkerPhase.PAUSED, []),
    (WorkerPhase.PAUSED, UsageReported(1), WorkerPhase.PAUSED, []),
    (WorkerPhase.PAUSED, GaveUp(1, REPORT.cause), WorkerPhase.PAUSED, []),
    (WorkerPhase.PAUSED, Exited(1, CRASH), None, []),
    (WorkerPhase.DRAINING, AppFailed(1, "coach", REPORT, []), WorkerPhase.DRAINING, []),
    (WorkerPhase.DRAINING, AppJoined(1, "coach", []), WorkerPhase.DRAINING, []),
    (WorkerPhase.DRAINING, PauseConfirmed(1), WorkerPhase.DRAINING, []),
    (WorkerPhase.DRAINING, HeartbeatSeen(1, at=0.1), WorkerPhase.DRAINING, []),
    (WorkerPhase.DRAINING, UsageReported(1), WorkerPhase.DRAINING, []),
    (WorkerPhase.DRAINING, GaveUp(1, REPORT.cause), WorkerPhase.DRAINING, []),
    (WorkerPhase.DRAINING, Exited(1, CRASH), None, []),
    (WorkerPhase.ENDING, Importing(1, []), WorkerPhase.ENDING, []),
    (WorkerPhase.ENDING, ImportAt(1, "coach.py, line 7"), WorkerPhase.ENDING, []),
    (WorkerPhase.ENDING, ImportFailed(1, REPORT), WorkerPhase.ENDING, []),
    (WorkerPhase.ENDING, AppFailed(1, "coach", REPORT, []), WorkerPhase.ENDING, []),
    (WorkerPhase.ENDING, AppJoined(1, "coach", []), WorkerPhase.ENDING, []),
    (WorkerPhase.ENDING, PauseConfirmed(1), WorkerPhase.ENDING, []),
    (WorkerPhase.ENDING, Ready(1), WorkerPhase.ENDING, []),
    (WorkerPhase.ENDING, HeartbeatSeen(1, at=0.1), WorkerPhase.ENDING, []),
    (WorkerPhase.ENDING, UsageReported(1), WorkerPhase.ENDING, []),
    (WorkerPhase.ENDING, GaveUp(1, REPORT.cause), WorkerPhase.ENDING, []),
    (WorkerPhase.ENDING, Exited(1, CRASH), None, [Spawn(2, 2)]),
]


@pytest.mark.parametrize(("phase", "event", "expected", "actions"), WORKER_TABLE)
def test_the_table_of_a_worker(
    phase: WorkerPhase, event: WorkerEvent, expected: WorkerPhase | None, actions: list[Action]
) -> None:
    """Each event leads from each phase to the next one, and asks for exactly these actions."""
    one = forking() if isinstance(event, Spawned | SpawnFailed) else PHASES[phase]()
    assert one.worker(1).phase is phase
    assert one.take(event) == actions
    found = one.process.worker(1)
    assert (found.phase if found else None) is expected


def test_the_tests_know_the_whole_table_of_a_worker() -> None:
    """A pair that is added to the table has to be added to the tests."""
    assert {(phase, type(event)) for phase, event, *_ in WORKER_TABLE} == set(
        worker_transitions.TABLE
    )


@pytest.mark.parametrize(
    ("phase", "event"),
    [
        (p, e)
        for p in WorkerPhase
        for e in WORKER_EVENTS
        if (p, type(e)) not in worker_transitions.TABLE
    ],
)
def test_any_other_event_of_a_worker_raises(phase: WorkerPhase, event: WorkerEvent) -> None:
    """An event that can't come in a phase is a defect, and says which pair it was."""
    one = PHASES[phase]()
    name = type(event).__name__
    with pytest.raises(IllegalTransition, match=f"{name} of a worker that is {phase}"):
        one.take(event)


@pytest.mark.parametrize("state", AppState)
@pytest.mark.parametrize("number", [0, 99])
def test_what_a_worker_says_that_has_been_reaped(state: AppState, number: int) -> None:
    """It changes nothing, in any state."""
    one = STATES[state]()
    before = one.process
    events = [Spawned(number, 1), ImportFailed(number, REPORT), Ready(number)]
    assert (
        one.take(
            *events, HeartbeatSeen(number, at=99), UsageReported(number), Exited(number, CRASH)
        )
        == []
    )
    assert one.process is before


def test_a_worker_that_gives_up_is_the_cause_of_its_exit() -> None:
    """What it said before it ended is shown, instead of its exit code."""
    one = bound()
    one.ready(later_s=2)
    one.take(GaveUp(1, REPORT.cause), later_s=9)
    assert one.process.cause is None
    one.take(Exited(1, CRASH))
    assert one.process.cause == REPORT.cause


# ---- the first start


def test_a_bound_port_waits_for_its_worker() -> None:
    """The first worker has generation 1, and from then on the port counts as not served."""
    one = ProcessCase()
    one.take(BindFailed(IN_USE))
    assert one.process.cause == IN_USE
    one.take(Bound(), later_s=5)
    assert (one.process.generation, one.process.current, one.process.pid) == (1, 1, 4711)
    assert one.process.cause is None
    assert one.process.unserved_since == one.process.since == one.now


def test_ready_clears_what_was() -> None:
    """A worker that serves has no cause and no deadline, and its port is served."""
    one = ProcessCase()
    one.take(Bound())
    one.fail()
    assert one.process.cause == REPORT.cause
    one.ready(later_s=2)
    assert (one.process.cause, one.process.unserved_since) == (None, None)
    assert one.process.since == one.now
    assert next_wakeup(one.process, one.now) is None


def test_a_failed_import_is_the_cause_of_the_exit() -> None:
    """The report is shown at once, and its worker's exit code doesn't hide it."""
    one = bound()
    one.take(ImportFailed(1, REPORT))
    assert one.process.cause == REPORT.cause
    one.take(Exited(1, CRASH))
    assert one.process.cause == REPORT.cause


def test_a_worker_that_does_not_end_after_its_report_is_killed_once() -> None:
    """It gets a few seconds for its threads and atexit handlers, then SIGKILL, once."""
    one = bound()
    one.take(ImportFailed(1, REPORT))
    assert next_wakeup(one.process, one.now + 2) == one.now + EXIT_GRACE_S
    assert one.take(Elapsed(), later_s=EXIT_GRACE_S) == [Kill(1)]
    assert one.take(Elapsed(), later_s=999) == []


def test_an_import_that_hangs_names_its_limit() -> None:
    """The cause of a killed import is the limit, and not the signal we sent."""
    one = bound()
    one.take(Elapsed(), later_s=LATE_S)
    one.take(Exited(1, CRASH))
    assert one.reason.startswith("the import took longer than 10 s")


def test_the_stand_in_answers_a_port_after_a_second() -> None:
    """A port without a worker that serves is left to the kernel's queue for a second only."""
    one = bound()
    assert not wants_stand_in(one.process, one.now + 0.99)
    assert wants_stand_in(one.process, one.now + 1.0)
    assert next_wakeup(one.process, one.now) == one.now + 1.0


# ---- operators


@pytest.mark.parametrize("state", [s for s in AppState if s not in (B, X)])
def test_a_stopped_app_is_answered_by_the_stand_in_at_once(state: AppState) -> None:
    """The second that a port may stay without an answer is not waited for."""
    one = STATES[state]()
    one.take(StopAsked())
    assert wants_stand_in(one.process, one.now)
    assert one.reason == "stopped by an operator"


@pytest.mark.parametrize("late", [Ready(1), ImportFailed(1, REPORT), FilesChanged()])
@pytest.mark.parametrize("asked", [StopAsked(), RestartAsked()])
def test_what_a_killed_worker_still_says_changes_nothing(
    asked: StopAsked | RestartAsked, late: Ready | ImportFailed | FilesChanged
) -> None:
    """A worker that was killed in its import may have become ready just before."""
    one = bound()
    one.take(asked)
    before = one.process
    assert one.take(late) == []
    assert one.process == before


@pytest.mark.parametrize("asked", [StartAsked(), RestartAsked()])
def test_start_while_the_stopped_worker_still_drains(asked: StartAsked | RestartAsked) -> None:
    """The worker gets one drain only; the next one is forked when it has ended."""
    one = ProcessCase().up()
    assert one.take(StopAsked(), asked) == [Drain(1, False)]
    assert one.take(RestartAsked(), StartAsked(), later_s=1) == []
    assert one.take(Exited(1, CRASH), later_s=1) == [Spawn(2, 2)]
    assert not one.process.history.failures


def test_stop_during_a_restart() -> None:
    """The worker drains already, and nothing is started after it."""
    one = ProcessCase().up()
    assert one.take(RestartAsked(), StopAsked()) == [Drain(1, False)]
    assert one.take(Exited(1, ENDED), later_s=1) == []
    assert one.process.state is X
    assert next_wakeup(one.process, one.now) is None
    assert one.take(FilesChanged(), Elapsed(), FilesChanged(), later_s=4000) == []


@pytest.mark.parametrize("first", [StopAsked(), RestartAsked()])
def test_asking_again_does_not_prolong_a_workers_time(first: StopAsked | RestartAsked) -> None:
    """Its time counts from the beginning of the drain; then it is killed, once."""
    one = ProcessCase().up()
    one.take(first)
    for event in (StartAsked(), StopAsked(), RestartAsked()):
        one.take(event, later_s=2)
    left_s = STOP_S + DRAIN_MARGIN_S - 6
    assert one.take(Elapsed(), later_s=left_s - 0.1) == []
    assert one.take(Elapsed(), later_s=0.11) == [Kill(1)]
    assert one.take(Elapsed(), later_s=1) == []


def test_a_restart_is_no_failure() -> None:
    """It counts as a restart, however the worker ended."""
    one = ProcessCase().up()
    one.take(RestartAsked())
    assert one.take(Exited(1, CRASH), later_s=0.1) == [Spawn(2, 2)]
    assert one.process.restarts == 1
    assert not one.process.history.failures


def test_stop_ends_a_reload_too() -> None:
    """Both generations end, each in its way, and the refusal is forgotten."""
    one = ProcessCase().up()
    one.take(ReloadAsked())
    assert one.take(StopAsked()) == [Drain(1, False), Kill(2)]
    assert (one.process.candidate, one.process.refusal) == (None, None)
    one = paused()
    assert one.take(StopAsked()) == [Drain(1, False), Drain(2, False)]


def test_pause_is_asked_for_before_anybody_drains() -> None:
    """The old worker accepts nothing from the moment at which the new one is ready."""
    one = ProcessCase().up()
    one.take(ReloadAsked())
    assert one.ready() == [Pause(1)]


# ---- what the workers of a process say of their apps


def test_a_candidate_that_would_lose_an_app_is_refused() -> None:
    """It is killed with the cause of that app; an app that was missing before may stay so."""
    one = ProcessCase().up()
    one.take(ReloadAsked(), AppFailed(2, "coach", REPORT, []))
    other = ProcessCase()
    other.process = one.process
    assert one.take(Ready(2, frozenset({"admin", "coach"}))) == [Kill(2)]
    assert one.refusal == REPORT.cause.reason
    assert (one.process.current, one.process.candidate) == (1, None)
    assert other.take(Ready(2, frozenset({"admin"}))) == [Pause(1)]
    assert list(other.worker(2).failures) == ["coach"]


def test_an_app_that_joins_its_process_is_missing_no_more() -> None:
    """Its files are watched with those of the process from then on."""
    one = ProcessCase().up()
    one.take(AppFailed(1, "coach", REPORT, ["old"]))
    assert one.worker(1).failures["coach"].report == REPORT
    one.take(AppJoined(1, "coach", ["new"]))
    assert (one.worker(1).failures, one.worker(1).watch) == ({}, ["new"])


def test_only_live_code_says_what_to_watch_for_a_repair() -> None:
    """A worker of the fallback imports files of the release, which nobody edits."""
    one = ProcessCase()
    one.take(Bound(), Importing(1, ["live"]))
    assert one.process.watch == ["live"]
    one.take(ImportFailed(1, REPORT, ["live", "beyond"]), FallbackKnown(available=True))
    one.take(Exited(1, CRASH))
    one.take(Importing(2, ["release"]))
    assert one.process.source is CodeSource.KNOWN_GOOD
    assert one.process.watch == ["live", "beyond"]
    assert one.worker(2).watch == ["release"]


def test_a_hand_over_is_over_when_the_old_worker_confirms_its_pause() -> None:
    """Until then it may accept one more connection; a rollback lets it accept again."""
    one = paused()
    assert not one.process.handed_over
    one.take(PauseConfirmed(1))
    assert one.process.handed_over
    one.take(Exited(2, CRASH))
    assert one.worker(1).accepts and one.process.serving == one.worker(1)


def test_files_that_differ_make_their_generation_stale() -> None:
    """Another generation is not touched, and the same files as before make it good again."""
    one = paused()
    one.take(FilesDiffer(1, True))
    assert not one.process.stale
    one.take(FilesDiffer(2, True))
    assert one.process.stale
    one.take(FilesDiffer(2, False))
    assert not one.process.stale


def test_an_app_that_joins_brings_its_process_up_to_date() -> None:
    """Unless a file that the process had loaded has changed: then its watch stays the old one."""
    one = ProcessCase().up()
    one.take(AppJoined(1, "admin", ["old"]), FilesDiffer(1, True), AppJoined(1, "coach", ["old"]))
    assert one.process.stale
    one.take(AppJoined(1, "coach", ["new"]))
    assert not one.process.stale


# ---- a hold: while a deploy moves files, nothing imports them

HELD = Cause(reason="a deploy is replacing its files")
IMPORTS = (FilesChanged(), StartAsked(), RestartAsked(), ReloadAsked(), Elapsed())


@pytest.mark.parametrize("state", [S, R, W, F])
@pytest.mark.parametrize("event", IMPORTS, ids=lambda event: type(event).__name__)
def test_nothing_is_started_while_files_are_replaced(
    state: AppState, event: LifecycleEvent
) -> None:
    """Whatever happens meanwhile waits for the release, and then it happens."""
    one = STATES[state]()
    one.take(Held(HELD))
    before = one.numbers(*WorkerPhase)
    actions = one.take(event, later_s=400)
    for number in one.numbers(WorkerPhase.READY, WorkerPhase.ENDING, WorkerPhase.DRAINING):
        actions += one.take(Exited(number, CRASH))
    actions += one.take(Elapsed(), later_s=400)
    assert not [action for action in actions if isinstance(action, Spawn)]
    assert set(one.numbers(*WorkerPhase)) <= set(before)
    assert next_wakeup(one.process, one.now) is None
    actions = one.take(Released(), Elapsed())
    assert [type(action) for action in actions] == [Spawn]


def test_the_hold_is_the_reason_while_nothing_serves() -> None:
    """It is gone with the release."""
    one = bound()
    one.take(Held(HELD), Exited(1, ENDED))
    assert (one.process.state, one.process.cause) == (S, HELD)
    one.take(Released())
    assert one.process.cause is None


def test_a_worker_that_serves_goes_on_while_files_are_replaced() -> None:
    """A candidate that imports is ended; the reload comes after the release."""
    one = ProcessCase().up()
    one.take(ReloadAsked())
    assert one.take(Held(HELD)) == [Kill(2)]
    one.take(Exited(2, ENDED))
    assert one.process.state is R
    assert one.take(Released()) == [Spawn(3, 3)]


# ---- a copy that comes in several parts


def test_changes_soon_after_a_repair_are_imported_too() -> None:
    """What was imported may have been half of it; after a while a change is only stale."""
    one = STATES[W]()
    [spawned] = one.take(FilesChanged())
    assert isinstance(spawned, Spawn)
    one.take(Ready(spawned.number))
    assert one.process.state is R
    assert one.process.settling_until is not None
    [again] = one.take(FilesChanged(), later_s=SETTLE_S - 1)
    assert isinstance(again, Spawn)
    one.take(Ready(again.number), Elapsed(), later_s=SETTLE_S)
    assert one.process.settling_until is None


# ---- an import that takes long


def test_where_a_long_import_is_stands_before_what_was() -> None:
    """The line, and the reason why it is imported again, until the import is over."""
    one = bound()
    assert one.process.import_cause is None
    one.take(ImportAt(1, "coach.py, line 7"))
    first = one.process.import_cause
    assert first is not None
    assert first.reason == "its import takes long; it is at coach.py, line 7"
    one.take(ImportFailed(1, REPORT), Exited(1, ENDED))
    assert one.process.import_cause is None
    [worker] = one.process.workers
    one.take(ImportAt(worker.number, "coach.py, line 9"))
    again = one.process.import_cause
    assert again is not None
    assert again.reason.endswith(f"it is at coach.py, line 9; before: {REPORT.cause.reason}")
    assert again.hint == REPORT.cause.hint
    one.take(Ready(worker.number))
    assert one.process.import_cause is None
