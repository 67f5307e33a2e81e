"""What is decided about one app of several in a process: all by a clock that is passed in."""

from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from process_case import ProcessCase
from process_world import NOW, middle

from supervisor.policy.backoff import CHANGES_MAX, CLEAR_S, FAILED_DELAY_S, FAILURES_MAX
from supervisor.policy.process_state import STAND_IN_AFTER_S, ProcessState, StopAsked
from supervisor.supervision.managed_port import ManagedPort
from supervisor.supervision.member import STOPPED, Member
from supervisor.values.reports import Cause
from supervisor.values.states import AppState

BROKEN = Cause(reason="RuntimeError: broken (coach.py, line 1)")
IN_USE = Cause(reason="port 5001 is in use")


@dataclass
class FakePort:
    """A port, bound or not."""

    name: str = "coach"
    bound: bool = True
    cause: Cause | None = None
    bind_at: float | None = None
    listener: Any = field(default_factory=object)


def member(**port: Any) -> Member:
    """Make an app whose process is about to serve."""
    return Member(cast("ManagedPort", FakePort(**port)), NOW)


def ready() -> ProcessState:
    """Give the life of a process that serves."""
    return ProcessCase().up().process


def test_all_is_well() -> None:
    """An app that serves has the life of its process, and wants nothing."""
    one, life = member(), ready()
    one.serve(life.since)
    assert one.view(life) == life
    assert not one.missing
    assert not one.wants_stand_in(life, NOW + 999)
    assert one.next_wakeup(life, NOW) is None


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
    one, life = member(), ready()
    for _ in range(failures):
        one.fail(BROKEN, None, NOW, middle)
    if trying:
        one.try_again(NOW, 10)
    one.set_stopped(stopped, NOW)
    shown = one.view(life)
    assert (shown.state, shown.cause) == (state, cause)
    assert shown.pid == life.pid
    assert one.missing == (state is not AppState.READY)


def test_a_process_that_is_stopped_hides_everything() -> None:
    """Then no app of it is failing or blocked: it is stopped."""
    one, other = member(), member(bound=False, cause=IN_USE, listener=None)
    one.fail(BROKEN, None, NOW, middle)
    process = ProcessCase().up()
    process.take(StopAsked())
    for app in (one, other):
        shown = app.view(process.process)
        assert shown.state is AppState.STOPPED
        assert shown.cause == process.process.cause


def test_a_port_that_is_not_bound_blocks_it_alone() -> None:
    """The reason is the port's; nothing can answer there."""
    one = member(bound=False, cause=IN_USE, listener=None, bind_at=NOW + 2)
    shown = one.view(ready())
    assert (shown.state, shown.cause, shown.pid) == (AppState.BLOCKED, IN_USE, None)
    assert not one.wants_stand_in(ready(), NOW + 99)
    assert one.next_wakeup(ready(), NOW) == NOW + 2


def test_the_stand_in_waits_a_moment_for_a_failure_and_none_for_a_stop() -> None:
    """As for an app alone: a repair may be quick, a stop is meant."""
    one, life = member(), ready()
    one.fail(BROKEN, None, NOW, middle)
    assert not one.wants_stand_in(life, NOW + STAND_IN_AFTER_S - 0.1)
    assert one.wants_stand_in(life, NOW + STAND_IN_AFTER_S)
    one.serve(NOW + 5)
    assert not one.wants_stand_in(life, NOW + 99)
    one.set_stopped(True, NOW + 100)
    assert one.wants_stand_in(life, NOW + 100)
    one.serve(NOW + 101)  # its process has been started anew
    assert one.wants_stand_in(life, NOW + 101)
    one.set_stopped(False, NOW + 102)
    assert not one.wants_stand_in(life, NOW + 999)


def test_attempts_come_at_growing_intervals() -> None:
    """At least a second apart, and once a minute when it fails often; none beside another."""
    one, now = member(), NOW
    waits = []
    for _ in range(FAILURES_MAX + 1):
        one.fail(BROKEN, None, now, middle)
        assert one.retry_at is not None
        waits.append(one.retry_at - now)
        assert not one.is_due(one.retry_at - 0.1)
        assert one.is_due(one.retry_at)
        one.try_again(one.retry_at, 10)
        assert not one.is_due(now + 999)
    assert waits[0] == 1
    assert waits == sorted(waits)
    assert waits[-1] == FAILED_DELAY_S


def test_serving_for_a_moment_does_not_forget_the_failures() -> None:
    """One that serves and fails in turns is tried more and more slowly; serving long clears it."""
    one, now = member(), NOW
    for _ in range(FAILURES_MAX + 1):
        one.serve(now)
        one.fail(BROKEN, None, now + 1, middle)
        now += 2
    assert one.view(ready()).state is AppState.FAILED
    one.serve(now)
    one.fail(BROKEN, None, now + CLEAR_S, middle)
    assert one.view(ready()).state is AppState.BACKOFF


def test_changes_of_files_are_no_reason_without_end() -> None:
    """An import that rewrites its own files is not tried for ever."""
    one = member()
    assert [one.on_files(NOW) for _ in range(CHANGES_MAX + 1)] == [True] * CHANGES_MAX + [False]
    assert one.on_files(NOW + 3600)


def test_one_without_listener_waits_for_a_reload() -> None:
    """A port that was bound late is in no running process: another attempt there is of no use."""
    one, life = member(), ready()
    one.wait_for_reload(IN_USE, NOW)
    assert one.view(life).state is AppState.BACKOFF
    assert one.wants_stand_in(life, NOW + STAND_IN_AFTER_S)
    assert not one.is_due(NOW + 999)
    one.serve(NOW + 1)
    assert not one.needs_reload and not one.missing


steps = st.lists(
    st.sampled_from(["fail", "serve", "try", "stop", "start", "wait", "files"]), max_size=30
)


@given(steps, st.lists(st.floats(0, 100), min_size=30, max_size=30))
def test_whatever_happens_somebody_answers_in_the_end(moves: list[str], waits: list[float]) -> None:
    """It serves, or the stand-in does a second later; and an attempt is always under way or due."""
    one, life, now = member(), ready(), NOW
    for move, wait_s in zip(moves, waits, strict=False):
        now += wait_s
        match move:
            case "fail":
                one.fail(BROKEN, None, now, middle)
            case "serve":
                one.serve(now)
            case "try" if one.failure is not None and not one.needs_reload:
                one.try_again(now, 10)
            case "stop" | "start":
                one.set_stopped(move == "stop", now)
            case "wait":
                one.wait_for_reload(IN_USE, now)
            case "files":
                one.on_files(now)
    life = replace(life, since=NOW)
    shown = one.view(life)
    assert (shown.state is AppState.READY) == (not one.missing)
    assert one.wants_stand_in(life, now + STAND_IN_AFTER_S) == one.missing
    if one.failure is not None and not one.needs_reload:
        assert (one.retry_at is None) != (one.trying_until is None)
        if not one.stopped:
            assert one.next_wakeup(life, now) is not None
