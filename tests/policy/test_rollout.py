"""The phases of a deploy: what follows on what, and what is said at the end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.policy.rollout import (
    ENDED,
    PROBE_EVERY_S,
    Action,
    Died,
    Elapsed,
    Failed,
    IllegalTransition,
    Interrupted,
    Probed,
    Rollout,
    RolloutEvent,
    RolloutPhase,
    Succeeded,
    begin,
    next_wakeup,
    progress,
    step,
    verdict,
)
from supervisor.values.reports import Cause

NOW = 100.0
WATCH_S = 10.0
WHAT = "the deploy of app.tar.gz"
BAD = Cause(reason="it broke", hint="repair it")

# The way of a deploy in which all goes well, with the action that each phase begins with.
WAY = [
    (RolloutPhase.STAGING, Action.STAGE),
    (RolloutPhase.CHECKING, Action.CHECK),
    (RolloutPhase.KEEPING, Action.KEEP),
    (RolloutPhase.SWAPPING, Action.SWAP),
    (RolloutPhase.RELOADING, Action.RELOAD),
    (RolloutPhase.WATCHING, None),
    (RolloutPhase.FINISHING, Action.COMMIT),
]


def at(phase: RolloutPhase, *, probes: bool = False) -> Rollout:
    """Return a rollout that has got to ``phase`` at `NOW`, without any trouble."""
    rollout, _ = begin(WHAT, NOW, watch_s=WATCH_S, probes=probes)
    while rollout.phase is not phase:
        if rollout.phase is RolloutPhase.WATCHING:
            rollout, _ = step(rollout, Elapsed(), NOW + WATCH_S)
        else:
            rollout, _ = step(rollout, Succeeded(), NOW)
    return rollout


def test_all_goes_well() -> None:
    """Stage, check, keep, swap, reload, watch, commit; then it is done."""
    rollout, actions = begin(WHAT, NOW, watch_s=WATCH_S, probes=False)
    for phase, action in WAY:
        assert rollout.phase is phase
        assert actions == ((action,) if action else ())
        assert progress(rollout)
        event: RolloutEvent = Elapsed() if phase is RolloutPhase.WATCHING else Succeeded()
        rollout, actions = step(rollout, event, NOW + WATCH_S * (phase is RolloutPhase.WATCHING))
    assert (rollout.phase, actions) == (RolloutPhase.DONE, ())
    assert verdict(rollout) == Cause(reason="the deploy of app.tar.gz is done")


@pytest.mark.parametrize(
    "phase", [RolloutPhase.STAGING, RolloutPhase.CHECKING, RolloutPhase.KEEPING]
)
@pytest.mark.parametrize("event", [Failed(BAD), Interrupted()])
def test_before_the_swap_nothing_has_changed(phase: RolloutPhase, event: RolloutEvent) -> None:
    """What goes wrong before is a refusal: what was staged is thrown away."""
    rollout, actions = step(at(phase), event, NOW)
    assert (rollout.phase, actions) == (RolloutPhase.REFUSED, (Action.DISCARD,))
    said = verdict(rollout)
    why = BAD.reason if isinstance(event, Failed) else "interrupted by the operator"
    assert said.reason == f"{WHAT} was refused, nothing has changed: {why}"
    assert said.hint == (BAD.hint if isinstance(event, Failed) else None)


AFTER_THE_SWAP = [
    (RolloutPhase.RELOADING, Failed(BAD)),
    (RolloutPhase.RELOADING, Interrupted("it broke")),
    (RolloutPhase.WATCHING, Probed(BAD)),
    (RolloutPhase.WATCHING, Died(BAD)),
    (RolloutPhase.WATCHING, Interrupted("it broke")),
    (RolloutPhase.FINISHING, Failed(BAD)),
]


@pytest.mark.parametrize(("phase", "event"), AFTER_THE_SWAP)
def test_after_the_swap_the_old_version_comes_back(
    phase: RolloutPhase, event: RolloutEvent
) -> None:
    """The files are put back, then the app starts with them."""
    rollout, actions = step(at(phase), event, NOW)
    assert (rollout.phase, actions) == (RolloutPhase.UNDOING, (Action.UNDO,))
    rollout, actions = step(rollout, Succeeded(), NOW)
    assert (rollout.phase, actions) == (RolloutPhase.RELOADING_OLD, (Action.RELOAD,))
    back, actions = step(rollout, Succeeded(), NOW)
    assert (back.phase, actions) == (RolloutPhase.UNDONE, ())
    assert verdict(back).reason == f"{WHAT} was undone, the old version is back: it broke"
    worse, actions = step(rollout, Failed(Cause(reason="no memory")), NOW)
    assert (worse.phase, actions) == (RolloutPhase.UNDONE, ())
    assert verdict(worse).reason.endswith("but the old version didn't start either: no memory")


def test_a_swap_that_fails_is_made_sure_of() -> None:
    """It is undone, in case it ended half way; the app was never reloaded, so it goes on."""
    rollout, actions = step(at(RolloutPhase.SWAPPING), Failed(BAD), NOW)
    assert (rollout.phase, actions) == (RolloutPhase.UNDOING, (Action.UNDO,))
    rollout, actions = step(rollout, Succeeded(), NOW)
    assert (rollout.phase, actions) == (RolloutPhase.REFUSED, ())


def test_a_swap_is_not_interrupted_half_way() -> None:
    """The interrupt waits for the end of the swap, and then undoes it."""
    rollout, actions = step(at(RolloutPhase.SWAPPING), Interrupted(), NOW)
    assert (rollout.phase, actions) == (RolloutPhase.SWAPPING, ())
    rollout, actions = step(rollout, Succeeded(), NOW)
    assert (rollout.phase, actions) == (RolloutPhase.UNDOING, (Action.UNDO,))
    rollout, actions = step(rollout, Succeeded(), NOW)
    assert rollout.phase is RolloutPhase.REFUSED
    assert "interrupted by the operator" in verdict(rollout).reason


@pytest.mark.parametrize("phase", [RolloutPhase.SWAPPING, RolloutPhase.RELOADING])
def test_an_undo_that_fails_needs_a_person(phase: RolloutPhase) -> None:
    """Both reasons are said, and what to do."""
    rollout, _ = step(at(phase), Failed(BAD), NOW)
    rollout, actions = step(rollout, Failed(Cause(reason="the disk is gone")), NOW)
    assert (rollout.phase, actions) == (RolloutPhase.BROKEN, ())
    said = verdict(rollout)
    assert said.reason == f"{WHAT} failed (it broke), and could not be undone: the disk is gone"
    assert "restart it" in str(said.hint)


@pytest.mark.parametrize(
    "phase",
    [RolloutPhase.FINISHING, RolloutPhase.UNDOING, RolloutPhase.RELOADING_OLD, *sorted(ENDED)],
)
def test_an_interrupt_that_comes_too_late(phase: RolloutPhase) -> None:
    """What is final, or goes back already, goes on."""
    rollout = Rollout(what=WHAT, watch_s=WATCH_S, probes=False, phase=phase, cause=BAD)
    assert step(rollout, Interrupted(), NOW) == (rollout, ())


# ---- watching


def test_the_paths_are_asked_at_once_and_again() -> None:
    """The first probe comes with ready; the next ones half a second after the one before began."""
    rollout, actions = step(at(RolloutPhase.RELOADING, probes=True), Succeeded(), NOW)
    assert actions == (Action.PROBE,)
    assert next_wakeup(rollout) is None
    rollout, actions = step(rollout, Probed(), NOW + 0.1)
    assert actions == ()
    assert next_wakeup(rollout) == NOW + PROBE_EVERY_S
    assert step(rollout, Elapsed(), NOW + 0.2) == (rollout, ())
    rollout, actions = step(rollout, Elapsed(), NOW + PROBE_EVERY_S)
    assert actions == (Action.PROBE,)
    assert step(rollout, Elapsed(), NOW + 3) == (rollout, ())  # one at a time


def test_the_last_probe_is_waited_for() -> None:
    """A slow answer at the end of the watch still counts."""
    rollout, _ = step(at(RolloutPhase.RELOADING, probes=True), Succeeded(), NOW)
    late = NOW + WATCH_S + 1
    assert step(rollout, Elapsed(), late) == (rollout, ())
    done, actions = step(rollout, Probed(), late)
    assert (done.phase, actions) == (RolloutPhase.FINISHING, (Action.COMMIT,))
    undone, actions = step(rollout, Probed(BAD), late)
    assert (undone.phase, actions) == (RolloutPhase.UNDOING, (Action.UNDO,))


def test_it_is_watched_for_the_whole_time() -> None:
    """Not a moment less; the clock may come late."""
    rollout = at(RolloutPhase.WATCHING)
    assert next_wakeup(rollout) == NOW + WATCH_S
    assert step(rollout, Elapsed(), NOW + WATCH_S - 0.01) == (rollout, ())
    done, _ = step(rollout, Elapsed(), NOW + WATCH_S + 60)
    assert done.phase is RolloutPhase.FINISHING


# ---- whatever happens

EVENTS = st.sampled_from(
    [Succeeded(), Failed(BAD), Probed(), Probed(BAD), Died(BAD), Interrupted(), Elapsed()]
)
PENDING = {
    Action.STAGE: RolloutPhase.STAGING,
    Action.CHECK: RolloutPhase.CHECKING,
    Action.KEEP: RolloutPhase.KEEPING,
    Action.SWAP: RolloutPhase.SWAPPING,
    Action.COMMIT: RolloutPhase.FINISHING,
    Action.UNDO: RolloutPhase.UNDOING,
}


@given(st.lists(st.tuples(EVENTS, st.floats(0, 20)), max_size=60), st.booleans())
@settings(deadline=None)
def test_files_are_never_left_between_two_versions(
    events: list[tuple[RolloutEvent, float]], probes: bool
) -> None:
    """In any order of events: after a swap comes a commit or an undo, and one action at a time."""
    rollout, actions = begin(WHAT, NOW, watch_s=WATCH_S, probes=probes)
    now, done = NOW, list(actions)
    for event, later_s in events:
        now += later_s
        try:
            rollout, actions = step(rollout, event, now)
        except IllegalTransition:
            assert isinstance(event, Succeeded | Failed)  # nothing else is ever out of place
            continue
        done += actions
        assert len(actions) <= 1
        for action in actions:
            assert PENDING.get(action, rollout.phase) is rollout.phase
    if rollout.phase is RolloutPhase.DONE:
        assert done[-1] is Action.COMMIT
        assert Action.UNDO not in done
    if rollout.phase in (RolloutPhase.UNDONE, RolloutPhase.BROKEN):
        assert Action.UNDO in done
        assert rollout.cause is not None
    if rollout.phase is RolloutPhase.REFUSED:
        assert Action.COMMIT not in done
        assert Action.SWAP not in done or Action.UNDO in done
    assert progress(rollout)


@given(st.lists(st.booleans(), max_size=30), st.booleans())
@settings(deadline=None)
def test_it_always_ends(outcomes: list[bool], probes: bool) -> None:
    """Answering every action, and looking when it wants to be looked at, leads to an end."""
    rollout, actions = begin(WHAT, NOW, watch_s=WATCH_S, probes=probes)
    now, left = NOW, iter(outcomes)
    for _ in range(200):
        if rollout.phase in ENDED:
            break
        good = next(left, True)
        event: RolloutEvent
        if Action.PROBE in actions:
            event = Probed(None if good else BAD)
        elif actions:
            event = Succeeded() if good else Failed(BAD)
        else:
            wakeup = next_wakeup(rollout)
            assert wakeup is not None
            now, event = max(now, wakeup), Elapsed()
        rollout, actions = step(rollout, event, now)
    assert rollout.phase in ENDED
    assert verdict(rollout).reason.startswith(WHAT)
    assert (rollout.phase is RolloutPhase.DONE) == (rollout.cause is None)


def test_what_cannot_come() -> None:
    """An outcome without an action is a defect, and said at once."""
    with pytest.raises(IllegalTransition):
        step(at(RolloutPhase.WATCHING), Succeeded(), NOW)
    for phase in ENDED:
        with pytest.raises(IllegalTransition):
            step(Rollout(what=WHAT, watch_s=1, probes=False, phase=phase), Succeeded(), NOW)
