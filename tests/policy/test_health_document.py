"""The health document: its words, its fields and their types, and what counts as not ready."""

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.policy import health_document
from supervisor.policy.app_state import AppRecord, AppView
from supervisor.policy.backoff import History
from supervisor.policy.health_document import AppFacts, CheckFacts, SupervisorFacts
from supervisor.policy.process_state import Limits, ProcessState, Refusal, WorkerPhase, WorkerState
from supervisor.values.events import Event, EventKind
from supervisor.values.metrics import Metrics
from supervisor.values.reports import Cause
from supervisor.values.states import AppState, Serving, Status

NOW = 1000.0
WALL = "2026-03-01T12:00:00Z"
COUNTED: dict[str, Any] = {"event_counts": {"": {"started": 1}}, "main_loop_lag_s": 0.0}
SUPERVISOR = SupervisorFacts(version="1.2.3", pid=42, started_wall=WALL, started_s=NOW - 60)
CAUSE = Cause(reason="ValueError: no (coach.py, line 3)", hint="correct it")


def make_process(state: AppState, **fields: Any) -> ProcessState:
    """Return a process that has been in ``state`` for 5 seconds."""
    process = ProcessState(
        since=NOW - 5,
        limits=Limits(import_timeout_s=10),
        bound=state is not AppState.BLOCKED,
        stopped=state is AppState.STOPPED,
        retry_at=NOW + 5 if state in (AppState.BACKOFF, AppState.FAILED) else None,
        history=History(failed=state is AppState.FAILED),
        generation=3,
        current=3,
    )
    phase = {AppState.STARTING: WorkerPhase.IMPORTING, AppState.READY: WorkerPhase.READY}.get(state)
    if phase is not None:
        process = replace(process, workers=(make_worker(1, phase=phase),))
    process = replace(process, **fields)
    assert process.state is state
    return process


def make_worker(
    number: int, *, phase: WorkerPhase = WorkerPhase.READY, **fields: Any
) -> WorkerState:
    """Return a worker of generation 3, whose pid is 4710 and its number."""
    known = {"generation": 3, "since": NOW - 5, "pid": 4710 + number, "phase": phase}
    return WorkerState(number=number, **{**known, **fields})


def make_facts(
    state: AppState,
    *,
    name: str = "coach",
    stand_in: bool = False,
    facts: dict[str, Any] | None = None,
    record: dict[str, Any] | None = None,
    **fields: Any,
) -> AppFacts:
    """Return the facts of an app alone in a process in ``state``, which has ``fields``."""
    app = AppRecord(
        since=NOW - 5,
        bound=state is not AppState.BLOCKED,
        stopped=state is AppState.STOPPED,
        bind_cause=fields.get("cause") if state is AppState.BLOCKED else None,
        **(record or {}),
    )
    return AppFacts(
        name=name,
        port=5001,
        address="0.0.0.0:5001",
        control=False,
        view=AppView(app=app, process=make_process(state, **fields)),
        since_wall=WALL,
        stand_in_answers=stand_in,
        **(facts or {}),
    )


def make_event(number: int) -> Event:
    """Return the event that happened ``number`` seconds ago."""
    return Event(
        kind=EventKind.READY,
        text=f"event {number}",
        app="coach",
        monotonic_s=NOW - number,
        wall=WALL,
    )


def whole(
    *apps: AppFacts, checks: tuple[CheckFacts, ...] = (), events: tuple[Event, ...] = ()
) -> dict[str, Any]:
    """Return the whole document, as a program reads it."""
    document = health_document.document(
        SUPERVISOR, list(apps), list(checks), list(events), NOW, **COUNTED
    )
    result: dict[str, Any] = json.loads(json.dumps(document))
    return result


# ---- words


@pytest.mark.parametrize("statuses", list(itertools.product(Status, repeat=3)))
def test_the_whole_is_as_bad_as_its_worst_part(statuses: tuple[Status, ...]) -> None:
    """One failure makes the whole fail, one warning makes it warn."""
    expected = next(s for s in (Status.FAIL, Status.WARN, Status.PASS) if s in statuses)
    assert health_document.worst(statuses) is expected


