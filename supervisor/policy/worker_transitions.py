"""What the events of a worker do to the life of its app, by the worker's phase."""

from collections.abc import Callable
from dataclasses import replace

from supervisor.policy.backoff import STABLE_S, Rng
from supervisor.policy.generations import (
    EXIT_GRACE_S,
    RECYCLE_MIN_S,
    RETRY_LIVE_S,
    Step,
    each,
    end_all,
    fill_up,
    kill,
    promote,
    refuse,
    roll_back,
    start,
    start_candidate,
    take_over,
    with_worker,
    without,
)
from supervisor.policy.process_state import (
    STUCK_AFTER_S,
    Beat,
    Exited,
    GaveUp,
    ImportFailed,
    Kill,
    Life,
    Note,
    Pending,
    Phase,
    Ready,
    SignOfLife,
    Spawned,
    SpawnFailed,
    WorkerEvent,
    WorkerLife,
)
from supervisor.values.reports import Cause
from supervisor.values.states import Source

Handler = Callable[[Life, WorkerLife, WorkerEvent, float, Rng], Step]


# ---- importing


def _spawned(life: Life, worker: WorkerLife, event: WorkerEvent, _now: float, _rng: Rng) -> Step:
    assert isinstance(event, Spawned)
    return with_worker(life, replace(worker, pid=event.pid)), ()


def _spawn_failed(life: Life, worker: WorkerLife, event: WorkerEvent, now: float, rng: Rng) -> Step:
    assert isinstance(event, SpawnFailed)
    life, actions = import_lost(without(life, worker.number), worker, event.cause, now)
    life, more = after_exit(life, now, rng)
    return life, actions + more


def _import_failed(
    life: Life, worker: WorkerLife, event: WorkerEvent, now: float, _rng: Rng
) -> Step:
    assert isinstance(event, ImportFailed)
    cause = event.report.cause
    ending = replace(
        worker, phase=Phase.ENDING, since=now, kill_at=now + EXIT_GRACE_S, verdict=cause
    )
    return import_lost(with_worker(life, ending), worker, cause, now)


def import_lost(life: Life, worker: WorkerLife, cause: Cause, now: float) -> Step:
    """Give up the import of ``worker``'s generation: its other workers import the same."""
    if worker.generation == life.candidate:
        return refuse(life, cause, now)
    if worker.generation != life.current:
        return life, ()
    if worker.source is Source.LIVE:
        life = replace(life, cause=cause, broken=cause)
    elif life.of(Phase.READY, generation=life.current):
        life = replace(life, cause=cause)
    else:
        life = replace(
            life,
            known_good=False,
            source=Source.LIVE,
            retry_live_at=None,
            cause=life.broken or cause,
        )
    others = life.of(Phase.IMPORTING, generation=worker.generation)
    return each(life, others, lambda life, other: kill(life, other, now, cause))


def _ready(life: Life, worker: WorkerLife, _event: WorkerEvent, now: float, _rng: Rng) -> Step:
    serves = replace(worker, phase=Phase.READY, since=now, alive_at=now, kill_at=None)
    life = with_worker(life, serves)
    if worker.generation not in (life.current, life.candidate):
        return kill(life, serves, now)  # it started before a reload that has been quicker
    if worker.generation == life.current and worker.source is Source.LIVE:
        return replace(life, refusal=None, broken=None), ()  # what is on disk serves
    if worker.generation == life.current:
        again_at = None if life.limits.replace else now + RETRY_LIVE_S
        return replace(life, retry_live_at=again_at), ()
    if life.of(Phase.IMPORTING, generation=life.candidate):
        return life, ()
    return take_over(life, now)


def _exited_importing(
    life: Life, worker: WorkerLife, event: WorkerEvent, now: float, rng: Rng
) -> Step:
    assert isinstance(event, Exited)
    cause = worker.verdict or Cause(
        reason=f"the worker ended while it imported the app: {event.exit}",
        hint="look for os._exit, a crashing C extension, or lack of memory in the log",
    )
    life, actions = import_lost(without(life, worker.number), worker, cause, now)
    life, more = after_exit(life, now, rng)
    return life, actions + more


# ---- serving


def _beat(life: Life, worker: WorkerLife, event: WorkerEvent, now: float, rng: Rng) -> Step:
    assert isinstance(event, Beat)
    cause = _too_much(life, worker, event)
    not_before = max(life.recycle_at, worker.since + RECYCLE_MIN_S)
    may = life.candidate is None and life.pending is None and now >= not_before
    if cause is None or not may or worker.phase is not Phase.READY:
        return life, ()
    life, actions = reload(life, now, rng)
    return life, (Note(cause.reason), *actions)


