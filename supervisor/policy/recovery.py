"""What follows the loss of a worker: an import given up, a new start, a retry, the fallback."""

from dataclasses import replace

from supervisor.policy.backoff import Rng
from supervisor.policy.generations import Step, each, fill_up, kill, refuse, start, start_candidate
from supervisor.policy.process_state import Pending, ProcessState, WorkerPhase, WorkerState
from supervisor.values.reports import Cause
from supervisor.values.states import CodeSource


def import_lost(process: ProcessState, worker: WorkerState, cause: Cause, now: float) -> Step:
    """End the import of the worker's generation: its other workers import the same code."""
    if worker.generation == process.candidate:
        return refuse(process, cause, now)
    if worker.generation != process.current:
        return process, ()
    if worker.source is CodeSource.LIVE:
        process = replace(process, cause=cause, broken=cause)
    elif process.of(WorkerPhase.READY, generation=process.current):
        process = replace(process, cause=cause)
    else:
        process = replace(
            process,
            has_fallback=False,
            source=CodeSource.LIVE,
            retry_live_at=None,
            cause=process.broken or cause,
        )
    others = process.of(WorkerPhase.IMPORTING, generation=worker.generation)
    return each(process, others, lambda process, other: kill(process, other, now, cause))


def after_exit(process: ProcessState, now: float, rng: Rng) -> Step:
    """Do what had to wait for workers to end; else see to it that enough of them run."""
    if process.stopped or not process.bound:
        return process, ()
    if process.pending is Pending.START:
        if process.workers:
            return process, ()
        return start(replace(process, restarts=process.restarts + 1), now, rng)
    ready = process.of(WorkerPhase.READY, generation=process.current)
    if process.pending is Pending.RELOAD and ready:
        newer = process.of(WorkerPhase.ENDING, WorkerPhase.IMPORTING)
        return (process, ()) if newer else start_candidate(process, now, rng)
    busy = process.of(WorkerPhase.IMPORTING, WorkerPhase.ENDING, generation=process.current)
    if process.candidate is not None or process.retry_at is not None or busy:
        return process, ()
    if len(ready) >= process.limits.workers:
        return process, ()
    return again(replace(process, history=process.history.after_failure(now)), now, rng)


def again(process: ProcessState, now: float, rng: Rng) -> Step:
    """Start the missing workers now, or set the time of the retry."""
    if process.retry_at is not None:
        return process, ()
    process = replace(process, restarts=process.restarts + 1, pending=None)
    if _falls_back(process):
        return start(process, now, rng, CodeSource.KNOWN_GOOD)
    delay_s = process.history.delay_s(rng)
    if delay_s == 0:
        return fill_up(process, now, rng)
    return replace(process, retry_at=now + delay_s), ()


def _falls_back(process: ProcessState) -> bool:
    """Return whether the last known good release is to serve, since the live code can't."""
    hopeless = process.broken is not None or process.history.failed
    at_work = process.of(WorkerPhase.READY, WorkerPhase.IMPORTING, generation=process.current)
    return process.has_fallback and process.source is CodeSource.LIVE and hopeless and not at_work


def fallback_known(process: ProcessState, now: float, rng: Rng, *, available: bool) -> Step:
    """Remember whether there is a fallback; start it at once while the process awaits a retry."""
    process = replace(process, has_fallback=available)
    if process.retry_at is None or process.stopped or not _falls_back(process):
        return process, ()
    return start(process, now, rng, CodeSource.KNOWN_GOOD)
