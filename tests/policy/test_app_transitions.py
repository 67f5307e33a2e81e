"""The table of an app, and what an app is together with its process: by a clock passed in."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from process_case import CRASH, ProcessCase
from process_world import NOW, REPORT, middle

from supervisor.config.settings import BindSettings
from supervisor.policy import app_transitions
from supervisor.policy.app_state import AppRecord, AppView, ImportPhase, PortPhase
from supervisor.policy.app_transitions import (
    RETRY_MIN_S,
    TOO_SLOW,
    AppEvent,
    AppFilesChanged,
    AppImportFailed,
    AppServed,
    AppStartAsked,
    AppStopAsked,
    AttemptBegun,
    AttemptTimedOut,
    HolderFound,
    Phase,
    PortBindFailed,
    PortBound,
    PortLost,
    ReachChanged,
    ReloadNeeded,
    SharingChanged,
    step,
)
from supervisor.policy.backoff import CHANGES_MAX, CLEAR_S, FAILED_DELAY_S, FAILURES_MAX
from supervisor.policy.illegal_transition import IllegalTransition
from supervisor.policy.process_events import Bound, Exited, ImportFailed, StopAsked
from supervisor.policy.process_state import STAND_IN_AFTER_S, STOPPED, ProcessState
from supervisor.values.reports import Cause
from supervisor.values.states import AppState

BROKEN = Cause(reason="RuntimeError: broken (coach.py, line 1)")
IN_USE = Cause(reason="port 5001 is in use")
GONE = Cause(reason="no network interface has its address any more")
HOLDER = Cause(reason="port 5001 is in use by pid 42", hint="kill 42")
BIND = BindSettings()
LIMIT_S = 10.0


class AppCase:
    """An app and its time."""

    def __init__(self, **fields: object) -> None:
        self.now = NOW
        self.app = replace(AppRecord(since=NOW, bound=True), **fields)  # type: ignore[arg-type]

    def take(self, *events: AppEvent, later_s: float = 0.0) -> "AppCase":
        """Let ``events`` happen, ``later_s`` seconds later."""
        self.now += later_s
        for event in events:
            self.app = step(self.app, event, self.now, middle)
        return self

    def view(self, process: ProcessState) -> AppView:
        """Return the app in ``process``."""
        return AppView(app=self.app, process=process)

    def wants_stand_in(self, process: ProcessState, *, later_s: float = 0.0) -> bool:
        """Return whether the stand-in should answer its port."""
        return self.view(process).wants_stand_in(self.now + later_s)


def ready() -> ProcessState:
    """Return a process that serves."""
    return ProcessCase().up().process


FAILED = AppImportFailed(BROKEN, ["files"])
PHASES: dict[Phase, Callable[[], AppCase]] = {
    PortPhase.UNBOUND: lambda: AppCase(bound=False, bind_at=NOW),
    PortPhase.BOUND: AppCase,
    ImportPhase.HOSTED: AppCase,
    ImportPhase.MISSING: lambda: AppCase().take(FAILED),
    ImportPhase.JOINING: lambda: AppCase().take(FAILED, AttemptBegun(LIMIT_S)),
    ImportPhase.LATE: lambda: AppCase().take(ReloadNeeded(IN_USE)),
}
UNBOUND, BOUND = PortPhase.UNBOUND, PortPhase.BOUND
HOSTED, MISSING, JOINING, LATE = (
    ImportPhase.HOSTED,
    ImportPhase.MISSING,
    ImportPhase.JOINING,
    ImportPhase.LATE,
)
CHANGED = AppFilesChanged(LIMIT_S)
# phase, event: the phase afterwards
TABLE: list[tuple[Phase, AppEvent, Phase]] = [
    (UNBOUND, PortBound(), BOUND),
    (UNBOUND, PortBindFailed(IN_USE, in_use=True, settings=BIND), UNBOUND),
    (UNBOUND, HolderFound(HOLDER), UNBOUND),
    (BOUND, HolderFound(HOLDER), BOUND),
    (BOUND, SharingChanged(HOLDER), BOUND),
    (BOUND, ReachChanged(GONE), BOUND),
    (BOUND, PortLost(GONE), UNBOUND),
    (HOSTED, AppServed(), HOSTED),
    (HOSTED, FAILED, MISSING),
    (HOSTED, ReloadNeeded(IN_USE), LATE),
    (HOSTED, CHANGED, HOSTED),
    (MISSING, AppServed(), HOSTED),
    (MISSING, FAILED, MISSING),
    (MISSING, ReloadNeeded(IN_USE), LATE),
    (MISSING, AttemptBegun(LIMIT_S), JOINING),
    (MISSING, CHANGED, JOINING),
    (JOINING, AppServed(), HOSTED),
    (JOINING, FAILED, MISSING),
    (JOINING, ReloadNeeded(IN_USE), LATE),
    (JOINING, CHANGED, JOINING),
    (JOINING, AttemptTimedOut(), MISSING),
    (LATE, AppServed(), HOSTED),
    (LATE, FAILED, MISSING),
    (LATE, ReloadNeeded(IN_USE), LATE),
    (LATE, CHANGED, LATE),
    *((phase, AppStopAsked(), phase) for phase in ImportPhase),
    *((phase, AppStartAsked(), phase) for phase in ImportPhase),
]
EVENTS = list({type(event): event for _, event, _ in TABLE}.values())


def phase_of(app: AppRecord, beside: Phase) -> Phase:
    """Return the phase of ``app`` that is of the same kind as ``beside``."""
    return app.port_phase if isinstance(beside, PortPhase) else app.import_phase


@pytest.mark.parametrize(("phase", "event", "expected"), TABLE)
def test_the_table_of_an_app(phase: Phase, event: AppEvent, expected: Phase) -> None:
    """Each event leads from each phase to the next one."""
    one = PHASES[phase]()
    assert phase_of(one.app, phase) is phase
    assert phase_of(one.take(event, later_s=1.0).app, phase) is expected


def test_the_tests_know_the_whole_table_of_an_app() -> None:
    """A pair that is added to the table has to be added to the tests."""
    assert {(phase, type(event)) for phase, event, _ in TABLE} == set(app_transitions.TABLE)


@pytest.mark.parametrize(
    ("phase", "event"),
    [
        (phase, event)
        for phase in PHASES
        for event in EVENTS
        if (phase, type(event)) not in app_transitions.TABLE
        and isinstance(event, app_transitions.PortEvent) == isinstance(phase, PortPhase)
    ],
)
def test_any_other_event_of_an_app_raises(phase: Phase, event: AppEvent) -> None:
    """An event that can't come in a phase is a defect, and says which pair it was."""
    name = type(event).__name__
    with pytest.raises(IllegalTransition, match=f"{name} of an app that is {phase}"):
        PHASES[phase]().take(event)


