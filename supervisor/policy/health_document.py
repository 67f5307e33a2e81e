"""What the supervisor says of itself: pure functions from states to the health document.

The format follows ``application/health+json`` (draft-inadarei-api-health-check) in its
``status`` words; the fields are described in docs/health.md.
"""

from collections.abc import Iterable
from dataclasses import field
from typing import Any

from supervisor.policy.process_state import ProcessState, Refusal, WorkerState
from supervisor.values.events import Event
from supervisor.values.metrics import Metrics
from supervisor.values.records import dataclass
from supervisor.values.reports import Cause
from supervisor.values.states import AppState, CodeSource, Serving, Status

_SEVERITY = {Status.PASS: 0, Status.WARN: 1, Status.FAIL: 2}
EVENTS_SHOWN = 20
_SATURATED_AFTER_S = 1.0  # a shorter wait is a burst
RESTARTS_OFTEN = 3  # in a minute: more than bad luck


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFacts:
    """One app as the main process sees it; ``life`` is None for an app that is disabled."""

    name: str
    port: int | None
    address: str
    control: bool
    life: ProcessState
    since_wall: str
    stand_in_answers: bool
    foreign: Cause | None = None  # who listens on its port beside us
    stale: bool = False  # the code that serves is not the code on disk
    version: dict[str, Any] | None = None  # of the code that serves
    metrics: Metrics = field(default_factory=Metrics)
    latency_ms: tuple[float | None, float | None] = (None, None)  # of the last minute: p50, p99
    memory_mb: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFacts:
    """The outcome of one check; ``reason`` is None while it passes."""

    name: str
    reason: str | None
    hint: str | None = None
    critical: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorFacts:
    """What is known of the supervisor itself."""

    version: str
    pid: int
    started_wall: str
    started_s: float


def worst(statuses: Iterable[Status]) -> Status:
    """Give the worst of ``statuses``; nothing at all passes."""
    return max(statuses, key=_SEVERITY.__getitem__, default=Status.PASS)


def app_status(facts: AppFacts, now: float) -> Status:
    """Judge one app."""
    if facts.life.state is AppState.READY:
        return Status.PASS if _concern(facts, now) is None else Status.WARN
    return Status.WARN if facts.life.state is AppState.STOPPED else Status.FAIL


def _concern(facts: AppFacts, now: float) -> Cause | None:
    """Give what is not as it should be with an app that serves, the worst first."""
    life = facts.life
    if life.fallen_back is not None:
        return life.fallen_back
    if life.cause is not None:  # it lacks a worker
        return life.cause
    if facts.foreign is not None:
        return facts.foreign
    if life.refusal is not None:
        cause = life.refusal.cause
        return Cause(reason=f"reload refused, what ran goes on: {cause.reason}", hint=cause.hint)
    if is_saturated(facts.metrics):
        threads = facts.metrics.max_threads
        text = f"all {threads} threads are busy and {facts.metrics.queue} requests wait"
        return Cause(reason=text, hint="raise max_threads, or find what makes its requests slow")
    if facts.stale:
        return Cause(
            reason="the code on disk is not the code that runs",
            hint=f"let it run with: flask-supervisor reload {facts.name}",
        )
    restarts = life.history.recent_restarts(now)
    if restarts >= RESTARTS_OFTEN:
        return Cause(
            reason=f"its worker ended {restarts} times in the last minute",
            hint=f"see why: flask-supervisor logs {facts.name}",
        )
    return None


def is_saturated(metrics: Metrics) -> bool:
    """Say whether no thread is free, none can be added, and requests wait."""
    full = 0 < metrics.max_threads <= metrics.busy
    return full and metrics.queue > 0 and metrics.queue_wait_s >= _SATURATED_AFTER_S


def serving(facts: AppFacts) -> Serving:
    """Say what answers an app's port."""
    if facts.life.state is AppState.READY:
        known_good = facts.life.source is CodeSource.KNOWN_GOOD
        return Serving.LAST_KNOWN_GOOD if known_good else Serving.APP
    return Serving.STAND_IN if facts.stand_in_answers else Serving.NOTHING


