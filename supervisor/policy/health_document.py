"""The health document: pure functions from the states of apps to what monitors read.

The format follows ``application/health+json`` (draft-inadarei-api-health-check) in its
``status`` words; the fields are described in docs/health.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from math import isfinite
from typing import Any

from supervisor.policy.app_state import AppView
from supervisor.policy.process_state import Refusal, WorkerState
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
    """One app as the main process sees it; ``since_wall`` is the wall time of ``view.since``."""

    name: str
    port: int | None
    address: str
    control: bool
    view: AppView
    since_wall: str
    stand_in_answers: bool
    version: dict[str, Any] | None = None  # of the code that serves
    metrics: Metrics = field(default_factory=Metrics)
    latency_ms: tuple[float | None, float | None] = (None, None)  # of the last minute: p50, p99
    memory_mb: float | None = None
    last_failure: dict[str, Any] | None = None  # over restarts of the supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFacts:
    """The outcome of one check; ``reason`` is None while it passes."""

    name: str
    reason: str | None
    hint: str | None = None
    critical: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorFacts:
    """The version and the start of the supervisor."""

    version: str
    pid: int
    started_wall: str
    started_s: float


def worst(statuses: Iterable[Status]) -> Status:
    """Return the worst of ``statuses``; ``pass`` if there are none."""
    return max(statuses, key=_SEVERITY.__getitem__, default=Status.PASS)


def app_status(facts: AppFacts, now: float) -> Status:
    """Return the status of one app."""
    if facts.view.state is AppState.READY:
        return Status.PASS if _concern(facts, now) is None else Status.WARN
    return Status.WARN if facts.view.state is AppState.STOPPED else Status.FAIL


def _concern(facts: AppFacts, now: float) -> Cause | None:
    """Return the worst that is not as it should be with an app that serves, or None."""
    process = facts.view.process
    if process.fallback_cause is not None:
        back = f"or put that release back: flask-supervisor rollback {facts.name}"
        hint = process.fallback_cause.hint
        return replace(process.fallback_cause, hint=f"{hint}; {back}" if hint else back)
    if facts.view.cause is not None:  # it lacks a worker
        return facts.view.cause
    if facts.view.app.sharing is not None:
        return facts.view.app.sharing
    if process.refusal is not None:
        cause = process.refusal.cause
        return Cause(reason=f"reload refused, what ran goes on: {cause.reason}", hint=cause.hint)
    if is_saturated(facts.metrics):
        threads = facts.metrics.max_threads
        text = f"all {threads} threads are busy and {facts.metrics.queue} requests wait"
        return Cause(reason=text, hint="raise max_threads, or find what makes its requests slow")
    if process.oversize is not None and process.oversize.cause is not None:
        return process.oversize.cause
    if process.stale:
        return Cause(
            reason="the code on disk is not the code that runs",
            hint=f"let it run with: flask-supervisor reload {facts.name}",
        )
    restarts = process.history.recent_restarts(now)
    if restarts >= RESTARTS_OFTEN:
        return Cause(
            reason=f"its worker ended {restarts} times in the last minute",
            hint=f"see why: flask-supervisor logs {facts.name}",
        )
    return None


def is_saturated(metrics: Metrics) -> bool:
    """Return whether no thread is free, none can be added, and requests wait."""
    full = 0 < metrics.max_threads <= metrics.busy
    return full and metrics.queue > 0 and metrics.queue_wait_s >= _SATURATED_AFTER_S


def serving(facts: AppFacts) -> Serving:
    """Return what answers an app's port."""
    if facts.view.state is AppState.READY:
        known_good = facts.view.process.source is CodeSource.KNOWN_GOOD
        return Serving.LAST_KNOWN_GOOD if known_good else Serving.APP
    return Serving.STAND_IN if facts.stand_in_answers else Serving.NOTHING


def app_document(facts: AppFacts, now: float) -> dict[str, Any]:
    """Return the health document of one app."""
    view, process = facts.view, facts.view.process
    cause = _concern(facts, now) if view.state is AppState.READY else view.cause
    retry_in_s = None if view.retry_at is None else round(max(0.0, view.retry_at - now), 1)
    return {
        "status": str(app_status(facts, now)),
        "state": str(view.state),
        "serving": str(serving(facts)),
        "port": facts.port,
        "address": facts.address,
        "pid": view.pid,
        "workers": [_worker_document(worker) for worker in view.workers if worker.pid is not None],
        "generation": process.current or process.generation,
        "restarts": process.restarts,
        "since": facts.since_wall,
        "age_s": round(now - view.since, 1),
        "reason": cause.reason if cause else None,
        "hint": cause.hint if cause else None,
        "refusal": _refusal_document(process.refusal, now),
        "stale": process.stale,
        "release": facts.version,
        "last_failure": facts.last_failure,
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
        "latency_counts": list(metrics.latency),
        "latency_sum_s": round(metrics.latency_sum_s, 3),
    }


def _worker_document(worker: WorkerState) -> dict[str, Any]:
    state = "stuck" if worker.stuck else str(worker.phase)
    return {"pid": worker.pid, "generation": worker.generation, "state": state}


def _refusal_document(refusal: Refusal | None, now: float) -> dict[str, Any] | None:
    if refusal is None:
        return None
    return {"reason": refusal.cause.reason, "age_s": round(now - refusal.at, 1)}


def check_document(check: CheckFacts) -> dict[str, Any]:
    """Return the health document of one check."""
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
    *,
    event_counts: Mapping[str, Mapping[str, int]],
    main_loop_lag_s: float,
) -> dict[str, Any]:
    """Return the whole snapshot: what ``/health`` answers and ``status --json`` prints.

    ``event_counts`` are by app ("" for none) and kind.
    """
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
        "event_counts": {app: dict(kinds) for app, kinds in event_counts.items()},
        "main_loop_lag_s": round(main_loop_lag_s, 3),
    }


def aged(document: Any, seconds: float) -> Any:
    """Return a part of the snapshot as it is ``seconds`` later, when nothing else has changed."""
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
    """Return what keeps a machine from being ready: names of apps and checks, with reasons.

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
    """Return an event for a program."""
    return {
        "time": event.wall,
        "age_s": round(now - event.monotonic_s, 1) if isfinite(event.monotonic_s) else None,
        "app": event.app,
        "kind": str(event.kind),
        "text": event.text,
    }