# ---- an app in its process


def test_a_port_that_no_client_gets_to() -> None:
    """The app is blocked, though its worker goes on; it is as before when clients get in again."""
    one, process = AppCase(), ready()
    view = one.take(ReachChanged(GONE), later_s=1.0).view(process)
    assert (view.state, view.cause, view.pid) == (AppState.BLOCKED, GONE, process.pid)
    assert view.since == one.now
    assert not one.wants_stand_in(process, later_s=999)
    view = one.take(ReachChanged(None)).view(process)
    assert (view.state, view.cause) == (AppState.READY, None)


def test_a_port_that_is_lost() -> None:
    """It is to be bound again at once, and that has the pace of a port that never was bound."""
    one, process = AppCase(), ready()
    one.take(ReachChanged(IN_USE), PortLost(GONE), later_s=1.0)
    assert one.app.bind_is_due(one.now)
    view = one.view(process)
    assert (view.state, view.cause, view.workers) == (AppState.BLOCKED, GONE, ())
    one.take(PortBindFailed(IN_USE, in_use=True, settings=BIND))
    assert one.app.bind_at == one.now + BIND.first_delay_s
    view = one.take(PortBound()).view(process)
    assert (view.state, view.cause) == (AppState.READY, None)


def test_an_app_that_serves_is_as_its_process() -> None:
    """It has the state of its process, and wants nothing."""
    one, process = AppCase(), ready()
    view = one.take(AppServed()).view(process)
    assert (view.state, view.cause, view.since) == (AppState.READY, None, process.since)
    assert (view.pid, view.workers) == (process.pid, process.workers)
    assert not one.wants_stand_in(process, later_s=999)
    assert view.next_wakeup(NOW) is None


@pytest.mark.parametrize(
    ("failures", "stopped", "trying", "state", "cause"),
    [
        (0, False, False, AppState.READY, None),
        (1, False, False, AppState.BACKOFF, BROKEN),
        (1, False, True, AppState.STARTING, BROKEN),
        (FAILURES_MAX, False, False, AppState.BACKOFF, BROKEN),
        (FAILURES_MAX + 1, False, False, AppState.FAILED, BROKEN),
        (0, True, False, AppState.STOPPED, STOPPED),
        (1, True, False, AppState.STOPPED, STOPPED),
        (1, True, True, AppState.STOPPED, STOPPED),
    ],
)
def test_what_is_shown_of_it_while_its_process_serves(
    failures: int, stopped: bool, trying: bool, state: AppState, cause: Cause | None
) -> None:
    """A stop hides a failure, an attempt keeps the reason of the last one."""
    one, process = AppCase(), ready()
    one.take(*[FAILED] * failures)
    if trying:
        one.take(AttemptBegun(LIMIT_S))
    if stopped:
        one.take(AppStopAsked())
    view = one.view(process)
    assert (view.state, view.cause) == (state, cause)
    assert view.pid == process.pid
    assert one.app.is_served == (state is AppState.READY)


