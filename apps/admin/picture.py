"""Turns the supervisor's snapshot into words.

An older or newer supervisor may leave fields out, add some, or fill them otherwise: what can't
be understood is left out of the picture, and never breaks it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apps.admin.reading import LEVELS, age, count, duration, level, mappings, seconds, text

_STATES = {
    "starting": "starting",
    "ready": "ready",
    "backoff": "waiting to start again",
    "failed": "failing often, still tried",
    "stopped": "stopped by an operator",
    "blocked": "has no port yet",
}
_SERVERS = {
    "app": "the app",
    "last-known-good": "its last known good release",
    "stand-in": "a stand-in that gives the reason",
    "nothing": "nothing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AppPicture:
    """One app in words; None is what the supervisor didn't tell."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, and how long ago."""

    text: str
    app: str | None
    age: str | None
    time: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A check that doesn't pass, and what to do."""

    text: str
    hint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The whole picture: ``headline`` is followed by the ``named`` apps, if any."""

    level: str
    headline: str
    named: tuple[str, ...]
    apps: tuple[AppPicture, ...]
    troubles: tuple[Trouble, ...]
    events: tuple[Event, ...]
    version: str | None
    age: str | None


def picture_of(snapshot: Mapping[str, Any], host: str) -> Picture:
    """Describe ``snapshot`` to a browser that reached this machine as ``host``.

    ``host`` comes without a port, an IPv6 address in brackets; empty gives no links.
    """
    apps = tuple(_app(name, raw, host) for name, raw in mappings(snapshot.get("apps")))
    headline, named = _headline(apps)
    worst = max((app.level for app in apps), key=LEVELS.index, default="warn")
    return Picture(
        level=level(snapshot.get("status")) or worst,
        headline=headline,
        named=named,
        apps=apps,
        troubles=tuple(
            _trouble(name, raw)
            for name, raw in mappings(snapshot.get("checks"))
            if level(raw.get("status")) in ("warn", "fail")
        ),
        events=_events(snapshot.get("events")),
        version=text(snapshot.get("version")),
        age=age(snapshot),
    )


def _headline(apps: tuple[AppPicture, ...]) -> tuple[str, tuple[str, ...]]:
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


def _app(name: str, raw: Mapping[str, Any], host: str) -> AppPicture:
    state = text(raw.get("state"))
    serving = text(raw.get("serving"))
    port = count(raw.get("port"))
    retry_in_s = seconds(raw.get("retry_in_s"))
    guess = {"ready": "pass", "stopped": "warn"}.get(state or "", "fail")
    return AppPicture(
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
    )


def _trouble(name: str, raw: Mapping[str, Any]) -> Trouble:
    reason = text(raw.get("reason")) or "not as it should be"
    return Trouble(text=f"{name.replace('_', ' ')}: {reason}", hint=text(raw.get("hint")))


def _events(raw: object) -> tuple[Event, ...]:
    """Give the events the newest first: the supervisor gives them as they happened."""
    known = [event for event in raw if isinstance(event, dict)] if isinstance(raw, list) else []
    return tuple(
        Event(
            text=text(event.get("text")) or text(event.get("kind")) or "something happened",
            app=text(event.get("app")),
            age=age(event),
            time=text(event.get("time")),
        )
        for event in reversed(known)
    )
