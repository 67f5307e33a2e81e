"""What the supervisor says of itself: pure functions from states to the health document.

The format follows ``application/health+json`` (draft-inadarei-api-health-check) in its
``status`` words; the fields are described in docs/health.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from supervisor.events import Event
from supervisor.life import Life
from supervisor.model import AppState, Cause, Serving, Status

_SEVERITY = {Status.PASS: 0, Status.WARN: 1, Status.FAIL: 2}
EVENTS_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFacts:
    """One app as the main process sees it; ``life`` is None for an app that is disabled."""

    name: str
    port: int | None
    address: str
    control: bool
    life: Life
    since_wall: str
    stand_in_answers: bool
    foreign: Cause | None = None  # who listens on its port beside us


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


def app_status(facts: AppFacts) -> Status:
    """Judge one app."""
    if facts.life.state is AppState.READY:
        return Status.PASS if facts.foreign is None else Status.WARN
    return Status.WARN if facts.life.state is AppState.STOPPED else Status.FAIL


def serving(facts: AppFacts) -> Serving:
    """Say what answers an app's port."""
    if facts.life.state is AppState.READY:
        return Serving.APP
    return Serving.STAND_IN if facts.stand_in_answers else Serving.NOTHING


def app_document(facts: AppFacts, now: float) -> dict[str, Any]:
    """Give the health document of one app."""
    life = facts.life
    cause = life.cause or facts.foreign
    worker = {"pid": life.pid, "generation": life.generation, "state": str(life.state)}
    retry_in_s = None if life.retry_at is None else round(max(0.0, life.retry_at - now), 1)
    return {
        "status": str(app_status(facts)),
        "state": str(life.state),
        "serving": str(serving(facts)),
        "port": facts.port,
        "address": facts.address,
        "pid": life.pid,
        "workers": [worker] if life.pid is not None else [],
        "generation": life.generation,
        "restarts": life.restarts,
        "since": facts.since_wall,
        "age_s": round(now - life.since, 1),
        "reason": cause.reason if cause else None,
        "hint": cause.hint if cause else None,
        "retry_in_s": retry_in_s,
    }


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
    """Give the whole picture: what ``/health`` answers and ``status --json`` prints."""
    statuses = [app_status(app) for app in apps] + [_check_status(c) for c in checks]
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


def not_ready(picture: dict[str, Any]) -> dict[str, str]:
    """Give what keeps a machine from being ready: names of apps and checks, with reasons.

    An app that an operator stopped doesn't count.
    """
    found = {
        name: app["reason"] or app["state"]
        for name, app in picture["apps"].items()
        if app["state"] not in (AppState.READY, AppState.STOPPED)
    }
    for name, check in picture["checks"].items():
        if check["status"] == Status.FAIL:
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