def test_a_process_that_is_stopped_has_stopped_apps() -> None:
    """Then no app of it is failing or blocked: each is stopped."""
    one, other = AppCase().take(FAILED), AppCase(bound=False, bind_cause=IN_USE)
    process = ProcessCase().up()
    process.take(StopAsked())
    for app in (one, other):
        view = app.take(AppStopAsked()).view(process.process)
        assert view.state is AppState.STOPPED
        assert view.cause == process.process.cause == STOPPED


def test_a_stopped_app_is_stopped_while_its_process_starts() -> None:
    """What its process does makes it neither starting nor failing."""
    process = ProcessCase()
    process.take(Bound())
    one = AppCase().take(AppStopAsked())
    assert one.view(process.process).state is AppState.STOPPED
    assert one.wants_stand_in(process.process)


def test_an_app_that_failed_says_its_own_reason_when_all_do() -> None:
    """The process has one cause; each app shows its own."""
    process = ProcessCase()
    process.take(Bound(), ImportFailed(1, REPORT), Exited(1, CRASH))
    process.fail(times=1)
    assert process.process.cause == REPORT.cause
    assert AppCase().view(process.process).cause == REPORT.cause
    assert AppCase().take(FAILED).view(process.process).cause == BROKEN


def test_a_port_that_is_not_bound_blocks_it_alone() -> None:
    """The reason is the port's; nothing can answer there."""
    one = AppCase(bound=False, bind_cause=IN_USE, bind_at=NOW + 2)
    view = one.view(ready())
    assert (view.state, view.cause, view.pid) == (AppState.BLOCKED, IN_USE, None)
    assert not one.wants_stand_in(ready(), later_s=99)
    assert view.next_wakeup(NOW) == NOW + 2


def test_nothing_of_ours_answers_a_port_that_the_app_binds_itself() -> None:
    """There is no listener that the stand-in could have."""
    one = AppCase(self_bound=True).take(FAILED)
    assert not one.wants_stand_in(ready(), later_s=99)


def test_the_stand_in_waits_a_moment_for_a_failure_and_none_for_a_stop() -> None:
    """As for an app alone: a repair may be quick, a stop is meant."""
    one, process = AppCase(), ready()
    one.take(FAILED)
    assert not one.wants_stand_in(process, later_s=STAND_IN_AFTER_S - 0.1)
    assert one.wants_stand_in(process, later_s=STAND_IN_AFTER_S)
    one.take(AppServed(), later_s=5)
    assert not one.wants_stand_in(process, later_s=99)
    one.take(AppStopAsked(), later_s=95)
    assert one.wants_stand_in(process)
    one.take(AppServed(), later_s=1)  # its process has been started anew
    assert one.wants_stand_in(process)
    one.take(AppStartAsked(), later_s=1)
    assert not one.wants_stand_in(process, later_s=999)


# ---- its import


def test_attempts_come_at_growing_intervals() -> None:
    """At least a second apart, and once a minute when it fails often; none beside another."""
    one = AppCase()
    waits = []
    for _ in range(FAILURES_MAX + 1):
        one.take(FAILED)
        assert one.app.retry_at is not None
        waits.append(one.app.retry_at - one.now)
        assert not one.app.retry_is_due(one.app.retry_at - 0.1)
        assert one.app.retry_is_due(one.app.retry_at)
        before = one.app.attempt
        one.take(AttemptBegun(LIMIT_S))
        assert one.app.attempt == before + 1
        assert not one.app.retry_is_due(NOW + 999)
    assert waits[0] == RETRY_MIN_S
    assert waits == sorted(waits)
    assert waits[-1] == FAILED_DELAY_S


def test_an_attempt_that_takes_too_long_has_failed() -> None:
    """It says so, and what to do; the files are watched as before."""
    one = AppCase().take(FAILED, AttemptBegun(LIMIT_S))
    assert not one.app.attempt_is_overdue(NOW + LIMIT_S - 0.1)
    assert one.view(ready()).next_wakeup(NOW) == NOW + STAND_IN_AFTER_S
    assert one.app.attempt_is_overdue(NOW + LIMIT_S)
    one.take(AttemptTimedOut(), later_s=LIMIT_S)
    assert (one.app.failure, one.app.watch) == (TOO_SLOW, ["files"])


