"""Reloads, several workers, hangs and recycling, step by step."""

import itertools
from dataclasses import replace

import pytest
from process_case import CRASH, ENDED, HANG_S, IMPORT_S, STOP_S, ProcessCase
from process_world import NO_FORK, REPORT, middle

from supervisor.policy.backoff import CHANGES_MAX, DELAYS_S, FAILED_DELAY_S, RESTARTS_MAX, STABLE_S
from supervisor.policy.generations import (
    DRAIN_MARGIN_S,
    IMPORT_KILL_AFTER_S,
    RECYCLE_AGAIN_S,
    RECYCLE_MIN_S,
)
from supervisor.policy.process_events import (
    Bound,
    Drain,
    Elapsed,
    Exited,
    FilesChanged,
    HeartbeatSeen,
    ImportFailed,
    Kill,
    Note,
    Pause,
    Ready,
    ReloadAsked,
    RestartAsked,
    Resume,
    Spawn,
    SpawnFailed,
    StopAsked,
    UsageReported,
)
from supervisor.policy.process_state import (
    DRAINING_MAX,
    STUCK_AFTER_S,
    WorkerPhase,
    after_pause,
    next_wakeup,
    wants_stand_in,
    with_limits,
)
from supervisor.policy.process_transitions import step
from supervisor.policy.worker_deadlines import OVERSIZE_AGE_S
from supervisor.values.reports import Cause, Exit
from supervisor.values.states import AppState

# ---- a reload


def reloading(**limits: int) -> ProcessCase:
    """Return a process whose workers serve while as many of a new generation import."""
    one = ProcessCase(**limits).up()
    one.beat(later_s=60)
    one.take(ReloadAsked())
    return one


def test_a_new_generation_takes_over() -> None:
    """The old worker is paused, drains when the new one has proved itself, and is gone."""
    one = reloading()
    assert one.done == [Spawn(2, 2)]
    assert (one.process.current, one.process.candidate, one.process.pid) == (1, 2, 4711)
    assert one.ready(later_s=1) == [Pause(1)]
    assert (one.process.current, one.process.candidate, one.process.pid) == (2, None, 4712)
    assert next_wakeup(one.process, one.now) == one.now + STABLE_S
    assert one.take(Elapsed(), later_s=STABLE_S - 0.01) == []
    assert one.take(Elapsed(), later_s=0.011) == [Drain(1, True)]
    assert one.take(Exited(1, ENDED), later_s=3) == []
    assert one.numbers() == [2]
    assert (one.process.restarts, one.process.cause, one.process.refusal) == (0, None, None)


REFUSED = [
    ("an import that fails", [ImportFailed(2, REPORT)], [], REPORT.cause.reason),
    ("a crash in the import", [Exited(2, CRASH)], [], "the worker ended while it imported the app"),
]


@pytest.mark.parametrize(("_what", "events", "actions", "reason"), REFUSED)
def test_a_generation_that_fails_is_refused(
    _what: str, events: list[ImportFailed | Exited], actions: list[Kill], reason: str
) -> None:
    """What ran goes on, ready all the time; the reason stays until the next success."""
    one = reloading()
    assert one.take(*events, later_s=1) == actions
    assert one.refusal.startswith(reason)
    assert (one.process.state, one.process.current, one.process.cause) == (AppState.READY, 1, None)
    one.take(*([] if one.process.worker(2) is None else [Exited(2, CRASH)]), later_s=1)
    assert one.numbers(WorkerPhase.READY) == [1]
    one.take(Elapsed(), later_s=500)
    assert one.process.refusal is not None
    assert one.take(ReloadAsked()) == [Spawn(3, 3)]
    one.ready()
    assert one.process.refusal is None


def test_a_generation_that_cannot_be_forked_is_refused() -> None:
    """A machine out of memory can't reload, and goes on."""
    one = ProcessCase().up()
    one.process, _ = step(one.process, ReloadAsked(), one.now, middle)
    assert one.take(SpawnFailed(2, NO_FORK)) == []
    assert one.refusal == NO_FORK.reason
    assert one.numbers() == [1]