def test_nothing_at_all_passes() -> None:
    """No app and no check is no problem."""
    assert health_document.worst([]) is Status.PASS
    assert whole()["status"] == "pass"


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (AppState.STARTING, Status.FAIL),
        (AppState.READY, Status.PASS),
        (AppState.BACKOFF, Status.FAIL),
        (AppState.FAILED, Status.FAIL),
        (AppState.STOPPED, Status.WARN),
        (AppState.BLOCKED, Status.FAIL),
    ],
)
def test_the_status_of_an_app(state: AppState, status: Status) -> None:
    """Only a ready app passes; one that an operator stopped is a warning."""
    assert health_document.app_status(make_facts(state), NOW) is status
    assert whole(make_facts(state))["status"] == status


@pytest.mark.parametrize("state", AppState)
@pytest.mark.parametrize("stand_in", [True, False])
def test_what_answers_the_port(state: AppState, stand_in: bool) -> None:
    """A ready app answers itself; else the stand-in does, or nothing."""
    other = Serving.STAND_IN if stand_in else Serving.NOTHING
    expected = Serving.APP if state is AppState.READY else other
    assert health_document.serving(make_facts(state, stand_in=stand_in)) is expected


@pytest.mark.parametrize(
    ("reason", "critical", "status"),
    [(None, True, "pass"), (None, False, "pass"), ("no", True, "fail"), ("no", False, "warn")],
)
def test_the_status_of_a_check(reason: str | None, critical: bool, status: str) -> None:
    """A failing check fails the whole when it's critical, and warns when it isn't."""
    check = CheckFacts(name="disk", reason=reason, hint="look", critical=critical)
    document = whole(make_facts(AppState.READY), checks=(check,))
    assert document["status"] == status
    assert document["checks"]["disk"] == {
        "status": status,
        "reason": reason,
        "hint": "look",
        "critical": critical,
    }


# ---- fields

NUMBER = (int, float)
TEXT_OR_NULL = (str, type(None))
WHOLE_FIELDS = {
    "status": str,
    "version": str,
    "pid": int,
    "started": str,
    "age_s": NUMBER,
    "apps": dict,
    "checks": dict,
    "events": list,
}
APP_FIELDS = {
    "status": str,
    "state": str,
    "serving": str,
    "port": (int, type(None)),
    "address": str,
    "pid": (int, type(None)),
    "workers": list,
    "generation": int,
    "restarts": int,
    "since": str,
    "age_s": NUMBER,
    "reason": TEXT_OR_NULL,
    "hint": TEXT_OR_NULL,
    "retry_in_s": (int, float, type(None)),
    "refusal": (dict, type(None)),
    "stale": bool,
    "memory_mb": (int, float, type(None)),
}
REQUESTS_FIELDS = {
    "total": int,
    "by_class": dict,
    "rejected": int,
    "in_flight": int,
    "queue": int,
    "oldest_s": (int, float, type(None)),
    "threads": int,
    "busy": int,
    "max_threads": int,
    "connections": int,
    "latency_ms": dict,
}
EVENT_FIELDS = {"time": str, "age_s": NUMBER, "app": TEXT_OR_NULL, "kind": str, "text": str}


def assert_fields(document: dict[str, Any], fields: dict[str, Any]) -> None:
    """Check that every documented field is there, with its type."""
    wrong = {
        name: document.get(name, "missing")
        for name, kind in fields.items()
        if name not in document or not isinstance(document[name], kind)
    }
    assert not wrong


@pytest.mark.parametrize("state", AppState)
def test_the_fields_of_the_documents(state: AppState) -> None:
    """Monitors find every field with its type, whatever state an app is in."""
    waits = state in (AppState.BACKOFF, AppState.FAILED)
    facts = make_facts(state, cause=CAUSE if waits else None, retry_at=NOW + 9 if waits else None)
    document = whole(facts, checks=(CheckFacts(name="disk", reason=None),), events=(make_event(1),))
    assert_fields(document, WHOLE_FIELDS)
    assert_fields(document["apps"]["coach"], APP_FIELDS)
    assert_fields(document["apps"]["coach"]["requests"], REQUESTS_FIELDS)
    assert_fields(document["events"][0], EVENT_FIELDS)