def _sign_of_life(
    life: Life, worker: WorkerLife, event: WorkerEvent, now: float, _rng: Rng
) -> Step:
    assert isinstance(event, SignOfLife)
    alive_at = max(worker.alive_at, event.at)
    stuck = worker.stuck and now - alive_at > STUCK_AFTER_S
    return with_worker(life, replace(worker, alive_at=alive_at, stuck=stuck)), ()


def _gave_up(life: Life, worker: WorkerLife, event: WorkerEvent, _now: float, _rng: Rng) -> Step:
    assert isinstance(event, GaveUp)
    return with_worker(life, replace(worker, verdict=event.cause)), ()


def _too_much(life: Life, worker: WorkerLife, beat: Beat) -> Cause | None:
    """Say why a worker has to be replaced, if it has to."""
    limits = life.limits
    if limits.max_memory_mb is not None and beat.memory_mb > limits.max_memory_mb:
        text = f"its worker uses {beat.memory_mb:.0f} MB, more than max_memory_mb"
        return Cause(reason=f"{text} = {limits.max_memory_mb}: it is being replaced")
    if worker.max_requests is not None and beat.requests >= worker.max_requests:
        return Cause(reason=f"its worker has answered {beat.requests} requests: it is replaced")
    oldest_s, most_s = beat.oldest_request_s or 0.0, limits.request_timeout_s
    if most_s is not None and oldest_s > most_s:
        text = f"a request has taken {oldest_s:.0f} s, longer than request_timeout_s"
        return Cause(reason=f"{text} = {most_s:g}: its worker is being replaced")
    return None


def reload(life: Life, now: float, rng: Rng) -> Step:
    """Bring a new generation up, by the way that the app allows; a worker serves now."""
    if not life.limits.replace:
        return start_candidate(life, now, rng)
    life, actions = end_all(life, now)
    return replace(life, pending=Pending.START), actions


def _exited_ready(life: Life, worker: WorkerLife, event: WorkerEvent, now: float, rng: Rng) -> Step:
    assert isinstance(event, Exited)
    life = without(life, worker.number)
    ready_s = now - worker.since
    cause = worker.verdict or Cause(reason=f"the worker ended: {event.exit}")
    if worker.generation == life.candidate:  # ready before its mates were
        return refuse(life, cause, now)
    if life.of(Phase.PAUSED):
        text = f"the new worker ended {ready_s:.1f} s after it was ready: {event.exit}"
        hint = "what ran before goes on; look at its log"
        return roll_back(life, Cause(reason=text, hint=hint), now)
    history = (
        life.history.after_failure(now)
        if ready_s < STABLE_S
        else life.history.after_stable_exit(now, ready_s=ready_s)
    )
    life = replace(life, cause=cause, history=history)
    if life.candidate is not None:
        if life.of(Phase.READY, generation=life.current):
            return life, ()
        return promote(replace(life, restarts=life.restarts + 1), now)
    if life.pending is Pending.RELOAD and life.of(Phase.READY, generation=life.current):
        return after_exit(life, now, rng)
    return _again(life, now, rng)


def _exited_paused(life: Life, worker: WorkerLife, _e: WorkerEvent, now: float, rng: Rng) -> Step:
    life = without(life, worker.number)
    if not life.of(Phase.PAUSED):
        life = replace(life, probation_until=None)
    return after_exit(life, now, rng)


# ---- the end


def _exited_told_to(life: Life, worker: WorkerLife, _e: WorkerEvent, now: float, rng: Rng) -> Step:
    return after_exit(without(life, worker.number), now, rng)


def after_exit(life: Life, now: float, rng: Rng) -> Step:
    """Do what had to wait for workers to end; else see to it that enough of them run."""
    if life.stopped or not life.bound:
        return life, ()
    if life.pending is Pending.START:
        if life.workers:
            return life, ()
        return start(replace(life, restarts=life.restarts + 1), now, rng)
    if life.pending is Pending.RELOAD and life.of(Phase.READY, generation=life.current):
        newer = life.of(Phase.ENDING, Phase.IMPORTING)
        return (life, ()) if newer else start_candidate(life, now, rng)
    at_work = life.of(Phase.IMPORTING, Phase.ENDING, Phase.READY, generation=life.current)
    ready = [worker for worker in at_work if worker.phase is Phase.READY]
    if life.candidate is not None or life.retry_at is not None or len(at_work) > len(ready):
        return life, ()
    if len(ready) >= life.limits.workers:
        return life, ()
    return _again(replace(life, history=life.history.after_failure(now)), now, rng)


