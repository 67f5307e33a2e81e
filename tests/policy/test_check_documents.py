"""What checks of the status worker mean for apps and for the whole, and what is news of them."""

import copy
from typing import Any

import pytest
from health_documents import APP, BROKEN, CHECK, HOST, health_document
from hypothesis import given
from hypothesis import strategies as st

from supervisor.policy.check_documents import (
    PENDING,
    apps_to_check,
    apps_to_probe,
    check_changes,
    settled,
    warning_documents,
    with_live_checks,
)
from supervisor.policy.health_document import not_ready
from supervisor.values.reports import Cause

PASSES = {**CHECK, "app": "coach", "failures": 0}
FAILS = {**PASSES, "status": "fail", "reason": "no answer", "hint": "start it", "failures": 3}
WARNS = {**PASSES, "status": "warn", "reason": "it is full", "critical": False}
WAITS = {**PASSES, "status": "warn", "reason": PENDING}


def added(checks: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a document of two apps with checks."""
    document = health_document(checks={"main_process": CHECK}, **changes)
    return with_live_checks(document, checks)


@pytest.mark.parametrize(
    ("checks", "whole", "app", "reason", "missing"),
    [
        ({}, "pass", "pass", None, []),
        ({"a": PASSES}, "pass", "pass", None, []),
        ({"a": FAILS}, "fail", "fail", "no answer", ["a"]),
        ({"a": WARNS}, "warn", "warn", "it is full", []),
        ({"a": WARNS, "b": FAILS}, "fail", "fail", "no answer", ["b"]),
        ({"a": WAITS}, "warn", "warn", PENDING, ["a"]),
        ({"a": {**FAILS, "app": None}}, "fail", "pass", None, ["a"]),
        ({"a": {**WARNS, "app": None}}, "warn", "pass", None, []),
    ],
)
def test_what_checks_mean(
    checks: dict[str, Any], whole: str, app: str, reason: str | None, missing: list[str]
) -> None:
    """A critical one makes its app fail and the machine not ready, another one warns."""
    found = added(checks)
    assert found["status"] == whole
    assert (found["apps"]["coach"]["status"], found["apps"]["coach"]["reason"]) == (app, reason)
    assert found["apps"]["admin"]["status"] == "pass"
    assert found["apps"]["coach"]["state"] == "ready"  # that it isn't restarted is the point
    assert list(not_ready(found)) == missing
    assert list(found["checks"]) == ["main_process", *checks]


def test_an_app_keeps_its_own_reason() -> None:
    """Why it can't be imported matters more than what it requires."""
    found = added({"a": FAILS}, apps={"coach": BROKEN}, status="fail")
    assert found["apps"]["coach"]["reason"] == BROKEN["reason"]
    assert list(not_ready(found)) == ["coach", "a"]


def test_facts_are_added() -> None:
    """Where there are any; nothing that was given is changed."""
    document = health_document(host={})
    before = copy.deepcopy(document)
    assert with_live_checks(document, {"a": FAILS}, HOST)["host"] == HOST
    assert with_live_checks(document, {"a": FAILS})["host"] == {}
    assert document == before


def test_a_snapshot_without_anything() -> None:
    """Before the main process has sent one."""
    found = with_live_checks({"status": "fail", "version": "1", "apps": {}}, {}, {})
    assert found["checks"] == {}
    assert found["status"] == "fail"


def test_whose_requirements_are_checked() -> None:
    """Not those of an app that is stopped; a probe is for an app whose own code answers."""
    document = {
        "apps": {
            "ready": APP,
            "stopped": {**APP, "state": "stopped", "serving": "stand-in"},
            "broken": BROKEN,
            "fallback": {**APP, "serving": "last-known-good"},
            "stuck": {**APP, "serving": "stand-in"},
        }
    }
    assert apps_to_check(document) == ["ready", "broken", "fallback", "stuck"]
    assert apps_to_probe(document) == ["ready", "fallback"]


def test_warnings_about_the_machine() -> None:
    """Never critical; each that is known is there, whether it warns or not."""
    found = warning_documents({"host_disk": None, "host_power": Cause(reason="weak", hint="x")})
    assert found["host_disk"]["status"] == "pass"
    assert found["host_power"] == {
        "status": "warn",
        "reason": "weak",
        "hint": "x",
        "critical": False,
        "app": None,
    }


@pytest.mark.parametrize(
    ("before", "now", "news"),
    [
        (None, PASSES, None),
        (None, WAITS, None),
        (None, FAILS, "check a: no answer"),
        (WAITS, PASSES, None),
        (WAITS, FAILS, "check a: no answer"),
        (PASSES, FAILS, "check a: no answer"),
        (PASSES, WARNS, "check a: it is full"),
        (WARNS, {**WARNS, "reason": "it is fuller"}, None),
        (WARNS, FAILS, "check a: no answer"),
        (FAILS, PASSES, "check a: passes again"),
        (FAILS, WAITS, None),
        (PASSES, PASSES, None),
        (FAILS, None, None),
    ],
)
def test_what_is_news(before: Any, now: Any, news: str | None) -> None:
    """A change of status, once; numbers in a reason that change are none."""
    found = check_changes(
        {} if before is None else {"a": before}, {} if now is None else {"a": now}
    )
    assert [one.text for one in found] == ([] if news is None else [news])
    assert all(one.app == "coach" for one in found)
    assert [one.is_problem for one in found] == [news != "check a: passes again"] * len(found)


@given(st.lists(st.sampled_from([PASSES, FAILS, WARNS, WAITS]), max_size=30))
def test_no_recovery_is_lost(history: list[dict[str, Any]]) -> None:
    """Whatever happens in between: whoever reads the news knows the last result."""
    known: bool | None = None  # whether it is a problem, from the news alone
    before: dict[str, Any] = {}
    result: bool | None = None
    for one in history:
        now = settled(before, {"a": one})
        for change in check_changes(before, now):
            assert change.is_problem or known  # what passes again had failed
            known = change.is_problem
        before = now
        if one is not WAITS:
            result = one is not PASSES
    assert bool(known) is bool(result)
