"""When a worker has to go: an import that takes too long, a hang, too much memory or age."""

from dataclasses import replace

from supervisor.policy.generations import RECYCLE_MIN_S, Step, kill, with_worker
from supervisor.policy.process_events import Kill, UsageReported
from supervisor.policy.process_state import (
    STUCK_AFTER_S,
    Oversize,
    ProcessState,
    WorkerPhase,
    WorkerState,
)
from supervisor.policy.recovery import import_lost
from supervisor.values.reports import Cause

OVERSIZE_AGE_S = 60.0  # a worker that is too large before has been so from the start, or nearly
OVERSIZE_PAUSE_MAX_S = 3600.0  # it may have grown smaller meanwhile


def elapsed(process: ProcessState, worker: WorkerState, now: float) -> Step:
    """Do what is due for one worker: kill it, or mark it as stuck."""
    if worker.kill_at is not None and now >= worker.kill_at:
        return _overdue(process, worker, now)
    if worker.phase not in (WorkerPhase.READY, WorkerPhase.PAUSED):
        return process, ()
    silent_s = now - worker.alive_at
    if silent_s > process.limits.hang_timeout_s:
        return _hung(process, worker)
    if silent_s > STUCK_AFTER_S and not worker.stuck:
        process = with_worker(process, replace(worker, stuck=True))
        return replace(process, cause=stuck_cause(process)), ()
    return process, ()


def _overdue(process: ProcessState, worker: WorkerState, now: float) -> Step:
    """Kill a worker whose import, drain or end took too long."""
    if worker.phase is not WorkerPhase.IMPORTING:
        return with_worker(process, replace(worker, kill_at=None)), (Kill(worker.number),)
    cause = Cause(
        reason=f"the import took longer than {process.limits.import_timeout_s:g} s and could "
        "not be interrupted",
        hint="it is stuck outside of Python code; raise import_timeout_s if it is only slow",
    )
    process, killed = kill(process, worker, now, cause)
    process, actions = import_lost(process, worker, cause, now)
    return process, killed + actions


def stuck_cause(process: ProcessState) -> Cause:
    """Return the cause for a worker without a heartbeat."""
    return Cause(
        reason="its worker shows no sign of life: stopped, or busy outside of Python code",
        hint=f"it is replaced when that lasts {process.limits.hang_timeout_s:g} s (hang_timeout_s)",
    )


def _hung(process: ProcessState, worker: WorkerState) -> Step:
    """Kill a worker without a heartbeat for too long; its exit starts the next one."""
    if worker.verdict is not None:
        return process, ()
    cause = Cause(
        reason=f"the worker showed no sign of life for {process.limits.hang_timeout_s:g} s and was "
        "replaced",
        hint="look for a call that never returns to Python in what it did last",
    )
    return with_worker(process, replace(worker, verdict=cause)), (Kill(worker.number),)


def sized(
    process: ProcessState, worker: WorkerState, usage: UsageReported, now: float, *, replaced: bool
) -> ProcessState:
    """Return the process with what the size of a worker means for the next ones.

    ``replaced``: the worker is being replaced. The pauses grow while workers are too large soon
    after their start.
    """
    limit_mb, lived_s, before = process.limits.max_memory_mb, now - worker.since, process.oversize
    if limit_mb is None or usage.memory_mb <= limit_mb:
        if before is None:
            return process
        return replace(process, oversize=None if lived_s >= OVERSIZE_AGE_S else _quiet(before))
    if replaced:
        if lived_s >= OVERSIZE_AGE_S + (before.pause_s if before else 0.0):
            return replace(process, oversize=None)  # it has grown slowly
        pause_s = min(OVERSIZE_PAUSE_MAX_S, 2 * (before.pause_s if before else RECYCLE_MIN_S))
        oversize = Oversize(pause_s=pause_s, cause=before.cause if before else None)
        return replace(process, oversize=oversize, recycle_at=now + pause_s)
    if before is None or before.cause is not None:
        return process
    cause = Cause(
        reason=f"its worker uses {usage.memory_mb:.0f} MB, more than max_memory_mb = {limit_mb}, "
        "as the one before it did soon after its start",
        hint="raise max_memory_mb, or find what the app loads; it is replaced after growing pauses",
    )
    return replace(process, oversize=replace(before, cause=cause))


def _quiet(oversize: Oversize) -> Oversize:
    return oversize if oversize.cause is None else replace(oversize, cause=None)


def excess(process: ProcessState, worker: WorkerState, usage: UsageReported) -> Cause | None:
    """Return why a worker has to be replaced for what it uses; None if it has not."""
    limits = process.limits
    if limits.max_memory_mb is not None and usage.memory_mb > limits.max_memory_mb:
        text = f"its worker uses {usage.memory_mb:.0f} MB, more than max_memory_mb"
        return Cause(reason=f"{text} = {limits.max_memory_mb}: it is being replaced")
    if worker.max_requests is not None and usage.requests >= worker.max_requests:
        return Cause(reason=f"its worker has answered {usage.requests} requests: it is replaced")
    oldest_s, most_s = usage.oldest_request_s or 0.0, limits.request_timeout_s
    if most_s is not None and oldest_s > most_s:
        text = f"a request has taken {oldest_s:.0f} s, longer than request_timeout_s"
        return Cause(reason=f"{text} = {most_s:g}: its worker is being replaced")
    return None