def test_a_generation_whose_import_hangs_is_refused() -> None:
    """It is killed when its time is over, and the reason names the limit."""
    one = reloading()
    one.beat(later_s=IMPORT_S + IMPORT_KILL_AFTER_S)
    assert one.take(Elapsed()) == [Kill(2)]
    assert one.refusal.startswith("the import took longer than 10 s")
    assert one.take(Exited(2, Exit(signal=9))) == []
    assert one.process.state is AppState.READY


def test_a_crash_on_probation_is_rolled_back() -> None:
    """The old worker, which was paused, serves again at once, and says why."""
    one = reloading()
    one.ready()
    assert one.take(Exited(2, CRASH), later_s=0.5) == [Resume(1)]
    assert (one.process.state, one.process.current, one.process.pid) == (AppState.READY, 1, 4711)
    assert one.refusal == "the new worker ended 0.5 s after it was ready: killed by SIGSEGV"
    one.beat(later_s=100)
    assert one.take(Elapsed()) == []
    assert one.numbers() == [1]


def test_a_crash_after_probation_is_a_crash() -> None:
    """The old worker drains and can't go back: a new one is started, without a wait."""
    one = reloading()
    one.ready()
    one.take(Elapsed(), later_s=STABLE_S)
    assert one.take(Exited(2, CRASH), later_s=4) == [Spawn(3, 3)]
    assert one.process.refusal is None
    assert one.process.restarts == 1


def test_a_reload_on_probation_ends_it() -> None:
    """The worker that was on probation counts as good: the one before it drains."""
    one = reloading()
    one.ready()
    assert one.take(ReloadAsked(), later_s=0.2) == [Drain(1, True), Spawn(3, 3)]
    assert one.process.probation_until is None


def test_a_paused_worker_that_ends_is_not_missed() -> None:
    """There is nothing to go back to then: a crash of the new one starts another."""
    one = reloading()
    one.ready()
    assert one.take(Exited(1, ENDED), later_s=0.2) == []
    assert one.process.probation_until is None
    assert one.take(Exited(2, CRASH), later_s=0.2) == [Spawn(3, 3)]


def test_a_candidate_is_promoted_when_the_old_worker_dies() -> None:
    """What is being imported is what is going to serve; nothing else is started."""
    one = reloading()
    assert one.take(Exited(1, CRASH), later_s=0.5) == []
    assert (one.process.state, one.process.current, one.process.candidate) == (
        AppState.STARTING,
        2,
        None,
    )
    assert one.ready() == []
    assert one.process.state is AppState.READY


def test_a_reload_during_a_reload_begins_anew() -> None:
    """The import under way has read a mixture; the next one starts when it has ended."""
    one = reloading()
    assert one.take(ReloadAsked(), later_s=0.1) == [Kill(2)]
    assert one.take(ReloadAsked(), later_s=0.1) == []
    assert one.take(Exited(2, Exit(signal=9)), later_s=0.1) == [Spawn(3, 3)]
    assert one.process.refusal is None
    one.ready()
    assert one.process.current == 3


def test_few_generations_drain_at_a_time() -> None:
    """A further reload waits until one of them has ended: each costs memory."""
    one = ProcessCase().up()
    for _ in range(DRAINING_MAX):
        one.take(ReloadAsked(), later_s=0.1)
        one.ready()
        one.take(Elapsed(), later_s=STABLE_S)
    assert one.numbers(WorkerPhase.DRAINING) == [1, 2]
    assert one.take(ReloadAsked()) == []
    assert one.take(ReloadAsked()) == []
    assert one.take(Exited(1, ENDED)) == [Spawn(4, 4)]