def test_serving_for_a_moment_does_not_forget_the_failures() -> None:
    """One that serves and fails in turns is tried more and more slowly; serving long clears it."""
    one = AppCase()
    for _ in range(FAILURES_MAX + 1):
        one.take(AppServed(), later_s=1).take(FAILED, later_s=1)
    assert one.view(ready()).state is AppState.FAILED
    one.take(AppServed()).take(FAILED, later_s=CLEAR_S)
    assert one.view(ready()).state is AppState.BACKOFF


def test_changes_of_files_are_no_reason_without_end() -> None:
    """An import that rewrites its own files is not tried for ever."""
    one = AppCase()
    for _ in range(CHANGES_MAX):
        assert one.take(FAILED, CHANGED).app.import_phase is JOINING
    assert one.take(FAILED, CHANGED).app.import_phase is MISSING
    assert one.take(CHANGED, later_s=3600).app.import_phase is JOINING


def test_a_stopped_app_is_not_imported() -> None:
    """Neither its repair nor the time of a retry is a reason; its start makes them one again."""
    one = AppCase().take(FAILED, AppStopAsked(), CHANGED)
    assert one.app.import_phase is MISSING
    assert not one.app.retry_is_due(NOW + 999)
    assert one.view(ready()).next_wakeup(NOW) is None
    assert one.take(AppStartAsked()).app.retry_is_due(NOW + 999)


def test_an_app_without_listener_waits_for_a_reload() -> None:
    """A port that was bound late is in no running worker: an attempt there could not serve it."""
    one, process = AppCase().take(ReloadNeeded(IN_USE)), ready()
    assert one.view(process).state is AppState.BACKOFF
    assert one.wants_stand_in(process, later_s=STAND_IN_AFTER_S)
    assert not one.app.retry_is_due(NOW + 999)
    assert one.take(AppServed(), later_s=1).app.is_served


# ---- its port


def test_a_bind_is_repeated_with_growing_waits() -> None:
    """By default after 2, 4, 8 and 16 s, then every 30 s."""
    one = AppCase(bound=False, bind_at=NOW)
    assert one.app.bind_is_due(NOW) and not one.app.bind_was_tried
    waits = []
    for _ in range(6):
        one.take(PortBindFailed(IN_USE, in_use=True, settings=BIND))
        assert one.app.bind_at is not None
        waits.append(one.app.bind_at - one.now)
    assert waits == [2, 4, 8, 16, 30, 30]
    assert one.app.bind_was_tried
    one.take(PortBound())
    assert (one.app.bind_at, one.app.bind_cause) == (None, None)


def test_the_holder_of_a_port_stays_named() -> None:
    """The next failure for the same reason doesn't hide it; another one does."""
    one = AppCase(bound=False, bind_at=NOW)
    one.take(PortBindFailed(IN_USE, in_use=True, settings=BIND), HolderFound(HOLDER))
    one.take(PortBindFailed(IN_USE, in_use=True, settings=BIND))
    assert one.app.bind_cause == HOLDER
    one.take(PortBindFailed(BROKEN, in_use=False, settings=BIND))
    assert one.app.bind_cause == BROKEN
    one.take(PortBound(), HolderFound(HOLDER))
    assert one.app.bind_cause is None


# ---- whatever happens


MOVES: list[AppEvent] = [
    *(FAILED, AppServed(), AttemptBegun(LIMIT_S), AttemptTimedOut(), CHANGED),
    *(ReloadNeeded(IN_USE), AppStopAsked(), AppStartAsked()),
]


@given(st.lists(st.tuples(st.sampled_from(MOVES), st.floats(0, 100)), max_size=30))
def test_whatever_happens_somebody_answers_in_the_end(
    moves: list[tuple[AppEvent, float]],
) -> None:
    """It serves, or the stand-in does a second later; and an attempt is always under way or due."""
    one, process = AppCase(), ready()
    for event, wait_s in moves:
        if (one.app.import_phase, type(event)) in app_transitions.TABLE:
            one.take(event, later_s=wait_s)
    view = one.view(process)
    assert (view.state is AppState.READY) == one.app.is_served
    assert one.wants_stand_in(process, later_s=STAND_IN_AFTER_S) == (not one.app.is_served)
    assert (one.app.unserved_since is None) == one.app.is_served
    if one.app.import_phase in (MISSING, JOINING):
        assert (one.app.retry_at is None) != (one.app.give_up_at is None)
        if not one.app.stopped:
            assert view.next_wakeup(one.now) is not None
