"""The phases of a deploy or a rollback: one table of (phase, event).

Nothing here does IO or reads a clock: ``now`` (monotonic seconds) comes in as an argument. One
action is under way at a time; its outcome comes back as `Succeeded` or `Failed`. Whatever goes
wrong after the files were swapped puts the old ones back.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from supervisor.policy.illegal_transition import IllegalTransition
from supervisor.values.reports import Cause

PROBE_EVERY_S = 0.5


class RolloutPhase(StrEnum):
    """Where a rollout is."""

    STAGING = "staging"  # the new version is unpacked beside the app
    CHECKING = "checking"  # it is imported there, and its requirements are checked
    KEEPING = "keeping"  # the live files become a release
    SWAPPING = "swapping"  # the new files take the place of the live ones
    RELOADING = "reloading"  # the app starts with them
    WATCHING = "watching"  # the app has to stay ready and to answer
    FINISHING = "finishing"  # the new files become final
    UNDOING = "undoing"  # the old files come back
    RELOADING_OLD = "reloading_old"  # the app starts with them
    DONE = "done"
    REFUSED = "refused"  # nothing has changed
    UNDONE = "undone"  # the old version is back
    BROKEN = "broken"  # the old version could not be put back: a person is needed


ENDED = frozenset(
    {RolloutPhase.DONE, RolloutPhase.REFUSED, RolloutPhase.UNDONE, RolloutPhase.BROKEN}
)


class Action(StrEnum):
    """What to do; the outcome of all but `DISCARD` comes back as `Succeeded` or `Failed`."""

    STAGE = "stage"
    CHECK = "check"
    KEEP = "keep"
    SWAP = "swap"
    RELOAD = "reload"
    PROBE = "probe"  # comes back as `Probed`
    COMMIT = "commit"
    UNDO = "undo"
    DISCARD = "discard"  # remove what was staged; nothing comes back


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The action under way succeeded."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The action under way failed."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class Probed:
    """The paths were requested through the port; ``cause`` names the one that didn't pass."""

    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Died:
    """The app is no longer ready."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class Interrupted:
    """An operator interrupted it, or the supervisor ends."""

    by: str = "interrupted by the operator"


@dataclass(frozen=True, slots=True)
class Elapsed:
    """Time went by; changes something only if a deadline has been reached."""


RolloutEvent = Succeeded | Failed | Probed | Died | Interrupted | Elapsed


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A deploy or a rollback; times are monotonic seconds. ``what`` names it in messages."""

    what: str  # "the deploy of app.tar.gz", "the rollback to 12-1a2b3c4d"
    watch_s: float
    probes: bool  # whether there are paths to probe
    phase: RolloutPhase = RolloutPhase.STAGING
    since: float = 0.0
    watch_until: float | None = None
    probe_at: float | None = None
    is_probing: bool = False
    is_reloaded: bool = False  # whether the app was to be reloaded with the new files
    cause: Cause | None = None  # why it is not done
    trouble: Cause | None = None  # what went wrong with going back


Step = tuple[Rollout, tuple[Action, ...]]


def begin(what: str, now: float, *, watch_s: float, probes: bool) -> Step:
    """Return a new rollout and the first action."""
    rollout = Rollout(what=what, watch_s=watch_s, probes=probes, since=now)
    return rollout, (Action.STAGE,)


def step(rollout: Rollout, event: RolloutEvent, now: float) -> Step:
    """Return the rollout after ``event`` and the actions to carry out.

    Raises `IllegalTransition` for a pair that the table doesn't know.
    """
    handler = TABLE.get((rollout.phase, type(event)))
    if handler is None:
        raise IllegalTransition(f"{type(event).__name__} in phase {rollout.phase}")
    return handler(rollout, event, now)


def next_wakeup(rollout: Rollout) -> float | None:
    """Return the monotonic time at which an `Elapsed` is wanted, or None."""
    if rollout.phase is not RolloutPhase.WATCHING or rollout.is_probing:
        return None  # the end of a probe comes as an event
    times = [time for time in (rollout.watch_until, rollout.probe_at) if time is not None]
    return min(times, default=None)


# ---- the messages