def app_document(facts: AppFacts, now: float) -> dict[str, Any]:
    """Give the health document of one app."""
    life = facts.life
    cause = _concern(facts, now) if life.state is AppState.READY else life.cause
    retry_in_s = None if life.retry_at is None else round(max(0.0, life.retry_at - now), 1)
    return {
        "status": str(app_status(facts, now)),
        "state": str(life.state),
        "serving": str(serving(facts)),
        "port": facts.port,
        "address": facts.address,
        "pid": life.pid,
        "workers": [_worker_document(worker) for worker in life.workers if worker.pid is not None],
        "generation": life.current or life.generation,
        "restarts": life.restarts,
        "since": facts.since_wall,
        "age_s": round(now - life.since, 1),
        "reason": cause.reason if cause else None,
        "hint": cause.hint if cause else None,
        "refusal": _refusal_document(life.refusal, now),
        "stale": facts.stale,
        "release": facts.version,
        "retry_in_s": retry_in_s,
        "requests": _requests_document(facts),
        "memory_mb": None if facts.memory_mb is None else round(facts.memory_mb, 1),
    }


def _requests_document(facts: AppFacts) -> dict[str, Any]:
    metrics = facts.metrics
    p50, p99 = (None if ms is None else round(ms, 1) for ms in facts.latency_ms)
    return {
        "total": metrics.total,
        "by_class": dict(metrics.by_class),
        "rejected": metrics.rejected,
        "in_flight": metrics.in_flight,
        "queue": metrics.queue,
        "oldest_s": None if metrics.oldest_s is None else round(metrics.oldest_s, 1),
        "threads": metrics.threads,
        "busy": metrics.busy,
        "max_threads": metrics.max_threads,
        "connections": metrics.connections,
        "latency_ms": {"p50": p50, "p99": p99},
    }


def _worker_document(worker: WorkerState) -> dict[str, Any]:
    state = "stuck" if worker.stuck else str(worker.phase)
    return {"pid": worker.pid, "generation": worker.generation, "state": state}


def _refusal_document(refusal: Refusal | None, now: float) -> dict[str, Any] | None:
    if refusal is None:
        return None
    return {"reason": refusal.cause.reason, "age_s": round(now - refusal.at, 1)}


def check_document(check: CheckFacts) -> dict[str, Any]:
    """Give the health document of one check."""
    return {
        "status": str(_check_status(check)),
        "reason": check.reason,
        "hint": check.hint,
        "critical": check.critical,
    }


def _check_status(check: CheckFacts) -> Status:
    if check.reason is None:
        return Status.PASS
    return Status.FAIL if check.critical else Status.WARN


def document(
    supervisor: SupervisorFacts,
    apps: list[AppFacts],
    checks: list[CheckFacts],
    events: list[Event],
    now: float,
) -> dict[str, Any]:
    """Give the whole snapshot: what ``/health`` answers and ``status --json`` prints."""
    statuses = [app_status(app, now) for app in apps] + [_check_status(c) for c in checks]
    return {
        "status": str(worst(statuses)),
        "version": supervisor.version,
        "pid": supervisor.pid,
        "started": supervisor.started_wall,
        "age_s": round(now - supervisor.started_s, 1),
        "apps": {app.name: app_document(app, now) for app in apps},
        "checks": {check.name: check_document(check) for check in checks},
        "events": [event_document(event, now) for event in events[-EVENTS_SHOWN:]],
    }


def aged(document: Any, seconds: float) -> Any:
    """Give a part of the snapshot as it is ``seconds`` later, when nothing else has changed."""
    if isinstance(document, list):
        return [aged(one, seconds) for one in document]
    if not isinstance(document, dict):
        return document
    found = {key: aged(value, seconds) for key, value in document.items()}
    if found.get("age_s") is not None:
        found["age_s"] = round(found["age_s"] + seconds, 1)
    if found.get("retry_in_s") is not None:
        found["retry_in_s"] = round(max(0.0, found["retry_in_s"] - seconds), 1)
    return found


def not_ready(snapshot: dict[str, Any]) -> dict[str, str]:
    """Give what keeps a machine from being ready: names of apps and checks, with reasons.

    An app that an operator stopped doesn't count; a critical check that has no result yet does.
    """
    found = {
        name: app["reason"] or app["state"]
        for name, app in snapshot["apps"].items()
        if app["state"] not in (AppState.READY, AppState.STOPPED)
    }
    for name, check in snapshot["checks"].items():
        if check["critical"] and check["status"] != Status.PASS:
            found[name] = check["reason"]
    return found


def event_document(event: Event, now: float) -> dict[str, Any]:
    """Give an event for a program."""
    return {
        "time": event.wall,
        "age_s": round(now - event.monotonic_s, 1),
        "app": event.app,
        "kind": str(event.kind),
        "text": event.text,
    }