def test_the_document_of_a_ready_app() -> None:
    """A ready app has a pid, its worker, its ages, and no reason."""
    app = whole(make_facts(AppState.READY, restarts=2))["apps"]["coach"]
    assert (app["status"], app["state"], app["serving"]) == ("pass", "ready", "app")
    assert app["workers"] == [{"pid": 4711, "generation": 3, "state": "ready"}]
    assert (app["pid"], app["port"], app["generation"], app["restarts"]) == (4711, 5001, 3, 2)
    assert (app["since"], app["age_s"]) == (WALL, 5.0)
    assert (app["reason"], app["hint"], app["retry_in_s"]) == (None, None, None)


def test_the_document_of_a_failing_app() -> None:
    """A failing app says why, what to do, and when it's tried again; nobody has a pid."""
    facts = make_facts(AppState.FAILED, cause=CAUSE, retry_at=NOW + 42.25, stand_in=True)
    app = whole(facts)["apps"]["coach"]
    assert (app["status"], app["state"], app["serving"]) == ("fail", "failed", "stand-in")
    assert (app["reason"], app["hint"]) == (CAUSE.reason, CAUSE.hint)
    assert (app["pid"], app["workers"]) == (None, [])
    assert app["retry_in_s"] == pytest.approx(42.25, abs=0.1)


WORSE = Cause(reason="the worker ended: exit code 3", hint="look")
OFTEN = History(restarts=(NOW - 3, NOW - 2, NOW - 1))
BUSY = Metrics(threads=32, max_threads=32, busy=32, queue=5, queue_wait_s=1.5)
CONCERNS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a worker is missing": ({"cause": WORSE}, {}, WORSE.reason),
    "port sharing": ({}, {"record": {"sharing": CAUSE}}, CAUSE.reason),
    "refused": (
        {"refusal": Refusal(cause=CAUSE, at=NOW - 7)},
        {},
        f"reload refused, what ran goes on: {CAUSE.reason}",
    ),
    "saturated": ({}, {"facts": {"metrics": BUSY}}, "all 32 threads are busy and 5 requests wait"),
    "stale": (
        {"workers": (make_worker(1, stale=True),)},
        {},
        "the code on disk is not the code that runs",
    ),
    "restarts": ({"history": OFTEN}, {}, "its worker ended 3 times in the last minute"),
}


@pytest.mark.parametrize("name", CONCERNS)
def test_an_app_that_serves_but_is_not_well_warns(name: str) -> None:
    """What is not as it should be makes it `warn`, with a reason and a hint; it is still ready."""
    process, facts, reason = CONCERNS[name]
    document = whole(make_facts(AppState.READY, **facts, **process))
    app = document["apps"]["coach"]
    assert (document["status"], app["status"], app["state"]) == ("warn", "warn", "ready")
    assert app["reason"] == reason
    assert app["hint"]
    assert health_document.not_ready(document) == {}


@pytest.mark.parametrize(
    "metrics",
    [
        Metrics(),
        replace(BUSY, queue=0),
        replace(BUSY, queue_wait_s=0.9),
        replace(BUSY, busy=31),
        replace(BUSY, max_threads=64),
    ],
)
def test_what_is_not_saturated(metrics: Metrics) -> None:
    """A burst, a pool that may grow, or one without a queue is nothing to warn of."""
    assert not health_document.is_saturated(metrics)


def test_a_refusal_has_its_age() -> None:
    """The refusal of the last reload is there for programs, beside the reason."""
    refusal = Refusal(cause=CAUSE, at=NOW - 7)
    app = whole(make_facts(AppState.READY, refusal=refusal))["apps"]["coach"]
    assert app["refusal"] == {"reason": CAUSE.reason, "age_s": 7.0}


def test_the_workers_are_listed_with_what_they_do() -> None:
    """Each forked worker has its pid, generation and state; a stuck one is called so."""
    workers = (
        make_worker(1, phase=WorkerPhase.DRAINING, generation=2),
        make_worker(2, stuck=True),
        make_worker(3),
        make_worker(4, pid=None, phase=WorkerPhase.IMPORTING),
    )
    app = whole(make_facts(AppState.READY, workers=workers))["apps"]["coach"]
    assert app["workers"] == [
        {"pid": 4711, "generation": 2, "state": "draining"},
        {"pid": 4712, "generation": 3, "state": "stuck"},
        {"pid": 4713, "generation": 3, "state": "ready"},
    ]