_PROGRESS = {
    RolloutPhase.STAGING: "unpacking it beside the app",
    RolloutPhase.CHECKING: "importing it there, and checking what it requires",
    RolloutPhase.KEEPING: "keeping the present version as a release",
    RolloutPhase.SWAPPING: "putting the files in place",
    RolloutPhase.RELOADING: "starting the app with them",
    RolloutPhase.FINISHING: "making it final",
    RolloutPhase.UNDOING: "putting the old files back",
    RolloutPhase.RELOADING_OLD: "starting the app with the old files",
}


def progress(rollout: Rollout) -> str:
    """Return what is being done, as a line for a terminal."""
    if rollout.phase is RolloutPhase.WATCHING:
        asked = ", and asking it" if rollout.probes else ""
        return f"watching it for {rollout.watch_s:g} s{asked}"
    return _PROGRESS.get(rollout.phase) or verdict(rollout).reason


def verdict(rollout: Rollout) -> Cause:
    """Return how it ended; raises ValueError for a rollout that hasn't (see `ENDED`)."""
    cause = rollout.cause or Cause(reason="no reason is known")
    trouble = rollout.trouble
    if rollout.phase is RolloutPhase.DONE:
        return Cause(reason=f"{rollout.what} is done")
    if rollout.phase is RolloutPhase.REFUSED:
        reason = f"{rollout.what} was refused, nothing has changed: {cause.reason}"
        return Cause(reason=reason, hint=cause.hint)
    if rollout.phase is RolloutPhase.UNDONE:
        reason = f"{rollout.what} was undone, the old version is back: {cause.reason}"
        if trouble is not None:
            reason += f"; but the old version didn't start either: {trouble.reason}"
        return Cause(reason=reason, hint=cause.hint)
    if rollout.phase is not RolloutPhase.BROKEN:
        raise ValueError(f"a rollout that is {rollout.phase} has no verdict yet")
    why = trouble.reason if trouble else "no reason is known"
    return Cause(
        reason=f"{rollout.what} failed ({cause.reason}), and could not be undone: {why}",
        hint="the next start of the supervisor tries again: restart it once that is repaired",
    )


# ---- the table


def _to(rollout: Rollout, phase: RolloutPhase, now: float, *actions: Action) -> Step:
    return replace(rollout, phase=phase, since=now), actions


def _goes_on(phase: RolloutPhase, action: Action) -> "_Handler":
    """Make the handler that enters ``phase`` and starts ``action``."""
    return lambda rollout, _event, now: _to(rollout, phase, now, action)


def _cause_of(event: Failed | Died | Probed | Interrupted) -> Cause:
    if isinstance(event, Interrupted):
        return Cause(reason=event.by)
    return event.cause or Cause(reason="no reason is known")


def _refuse(rollout: Rollout, event: Failed | Interrupted, now: float) -> Step:
    """End it: no file of the app has been touched."""
    refused = replace(rollout, cause=_cause_of(event))
    return _to(refused, RolloutPhase.REFUSED, now, Action.DISCARD)


def _undo(rollout: Rollout, event: Failed | Died | Probed | Interrupted, now: float) -> Step:
    failed = replace(rollout, cause=rollout.cause or _cause_of(event))
    return _to(failed, RolloutPhase.UNDOING, now, Action.UNDO)


def _interrupted_while_swapping(rollout: Rollout, event: Interrupted, _now: float) -> Step:
    return replace(rollout, cause=_cause_of(event)), ()  # undone as soon as the swap is over


def _swapped(rollout: Rollout, _event: RolloutEvent, now: float) -> Step:
    if rollout.cause is not None:
        return _to(rollout, RolloutPhase.UNDOING, now, Action.UNDO)
    return _to(replace(rollout, is_reloaded=True), RolloutPhase.RELOADING, now, Action.RELOAD)


def _reloaded(rollout: Rollout, _event: RolloutEvent, now: float) -> Step:
    watched = replace(
        rollout,
        watch_until=now + rollout.watch_s,
        probe_at=now + PROBE_EVERY_S if rollout.probes else None,
        is_probing=rollout.probes,
    )
    return _to(watched, RolloutPhase.WATCHING, now, *((Action.PROBE,) if rollout.probes else ()))


def _probed(rollout: Rollout, event: Probed, now: float) -> Step:
    if event.cause is not None:
        return _undo(rollout, event, now)
    return _watch(replace(rollout, is_probing=False), event, now)


