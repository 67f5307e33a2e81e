"""An overview of many machines: who is well, what is wrong, who runs other code."""

from typing import Any

import pytest
from health_documents import APP, BROKEN, CHECK, health_document
from hypothesis import given
from hypothesis import strategies as st

from supervisor.policy.fleet_overview import machine_document, overview


def with_release(digest: str, **changes: Any) -> dict[str, Any]:
    """Return the document of a machine whose app runs a release."""
    return health_document(apps={"coach": {**APP, "release": {"digest": digest}}}, **changes)


def test_machines_in_several_states() -> None:
    """Well, warning, failing, and not reachable at all."""
    full = {**CHECK, "status": "warn", "reason": "it is full", "critical": False}
    found = overview(
        {
            "well": health_document(),
            "full": health_document(status="warn", checks={"disk": full}),
            "broken": health_document(status="fail", apps={"admin": APP, "coach": BROKEN}),
            "gone": None,
        },
        {"gone": "no answer: Connection refused"},
    )
    assert [(one.name, one.status, one.is_well) for one in found] == [
        ("well", "pass", True),
        ("full", "warn", True),
        ("broken", "fail", False),
        ("gone", "unreachable", False),
    ]
    assert [one.troubles for one in found] == [
        (),
        ("disk: it is full",),
        (f"coach: {BROKEN['reason']}",),
        ("no answer: Connection refused",),
    ]
    assert (found[2].apps_ready, found[2].apps) == (1, 2)
    assert found[0].temperature_c == 48.2
    assert found[3].apps is None


def test_drift_is_what_most_do_not_run() -> None:
    """Of a release and of the supervisor's own version."""
    found = overview(
        {
            "a": with_release("new" * 10),
            "b": with_release("old" * 10),
            "c": with_release("new" * 10, version="0.2.0"),
            "d": None,
        },
        {},
    )
    assert [one.drift for one in found] == [
        (),
        ("coach oldoldol, most run newnewne",),
        ("flask-supervisor 0.2.0, most run 0.1.0",),
        (),
    ]
    assert [one.is_well for one in found] == [True, False, False, False]


def test_of_two_the_first_counts() -> None:
    """Somebody has to be the one that differs."""
    found = overview({"a": with_release("x"), "b": with_release("y")}, {})
    assert [bool(one.drift) for one in found] == [False, True]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"status": "pass"},
        {"status": "pass", "apps": [], "checks": {}},
        {"status": "pass", "apps": {"a": None}, "checks": {}},
        {"status": "pass", "apps": {}, "checks": {}, "host": {"temperature_c": "warm"}},
    ],
)
def test_a_document_of_another_kind(document: dict[str, Any]) -> None:
    """One machine of a strange version spoils nothing."""
    strange, well = overview({"strange": document, "well": health_document()}, {})
    assert strange.status == "unreachable"
    assert "isn't understood" in strange.troubles[0]
    assert well.is_well


def test_texts_of_other_machines_command_no_terminal() -> None:
    """Control characters are left out, and long texts are cut."""
    bad = {**BROKEN, "reason": "\x1b]0;evil\x07 red\r\n" + "x" * 1000}
    [machine] = overview({"a": health_document(status="fail", apps={"c": bad})}, {})
    assert machine.troubles[0].startswith("c: ]0;evil red xxx")
    assert machine.troubles[0].isprintable()
    assert len(machine.troubles[0]) <= 300


def test_the_document_of_a_machine() -> None:
    """Every field, as plain JSON."""
    [machine] = overview({"a": with_release("x" * 64)}, {})
    assert machine_document(machine) == {
        "name": "a",
        "status": "pass",
        "is_ready": True,
        "apps_ready": 1,
        "apps": 1,
        "version": "0.1.0",
        "model": "Raspberry Pi 4 Model B Rev 1.4",
        "temperature_c": 48.2,
        "age_s": 3600.0,
        "releases": {"coach": "x" * 64},
        "troubles": [],
        "drift": [],
    }


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=12))
def test_any_fleet(digests: list[str | None]) -> None:
    """Who drifts is never the majority of those that run the app."""
    answers = {
        str(n): None if digest is None else with_release(digest) for n, digest in enumerate(digests)
    }
    found = overview(answers, {})
    drifting = [one for one in found if one.drift]
    running = [digest for digest in digests if digest is not None]
    most = max((running.count(digest) for digest in set(running)), default=0)
    assert len(drifting) == len(running) - most
    assert [one.name for one in found] == list(answers)