def _again(life: Life, now: float, rng: Rng) -> Step:
    """Start the missing workers now, or say when."""
    if life.retry_at is not None:
        return life, ()
    life = replace(life, restarts=life.restarts + 1, pending=None)
    if _falls_back(life):
        return start(life, now, rng, Source.KNOWN_GOOD)
    delay_s = life.history.delay_s(rng)
    if delay_s == 0:
        return fill_up(life, now, rng)
    return replace(life, retry_at=now + delay_s), ()


def _falls_back(life: Life) -> bool:
    """Say whether the last known good release is to serve, since the live code can't."""
    hopeless = life.broken is not None or life.history.failed
    at_work = life.of(Phase.READY, Phase.IMPORTING, generation=life.current)
    return life.known_good and life.source is Source.LIVE and hopeless and not at_work


def known_good(life: Life, now: float, rng: Rng, *, available: bool) -> Step:
    """Take note of a release to fall back on; use it at once when the app waits for a repair."""
    life = replace(life, known_good=available)
    if life.retry_at is None or life.stopped or not _falls_back(life):
        return life, ()
    return start(life, now, rng, Source.KNOWN_GOOD)


# ---- time


def elapsed(life: Life, worker: WorkerLife, now: float) -> Step:
    """Do what is due for one worker: kill it, or see that it is stuck."""
    if worker.kill_at is not None and now >= worker.kill_at:
        if worker.phase is not Phase.IMPORTING:
            return with_worker(life, replace(worker, kill_at=None)), (Kill(worker.number),)
        cause = Cause(
            reason=f"the import took longer than {life.limits.import_timeout_s:g} s and could "
            "not be interrupted",
            hint="it is stuck outside of Python code; raise import_timeout_s if it is only slow",
        )
        life, killed = kill(life, worker, now, cause)
        life, actions = import_lost(life, worker, cause, now)
        return life, killed + actions
    if worker.phase not in (Phase.READY, Phase.PAUSED):
        return life, ()
    silent_s = now - worker.alive_at
    if silent_s > life.limits.hang_timeout_s:
        return _hung(life, worker, now)
    if silent_s > STUCK_AFTER_S and not worker.stuck:
        life = with_worker(life, replace(worker, stuck=True))
        return replace(life, cause=stuck_cause(life)), ()
    return life, ()


def stuck_cause(life: Life) -> Cause:
    """Say that a worker is stuck."""
    return Cause(
        reason="its worker shows no sign of life: stopped, or busy outside of Python code",
        hint=f"it is replaced when that lasts {life.limits.hang_timeout_s:g} s (hang_timeout_s)",
    )


def _hung(life: Life, worker: WorkerLife, now: float) -> Step:
    """Kill a worker that has shown no sign of life for too long; its exit brings the next one."""
    if worker.verdict is not None:
        return life, ()
    cause = Cause(
        reason=f"the worker showed no sign of life for {life.limits.hang_timeout_s:g} s and was "
        "replaced",
        hint="look for a call that never returns to Python in what it did last",
    )
    return with_worker(life, replace(worker, verdict=cause)), (Kill(worker.number),)


def nothing(life: Life, _worker: WorkerLife, _event: WorkerEvent, _now: float, _rng: Rng) -> Step:
    """Change nothing: the event came too late, or too early."""
    return life, ()


TABLE: dict[tuple[Phase, type[WorkerEvent]], Handler] = {
    (Phase.IMPORTING, Spawned): _spawned,
    (Phase.IMPORTING, SpawnFailed): _spawn_failed,
    (Phase.IMPORTING, ImportFailed): _import_failed,
    (Phase.IMPORTING, Ready): _ready,
    (Phase.IMPORTING, SignOfLife): nothing,  # its `Ready` is on the way
    (Phase.IMPORTING, GaveUp): _gave_up,
    (Phase.IMPORTING, Exited): _exited_importing,
    (Phase.READY, SignOfLife): _sign_of_life,
    (Phase.READY, Beat): _beat,
    (Phase.READY, GaveUp): _gave_up,
    (Phase.READY, Exited): _exited_ready,
    (Phase.PAUSED, SignOfLife): _sign_of_life,
    (Phase.PAUSED, Beat): _beat,
    (Phase.PAUSED, GaveUp): _gave_up,
    (Phase.PAUSED, Exited): _exited_paused,
    (Phase.DRAINING, SignOfLife): nothing,
    (Phase.DRAINING, Beat): nothing,
    (Phase.DRAINING, GaveUp): nothing,
    (Phase.DRAINING, Exited): _exited_told_to,
    (Phase.ENDING, ImportFailed): nothing,
    (Phase.ENDING, Ready): nothing,
    (Phase.ENDING, SignOfLife): nothing,
    (Phase.ENDING, Beat): nothing,
    (Phase.ENDING, GaveUp): nothing,
    (Phase.ENDING, Exited): _exited_told_to,
}
