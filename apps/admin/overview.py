"""Turns the supervisor's snapshot into the words of the pages.

An older or newer supervisor may leave fields out, add some, or fill them in another way: a field
that is not understood is left out, and never breaks the page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apps.admin.charts import AppCharts, Charts
from apps.admin.fields import LEVELS, age, count, duration, level, mappings, seconds, text

_STATES = {
    "starting": "starting",
    "ready": "ready",
    "backoff": "waiting to start again",
    "failed": "failing often, retried once a minute",
    "stopped": "stopped by an operator",
    "blocked": "has no port yet",
}
_SERVERS = {
    "app": "the app",
    "last-known-good": "its last known good release",
    "stand-in": "the stand-in, with the reason",
    "nothing": "nothing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AppOverview:
    """One app in words; None stands for what the snapshot doesn't have."""

    name: str
    level: str
    stopped: bool
    state: str
    serving: str | None
    port: int | None
    address: str | None
    link: str | None
    pid: int | None
    restarts: int | None
    age: str | None
    retry_in: str | None
    reason: str | None
    hint: str | None
    refusal: str | None
    on_known_good: bool
    version: str | None
    latency_ms: float | None
    memory_mb: float | None
    requests: Mapping[str, Any]
    charts: AppCharts | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event, and how long ago it happened."""

    text: str
    kind: str | None
    app: str | None
    age: str | None
    time: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A check: how it is, why, and what to do."""

    name: str
    app: str | None
    level: str
    reason: str | None
    hint: str | None
    critical: bool
    age: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The whole page: ``headline`` is followed by the ``named`` apps, if any."""

    level: str
    headline: str
    named: tuple[str, ...]
    apps: tuple[AppOverview, ...]
    failed_checks: tuple[Check, ...]
    events: tuple[Event, ...]
    version: str | None
    age: str | None


def overview_of(
    snapshot: Mapping[str, Any],
    host: str,
    charts: Charts | None = None,
    now: float = 0.0,
) -> Overview:
    """Return ``snapshot`` in words, with links for a browser that reached this machine as ``host``.

    ``host`` has no port, and an IPv6 address in it has brackets; without a host there are no links.
    ``now`` is the monotonic time up to which the ``charts`` are drawn.
    """
    apps = tuple(
        app_overview(name, raw, host, charts.of(name, now) if charts else None)
        for name, raw in mappings(snapshot.get("apps"))
    )
    headline, named = _headline(apps)
    worst = max((app.level for app in apps), key=LEVELS.index, default="warn")
    return Overview(
        level=level(snapshot.get("status")) or worst,
        headline=headline,
        named=named,
        apps=apps,
        failed_checks=tuple(
            check
            for check in checks_of(snapshot.get("checks"))
            if check.level != "pass" and check.app is None  # else the app says it
        ),
        events=events_of(snapshot.get("events")),
        version=text(snapshot.get("version")),
        age=age(snapshot),
    )


def _headline(apps: tuple[AppOverview, ...]) -> tuple[str, tuple[str, ...]]:
    if not apps:
        return "No apps are configured", ()
    not_ready = tuple(app.name for app in apps if app.level == "fail" and not app.stopped)
    stopped = tuple(app.name for app in apps if app.stopped)
    named, what = (not_ready, "not ready") if not_ready else (stopped, "stopped")
    if named:
        some = "The only app" if len(apps) == 1 else f"{len(named)} of {len(apps)} apps"
        return f"{some} {'is' if len(named) == 1 else 'are'} {what}", named
    ready = "The only app is ready" if len(apps) == 1 else f"All {len(apps)} apps are ready"
    warned = tuple(app.name for app in apps if app.level == "warn")
    return (f"{ready}, with a warning" if warned else ready), warned


def app_overview(
    name: str, raw: Mapping[str, Any], host: str, charts: AppCharts | None = None
) -> AppOverview:
    """Return one app in words."""
    state = text(raw.get("state"))
    serving = text(raw.get("serving"))
    port = count(raw.get("port"))
    retry_in_s = seconds(raw.get("retry_in_s"))
    requests, refusal = _mapping(raw.get("requests")), _mapping(raw.get("refusal"))
    guess = {"ready": "pass", "stopped": "warn"}.get(state or "", "fail")
    return AppOverview(
        name=name,
        level=level(raw.get("status")) or guess,
        stopped=state == "stopped",
        state=_STATES.get(state or "", state or "unknown"),
        serving=_SERVERS.get(serving or "", serving),
        port=port,
        address=text(raw.get("address")),
        link=f"http://{host}:{port}/" if port and host else None,
        pid=count(raw.get("pid")),
        restarts=count(raw.get("restarts")),
        age=age(raw),
        retry_in=None if retry_in_s is None else duration(retry_in_s),
        reason=text(raw.get("reason")),
        hint=text(raw.get("hint")),
        refusal=text(refusal.get("reason")),
        on_known_good=serving == "last-known-good",
        version=_version(_mapping(raw.get("release"))),
        latency_ms=seconds(_mapping(requests.get("latency_ms")).get("p50")),
        memory_mb=seconds(raw.get("memory_mb")),
        requests=requests,
        charts=charts,
    )


def _mapping(raw: object) -> Mapping[str, Any]:
    return raw if isinstance(raw, dict) else {}


def _version(release: Mapping[str, Any]) -> str | None:
    """Return the short name of a release: its commit, else its digest."""
    name = text(release.get("commit")) or text(release.get("digest"))
    if name is None:
        return None
    return name[:8] + (" + changes" if release.get("dirty") is True else "")


def checks_of(raw: object) -> tuple[Check, ...]:
    """Return checks in words, the worst first."""
    found = [_check(name, one) for name, one in mappings(raw)]
    return tuple(sorted(found, key=lambda check: -LEVELS.index(check.level)))


def _check(name: str, raw: Mapping[str, Any]) -> Check:
    how = level(raw.get("status")) or "pass"
    return Check(
        name=name.replace("_", " "),
        app=text(raw.get("app")),
        level=how,
        reason=text(raw.get("reason")) or (None if how == "pass" else "not as it should be"),
        hint=text(raw.get("hint")),
        critical=raw.get("critical") is not False,
        age=age(raw),
    )


def events_of(raw: object) -> tuple[Event, ...]:
    """Return events in words, newest first: the supervisor has them oldest first."""
    known = [event for event in raw if isinstance(event, dict)] if isinstance(raw, list) else []
    return tuple(
        Event(
            text=text(event.get("text")) or text(event.get("kind")) or "something happened",
            kind=text(event.get("kind")),
            app=text(event.get("app")),
            age=age(event),
            time=text(event.get("time")),
        )
        for event in reversed(known)
    )