def test_a_reload_that_waits_is_not_lost_with_the_worker() -> None:
    """The worker that serves dies meanwhile: what is started then is the new code."""
    one = ProcessCase().up()
    for _ in range(DRAINING_MAX):
        one.take(ReloadAsked(), later_s=0.1)
        one.ready()
        one.take(Elapsed(), later_s=STABLE_S)
    one.take(ReloadAsked())
    assert one.take(Exited(3, CRASH), later_s=0.1) == [Spawn(4, 4)]
    assert one.process.pending is None


def test_a_drain_that_does_not_end_is_killed() -> None:
    """It has the app's stop_timeout_s, and a moment more; then SIGKILL, once."""
    one = reloading()
    one.ready()
    one.take(Elapsed(), later_s=STABLE_S)
    assert one.take(Elapsed(), UsageReported(2), later_s=STOP_S) == []
    assert one.take(Elapsed(), later_s=DRAIN_MARGIN_S) == [Kill(1)]
    assert one.take(Elapsed()) == []


def test_an_app_that_cannot_run_twice_is_replaced() -> None:
    """The old worker ends before the new one is started; the port is kept meanwhile."""
    one = ProcessCase(replace=True).up()
    assert one.take(ReloadAsked()) == [Drain(1, False)]
    assert one.process.state is AppState.STARTING
    assert one.take(ReloadAsked(), Elapsed(), later_s=1) == []
    assert one.take(Exited(1, ENDED)) == [Spawn(2, 2)]
    assert one.ready() == []
    assert one.process.state is AppState.READY


def test_files_that_change_for_ever_do_not_reload_for_ever() -> None:
    """An app whose import rewrites its sources is reloaded at a bounded rate."""
    one = ProcessCase().up()
    reloads = 0
    for _ in range(100):
        reloads += len([a for a in one.take(FilesChanged(), later_s=0.1) if isinstance(a, Spawn)])
        one.ready()
        one.take(*(Exited(number, ENDED) for number in one.numbers(WorkerPhase.DRAINING)))
    assert reloads == CHANGES_MAX


# ---- several workers


def test_all_workers_of_a_generation_start_together() -> None:
    """The app is ready with the first of them."""
    one = ProcessCase(workers=3)
    assert one.take(Bound()) == [Spawn(1, 1), Spawn(2, 1), Spawn(3, 1)]
    one.take(Ready(2))
    assert one.process.state is AppState.READY
    assert one.process.pid == 4712


def test_a_generation_takes_over_when_all_its_workers_are_ready() -> None:
    """One alone could not do what the old ones do."""
    one = reloading(workers=2)
    assert one.take(Ready(3)) == []
    assert one.process.current == 1
    assert one.take(Ready(4)) == [Pause(1), Pause(2)]
    assert one.take(Elapsed(), later_s=STABLE_S) == [Drain(1, True), Drain(2, True)]


def test_one_failed_import_refuses_the_whole_generation() -> None:
    """The others import the same; one that is ready may have accepted requests, and drains."""
    one = reloading(workers=2)
    one.take(Ready(3))
    assert one.take(ImportFailed(4, REPORT)) == [Drain(3, True)]
    assert one.refusal == REPORT.cause.reason
    assert one.take(Exited(3, Exit(signal=9)), Exited(4, Exit(code=1))) == []
    assert one.numbers(WorkerPhase.READY) == [1, 2]


def test_one_crash_on_probation_rolls_all_back() -> None:
    """All old workers resume; the other new ones finish their requests, and end."""
    one = reloading(workers=2)
    one.ready()
    assert one.take(Exited(4, CRASH), later_s=0.3) == [Resume(1), Resume(2), Drain(3, True)]
    assert one.process.current == 1


def test_one_of_two_that_dies_is_replaced_alone() -> None:
    """The app is ready all the time, with a reason while one worker is missing."""
    one = ProcessCase(workers=2).up()
    assert one.take(Exited(1, Exit(signal=9)), later_s=5) == [Spawn(3, 1)]
    assert one.process.state is AppState.READY
    assert one.reason.startswith("the worker ended: killed by SIGKILL")
    one.ready(later_s=0.1)
    assert one.process.cause is None
    assert one.process.restarts == 1