def test_the_metrics_of_an_app() -> None:
    """What the workers count and measure is in the document, latencies in milliseconds."""
    metrics = replace(BUSY, total=7, oldest_s=2.34, in_flight=37, connections=40)
    facts = {"metrics": metrics, "latency_ms": (1.26, None), "memory_mb": 31.27}
    app = whole(make_facts(AppState.READY, facts=facts))["apps"]["coach"]
    wanted = {"total": 7, "in_flight": 37, "queue": 5, "oldest_s": 2.3, "connections": 40}
    assert {name: app["requests"][name] for name in wanted} == wanted
    assert app["requests"]["latency_ms"] == {"p50": 1.3, "p99": None}
    assert app["memory_mb"] == 31.3


def test_ages_are_seconds_since() -> None:
    """Ages come from the monotonic clock, times from the wall clock, beside each other."""
    document = whole(events=(make_event(7),))
    assert (document["started"], document["age_s"]) == (WALL, 60.0)
    assert (document["events"][0]["time"], document["events"][0]["age_s"]) == (WALL, 7.0)


def test_only_the_newest_events_are_shown() -> None:
    """The last 20 events are in the document, the oldest first."""
    events = tuple(make_event(number) for number in range(50, 0, -1))
    texts = [event["text"] for event in whole(events=events)["events"]]
    assert texts == [f"event {number}" for number in range(20, 0, -1)]


@settings(deadline=None)
@given(st.floats(-1e6, 1e6))
def test_the_wait_is_never_negative(later_s: float) -> None:
    """A try that is due shows 0 seconds, also when the loop is late."""
    facts = make_facts(AppState.BACKOFF, retry_at=NOW + later_s)
    assert whole(facts)["apps"]["coach"]["retry_in_s"] >= 0


@pytest.mark.parametrize("state", AppState)
@settings(deadline=None)
@given(later_s=st.integers(0, 4))
def test_a_snapshot_ages_as_if_it_were_made_anew(state: AppState, later_s: int) -> None:
    """While nothing happens, only ages and waits change."""
    refusal = Refusal(cause=CAUSE, at=NOW - 9)
    apps = [
        make_facts(state),
        make_facts(AppState.BACKOFF, name="admin", retry_at=NOW + 3, refusal=refusal),
    ]
    before, after = (
        health_document.document(SUPERVISOR, apps, [], [make_event(3)], now, **COUNTED)
        for now in (NOW, NOW + later_s)
    )
    assert health_document.aged(before, float(later_s)) == after


# ---- ready or not


def test_a_machine_is_ready_when_every_app_is() -> None:
    """Ready apps and passing checks, and apps that were stopped on purpose, are nothing to list."""
    apps = make_facts(AppState.READY), make_facts(AppState.STOPPED, name="admin")
    assert (
        health_document.not_ready(whole(*apps, checks=(CheckFacts(name="disk", reason=None),)))
        == {}
    )


@pytest.mark.parametrize(
    "state", [AppState.STARTING, AppState.BACKOFF, AppState.FAILED, AppState.BLOCKED]
)
def test_an_app_that_is_not_ready_is_listed(state: AppState) -> None:
    """The list has the reason, or the state where there is no reason yet."""
    known = make_facts(state, cause=CAUSE)
    unknown = make_facts(state, name="admin")
    document = whole(known, unknown, make_facts(AppState.READY, name="third"))
    assert health_document.not_ready(document) == {"coach": CAUSE.reason, "admin": str(state)}


@pytest.mark.parametrize(("critical", "listed"), [(True, {"disk": "full"}), (False, {})])
def test_a_failing_check_is_listed(critical: bool, listed: dict[str, str]) -> None:
    """Only critical checks keep a machine from being ready."""
    check = CheckFacts(name="disk", reason="full", critical=critical)
    document = whole(make_facts(AppState.READY), checks=(check,))
    assert health_document.not_ready(document) == listed
