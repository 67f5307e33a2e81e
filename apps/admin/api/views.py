"""Answers the operations about apps, events and the machine; `changing` has the other ones."""

import time
from dataclasses import asdict
from typing import Any

from apps.admin import link
from apps.admin.access import guard
from apps.admin.access.guard import Right
from apps.admin.actions import VERBS, operate
from apps.admin.api import schemas
from apps.admin.api.openapi import document
from apps.admin.api.operations import (
    NUMBER,
    OBJECT,
    TEXT,
    list_of,
    maybe,
    number,
    operation,
    record,
    words,
)
from apps.admin.fields import inner
from apps.admin.rendering import charts
from supervisor.client import ControlError

Answer = dict[str, Any]


@operation("GET", "/openapi.json", "This document", right=Right.NONE, answer=OBJECT)
def openapi() -> Answer:
    """Return the OpenAPI document."""
    return document()


@operation(
    "GET",
    "/snapshot",
    "The state of everything, as port 6000 has it",
    right=Right.GLANCE,
    answer=schemas.SNAPSHOT,
)
def snapshot() -> Answer:
    """Return the snapshot."""
    return link.snapshot()


@operation("GET", "/apps/<app>", "The state of one app", right=Right.GLANCE, answer=schemas.APP)
def app_state(app: str) -> Answer:
    """Return the state of one app."""
    return link.app_snapshot(app)


@operation(
    "GET",
    "/apps/<app>/samples",
    "What its charts show: the last hour, oldest first; `requests` are counted since its start",
    right=Right.GLANCE,
    answer=record(samples=list_of(schemas.SAMPLE)),
)
def app_samples(app: str) -> Answer:
    """Return the samples of an app."""
    link.app_snapshot(app)
    now = time.monotonic()
    found = [asdict(one) for one in charts().samples.of(app, now)]
    return {"samples": [{"age_s": round(now - one.pop("at_s"), 1), **one} for one in found]}


@operation(
    "GET",
    "/apps/<app>/failure",
    "Its last failure: traceback, the source around it, what it printed last",
    right=Right.READ,
    answer=record(failure=maybe(OBJECT)),
)
def app_failure(app: str) -> Answer:
    """Return the last failure of an app."""
    return dict(link.ask_long("admin.failure", app=app))


@operation(
    "GET",
    "/apps/<app>/logs",
    "Log lines with a number above `after`, at most the `newest`",
    right=Right.READ,
    query={"after": NUMBER, "newest": NUMBER},
    answer=record(lines=list_of(schemas.LINE), last=NUMBER),
)
def app_logs(app: str) -> Answer:
    """Return log lines of an app."""
    return dict(link.ask("logs", app=app, after=number("after"), newest=number("newest", 500)))


@operation(
    "GET",
    "/apps/<app>/files",
    "What each of its live files holds, by path: to compare machines",
    right=Right.READ,
    answer=record(app=TEXT, digest=TEXT, files={"type": "object", "additionalProperties": TEXT}),
    errors={422: "its files can't be read"},
)
def app_files(app: str) -> Answer:
    """Return the digests of an app's files."""
    return dict(link.ask_long("release.files", app=app))


@operation(
    "GET",
    "/apps/<app>/releases",
    "Its releases, newest first",
    right=Right.READ,
    answer=record(app=TEXT, releases=list_of(schemas.RELEASE)),
    errors={422: "they can't be read"},
)
def app_releases(app: str) -> Answer:
    """Return the releases of an app."""
    return dict(link.ask_long("release.list", app=app))


@operation(
    "GET",
    "/apps/<app>/compare",
    "The files that differ between two releases, or `live`",
    right=Right.READ,
    query={
        "old": {**TEXT, "minLength": 1, "required": True},
        "new": {**TEXT, "minLength": 1, "required": True},
    },
    answer=schemas.DIFFERENCE,
    errors={422: "there is no such release"},
)
def compare_releases(app: str) -> Answer:
    """Return what differs between two releases."""
    return dict(link.ask_long("release.compare", app=app, old=words("old"), new=words("new")))


@operation(
    "POST",
    "/apps/<app>/<verb>",
    "Start, stop, restart or reload it; the answer comes at once, its state shows the outcome",
    right=Right.OPERATE,
    answer=schemas.BEGUN,
    status=202,
)
def operate_app(app: str, verb: str) -> tuple[Answer, int]:
    """Start, stop, restart or reload an app."""
    if verb not in VERBS:
        raise ControlError(f"{verb!r} is none of {', '.join(VERBS)}", code="unknown_app")
    operate(app, verb)
    return {"app": app, "begun": True}, 202


@operation(
    "GET",
    "/events",
    "What happened: events with a number above `after`",
    right=Right.GLANCE,
    query={"after": NUMBER},
    answer=record(events=list_of(schemas.EVENT), last=NUMBER),
)
def events() -> Answer:
    """Return the events."""
    return guard.events(after=number("after"))


@operation(
    "GET",
    "/checks",
    "All checks, by name",
    right=Right.GLANCE,
    answer={"type": "object", "additionalProperties": schemas.CHECK},
)
def checks() -> Answer:
    """Return the checks."""
    return dict(link.snapshot().get("checks") or {})


@operation("GET", "/machine", "Facts about the machine", right=Right.GLANCE, answer=OBJECT)
def machine() -> Answer:
    """Return the facts about the machine; empty until they are known."""
    return dict(inner(link.snapshot(), "host"))


@operation(
    "GET",
    "/machines",
    "The machines of `hosts.toml`, each with its state",
    right=Right.READ,
    answer=record(file=maybe(TEXT), machines=list_of(record(name=TEXT, status=TEXT))),
    errors={422: "the file of hosts is not valid"},
)
def machines() -> Answer:
    """Return the machines of the fleet."""
    return dict(link.ask_long("admin.fleet"))