def test_one_of_two_that_always_fails_waits_longer_and_longer() -> None:
    """The other serves on; the app stays ready, and says why a worker is missing."""
    one = ProcessCase(workers=2).up()
    one.take(Exited(2, CRASH), later_s=0.1)
    one.take(Exited(3, CRASH), later_s=0.1)
    assert one.process.retry_at == one.now + DELAYS_S[1]
    assert one.process.state is AppState.READY
    assert one.process.cause is not None
    assert one.take(Elapsed(), later_s=DELAYS_S[1]) == [Spawn(4, 1)]


def test_a_worker_that_is_missing_when_a_reload_is_refused_comes_back() -> None:
    """The reload would have replaced it; refused, the old generation is filled up again."""
    one = reloading(workers=2)
    assert one.take(Exited(1, CRASH), later_s=0.1) == []
    one.take(ImportFailed(3, REPORT))
    spawned = one.take(Exited(3, Exit(code=1)), Exited(4, Exit(signal=9)))
    one.take(*([] if spawned else [Elapsed()]), later_s=FAILED_DELAY_S)
    assert [a.generation for a in one.done if isinstance(a, Spawn)][-1] == 1
    assert len(one.process.of(WorkerPhase.READY, WorkerPhase.IMPORTING, generation=1)) == 2


# ---- hangs


def test_a_worker_without_a_sign_of_life_is_stuck_then_replaced() -> None:
    """After three beats the stand-in joins, after hang_timeout_s the worker is killed."""
    one = ProcessCase().up()
    assert one.take(Elapsed(), later_s=STUCK_AFTER_S) == []
    assert one.process.state is AppState.READY
    one.take(Elapsed(), later_s=0.1)
    assert one.process.state is AppState.FAILED
    assert wants_stand_in(one.process, one.now)
    assert "no sign of life" in one.reason
    assert one.take(Elapsed(), later_s=HANG_S - STUCK_AFTER_S - 0.2) == []
    assert one.take(Elapsed(), later_s=0.2) == [Kill(1)]
    assert one.take(Elapsed(), later_s=1) == []
    assert one.take(Exited(1, Exit(signal=9))) == [Spawn(2, 2)]
    assert one.reason.startswith("the worker showed no sign of life for 30 s")


def test_a_sign_of_life_ends_it() -> None:
    """The worker serves again, and the stand-in leaves."""
    one = ProcessCase().up()
    one.take(Elapsed(), later_s=STUCK_AFTER_S + 1)
    one.take(HeartbeatSeen(1, at=one.now - 0.5))
    assert (one.process.state, one.process.cause) == (AppState.READY, None)
    assert not wants_stand_in(one.process, one.now)


def test_an_old_sign_of_life_is_none() -> None:
    """What was read late says when it was written."""
    one = ProcessCase().up()
    ready_at = one.now
    for _ in range(4):
        one.take(HeartbeatSeen(1, at=ready_at), UsageReported(1), Elapsed(), later_s=2)
    assert one.process.state is AppState.FAILED


def test_one_of_two_that_is_stuck_leaves_the_app_ready() -> None:
    """The other one serves: no stand-in, but a warning; the stuck one is replaced in time."""
    one = ProcessCase(workers=2).up()
    for _ in range(4):
        one.take(HeartbeatSeen(1, at=one.now + 2), Elapsed(), later_s=2)
    assert one.worker(2).stuck
    assert one.process.state is AppState.READY
    assert "no sign of life" in one.reason
    for _ in range(12):
        one.take(HeartbeatSeen(1, at=one.now + 2), Elapsed(), later_s=2)
    assert [a for a in one.done if isinstance(a, Kill)] == [Kill(2)]
    one.take(Exited(2, Exit(signal=9)))
    assert one.numbers(WorkerPhase.IMPORTING) == [3]