def _watch(rollout: Rollout, _event: RolloutEvent, now: float) -> Step:
    """Finish when the time is over, but never before the probe under way has its answer."""
    if rollout.is_probing:
        return rollout, ()
    if rollout.watch_until is None:
        raise IllegalTransition("a rollout that is watched has no time until which")
    if now >= rollout.watch_until:
        return _to(rollout, RolloutPhase.FINISHING, now, Action.COMMIT)
    if rollout.probe_at is not None and now >= rollout.probe_at:
        asked = replace(rollout, probe_at=now + PROBE_EVERY_S, is_probing=True)
        return asked, (Action.PROBE,)
    return rollout, ()


def _finished(rollout: Rollout, _event: RolloutEvent, now: float) -> Step:
    return _to(rollout, RolloutPhase.DONE, now)


def _undone(rollout: Rollout, _event: RolloutEvent, now: float) -> Step:
    if rollout.is_reloaded:
        return _to(rollout, RolloutPhase.RELOADING_OLD, now, Action.RELOAD)
    return _to(rollout, RolloutPhase.REFUSED, now)


def _not_undone(rollout: Rollout, event: Failed, now: float) -> Step:
    return _to(replace(rollout, trouble=_cause_of(event)), RolloutPhase.BROKEN, now)


def _back(rollout: Rollout, event: RolloutEvent, now: float) -> Step:
    if isinstance(event, Failed):
        rollout = replace(rollout, trouble=event.cause)
    return _to(rollout, RolloutPhase.UNDONE, now)


def _ignore(rollout: Rollout, _event: RolloutEvent, _now: float) -> Step:
    return rollout, ()


_Handler = Callable[[Rollout, Any, float], Step]

TABLE: dict[tuple[RolloutPhase, type[RolloutEvent]], _Handler] = {
    (RolloutPhase.STAGING, Succeeded): _goes_on(RolloutPhase.CHECKING, Action.CHECK),
    (RolloutPhase.STAGING, Failed): _refuse,
    (RolloutPhase.STAGING, Interrupted): _refuse,
    (RolloutPhase.CHECKING, Succeeded): _goes_on(RolloutPhase.KEEPING, Action.KEEP),
    (RolloutPhase.CHECKING, Failed): _refuse,
    (RolloutPhase.CHECKING, Interrupted): _refuse,
    (RolloutPhase.KEEPING, Succeeded): _goes_on(RolloutPhase.SWAPPING, Action.SWAP),
    (RolloutPhase.KEEPING, Failed): _refuse,
    (RolloutPhase.KEEPING, Interrupted): _refuse,
    (RolloutPhase.SWAPPING, Succeeded): _swapped,
    (RolloutPhase.SWAPPING, Failed): _undo,  # perhaps half way: undoing what is undone does nothing
    (RolloutPhase.SWAPPING, Interrupted): _interrupted_while_swapping,
    (RolloutPhase.RELOADING, Succeeded): _reloaded,
    (RolloutPhase.RELOADING, Failed): _undo,
    (RolloutPhase.RELOADING, Interrupted): _undo,
    (RolloutPhase.WATCHING, Probed): _probed,
    (RolloutPhase.WATCHING, Died): _undo,
    (RolloutPhase.WATCHING, Interrupted): _undo,
    (RolloutPhase.WATCHING, Elapsed): _watch,
    (RolloutPhase.FINISHING, Succeeded): _finished,
    (RolloutPhase.FINISHING, Failed): _undo,
    (RolloutPhase.UNDOING, Succeeded): _undone,
    (RolloutPhase.UNDOING, Failed): _not_undone,
    (RolloutPhase.RELOADING_OLD, Succeeded): _back,
    (RolloutPhase.RELOADING_OLD, Failed): _back,
    # What comes too late, or too early, to matter:
    (RolloutPhase.FINISHING, Interrupted): _ignore,
    (RolloutPhase.UNDOING, Interrupted): _ignore,
    (RolloutPhase.RELOADING_OLD, Interrupted): _ignore,
    **{(phase, Died): _ignore for phase in RolloutPhase if phase is not RolloutPhase.WATCHING},
    **{(phase, Probed): _ignore for phase in RolloutPhase if phase is not RolloutPhase.WATCHING},
    **{(phase, Elapsed): _ignore for phase in RolloutPhase if phase is not RolloutPhase.WATCHING},
    **{(phase, Interrupted): _ignore for phase in ENDED},
}