@pytest.mark.parametrize("asked", [StopAsked(), RestartAsked(), ReloadAsked()])
def test_a_stuck_worker_is_not_asked_to_drain(asked: StopAsked | RestartAsked) -> None:
    """It could not: it is killed."""
    one = ProcessCase().up()
    one.take(Elapsed(), later_s=STUCK_AFTER_S + 1)
    assert one.take(asked) == [Kill(1)]


# ---- too large, too old, too slow

TOO_MUCH = [
    ({"max_memory_mb": 100}, {"memory_mb": 100.1}, "its worker uses 100 MB, more than"),
    ({"max_requests": 500}, {"requests": 500}, "its worker has answered 500 requests"),
    ({"request_timeout_s": 5.0}, {"oldest_request_s": 5.1}, "a request has taken 5 s, longer than"),
]
WELL = {"memory_mb": 100.0, "requests": 499, "oldest_request_s": 5.0}


@pytest.mark.parametrize(("limits", "metrics", "reason"), TOO_MUCH)
def test_a_worker_beyond_a_limit_is_replaced_by_a_reload(
    limits: dict[str, float], metrics: dict[str, float], reason: str
) -> None:
    """No worker is killed: a new generation takes over, and the log says why."""
    one = ProcessCase(**limits).up()
    assert one.take(UsageReported(1, **metrics)) == []  # type: ignore[arg-type]  # too soon
    one.now += RECYCLE_MIN_S
    assert one.take(UsageReported(1, **WELL)) == []  # type: ignore[arg-type]
    noted, spawned = one.take(UsageReported(1, **{**WELL, **metrics}))  # type: ignore[arg-type]
    assert isinstance(noted, Note)
    assert noted.text.startswith(reason)
    assert spawned == Spawn(2, 2)
    assert one.take(UsageReported(1, **metrics)) == []  # type: ignore[arg-type]


def replacements(one: ProcessCase, memory_mb: float, until_s: float) -> list[float]:
    """Report memory each second; return after how many seconds a worker was replaced."""
    began, found = one.now, []
    while one.now < began + until_s:
        serving = one.process.serving
        assert serving is not None
        usage = UsageReported(serving.number, memory_mb=memory_mb)
        actions = one.take(Elapsed(), usage, later_s=1.0)
        if any(isinstance(action, Spawn) for action in actions):
            found.append(one.now - began)
            one.ready()
            one.take(Elapsed(), later_s=STABLE_S)
        for worker in one.process.of(WorkerPhase.DRAINING):
            one.take(Exited(worker.number, Exit(code=0)))
        for worker in one.process.workers:
            one.take(HeartbeatSeen(worker.number, one.now))
    return found


def shown(one: ProcessCase) -> Cause | None:
    """Return what health says of the size of its workers."""
    return one.process.oversize.cause if one.process.oversize else None


def test_an_app_that_is_always_too_large_is_replaced_ever_more_rarely() -> None:
    """Not every five seconds; what it is shows as a concern, until it has been well for a while."""
    one = ProcessCase(max_memory_mb=100).up()
    at_s = replacements(one, 200.0, 3000)
    pauses = [after - before for before, after in itertools.pairwise(at_s)]
    assert at_s[0] <= RECYCLE_MIN_S + 2
    assert len([one for one in at_s if one < 120]) <= 5
    assert pauses == sorted(pauses)
    assert pauses[-1] > 60
    assert shown(one) is not None
    assert "uses 200 MB, more than max_memory_mb = 100, as the one before" in shown(one).reason
    assert replacements(one, 50.0, 2) == []
    assert shown(one) is None
    assert replacements(one, 50.0, OVERSIZE_AGE_S + 5) == []
    assert one.process.oversize is None


def test_another_limit_is_another_matter() -> None:
    """A larger max_memory_mb ends the concern, an operator's restart too; others don't."""
    one = ProcessCase(max_memory_mb=100).up()
    replacements(one, 200.0, 20)
    before = one.process.oversize
    assert shown(one) is not None
    assert with_limits(one.process, replace(one.process.limits, max_requests=9)).oversize == before
    assert with_limits(one.process, replace(one.process.limits, max_memory_mb=300)).oversize is None
    one.take(RestartAsked())
    assert one.process.oversize is None


def test_an_app_that_grows_slowly_is_no_concern() -> None:
    """A leak that takes minutes is what the limit is for."""
    one = ProcessCase(max_memory_mb=100).up()
    assert replacements(one, 50.0, 2 * OVERSIZE_AGE_S) == []
    assert len(replacements(one, 200.0, 3)) == 1
    assert one.process.oversize is None


def test_without_limits_nothing_is_too_much() -> None:
    """Slow is not dead, and large is the app's own business."""
    one = ProcessCase().up()
    beat = UsageReported(1, memory_mb=9e9, requests=9**9, oldest_request_s=9e9)
    assert one.take(beat, later_s=RECYCLE_MIN_S) == []


def test_a_refused_replacement_is_tried_again_after_a_while() -> None:
    """The files may be broken for long: not every beat starts an import."""
    one = ProcessCase(max_memory_mb=100).up()
    large = UsageReported(1, memory_mb=200)
    one.take(large, later_s=RECYCLE_MIN_S)
    one.take(ImportFailed(2, REPORT), Exited(2, Exit(code=1)))
    assert one.take(large, later_s=RECYCLE_AGAIN_S - 1) == []
    assert Spawn(3, 3) in one.take(large, later_s=1)


def test_workers_do_not_all_end_together() -> None:
    """max_requests is spread by a tenth up and down."""
    low, high = ProcessCase(max_requests=1000), ProcessCase(max_requests=1000)
    for one, rng in ((low, lambda: 0.0), (high, lambda: 0.999)):
        one.process, _ = step(one.process, Bound(), one.now, rng)
    assert low.worker(1).max_requests == 900
    assert high.worker(1).max_requests == pytest.approx(1100, abs=1)


# ---- waits


def test_no_delay_after_a_stable_life() -> None:
    """A worker that served for a second or more is replaced at once, however often it failed."""
    one = ProcessCase().up()
    for _ in range(RESTARTS_MAX):
        number = one.numbers()[0]
        assert len(one.take(Exited(number, CRASH), later_s=STABLE_S)) == 1
        one.ready()
    assert one.take(Exited(one.numbers()[0], CRASH), later_s=31) != []


def test_restarts_without_end_count_as_failing() -> None:
    """More than ten in a minute are waited for as failures are."""
    one = ProcessCase().up()
    while one.process.retry_at is None:
        one.take(Exited(one.numbers()[0], CRASH), later_s=STABLE_S)
        one.ready()
        assert one.process.restarts <= RESTARTS_MAX + 2
    assert one.process.state is AppState.BACKOFF


def test_failures_wait_longer_and_longer_but_never_more_than_a_minute() -> None:
    """Each attempt comes when it is due; the app is tried for ever."""
    one = ProcessCase()
    one.take(Bound())
    waits = []
    for _ in range(60):
        number = one.numbers(WorkerPhase.IMPORTING)[0]
        one.take(ImportFailed(number, REPORT), Exited(number, Exit(code=1)))
        waits.append(0.0 if one.process.retry_at is None else one.process.retry_at - one.now)
        if waits[-1]:
            assert one.take(Elapsed(), later_s=waits[-1] - 0.01) == []
            one.take(Elapsed(), later_s=0.011)
    assert waits[:2] == [0.0, 0.5]
    assert waits[:6] == sorted(waits[:6])
    assert max(waits) <= FAILED_DELAY_S
    assert waits[-1] == FAILED_DELAY_S


def test_a_pause_of_everybody_is_forgiven() -> None:
    """What nobody could hear, or do, in that time doesn't count against a worker."""
    one = ProcessCase().up()
    one.take(ReloadAsked())
    one.process = after_pause(one.process, 100)
    assert one.take(Elapsed(), later_s=100) == []
    assert one.process.state is AppState.READY
    assert one.take(Elapsed(), later_s=HANG_S + 1) == [Kill(1), Kill(2)]
