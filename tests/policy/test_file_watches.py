"""Which files of a process are watched, and that the keys of watches can't be mistaken."""

from dataclasses import replace

import pytest
from process_case import ProcessCase
from process_world import NOW, REPORT

from supervisor.policy.app_state import AppRecord
from supervisor.policy.file_watches import REPAIR_EVERY_S, STALE_EVERY_S, watches
from supervisor.policy.process_events import Bound, ImportFailed, Importing, Ready
from supervisor.policy.process_state import ProcessState
from supervisor.values.reports import Cause
from supervisor.values.watch_requests import WatchKey, WatchRequest, WatchSubject

APP = AppRecord(since=NOW, bound=True)
MISSING = replace(
    APP, failure=Cause(reason="broken"), watch=["of the app"], attempt=3, retry_at=NOW + 1
)


def serving() -> ProcessState:
    """Return a process that serves what it imported from live code."""
    one = ProcessCase()
    one.take(Bound(), Importing(1, ["live"]), Ready(1))
    return one.process


def keys(
    process: ProcessState, apps: dict[str, AppRecord], *, reload_on_change: bool = False
) -> list[tuple[WatchSubject, str | None, int, float]]:
    """Return the subject, app, number and interval of each watch."""
    found = watches("field", process, apps, reload_on_change=reload_on_change)
    assert {one.key.process for one in found} <= {"field"}
    return [(one.key.subject, one.key.app, one.key.number, one.every_s) for one in found]


def test_what_serves_is_watched_slowly() -> None:
    """To see that it is stale; a reload on change wants to know soon."""
    stale = (WatchSubject.SERVING, None, 1, STALE_EVERY_S)
    assert keys(serving(), {"admin": APP}) == [stale]
    soon = (WatchSubject.NEWEST, None, 1, REPAIR_EVERY_S)
    assert keys(serving(), {"admin": APP}, reload_on_change=True) == [soon, stale]


def test_what_waits_for_a_repair_is_watched_quickly() -> None:
    """From the first import on: it may be repaired while it fails."""
    one = ProcessCase()
    one.take(Bound(), Importing(1, ["live"]))
    assert keys(one.process, {"admin": APP}) == [(WatchSubject.NEWEST, None, 1, REPAIR_EVERY_S)]
    one.take(ImportFailed(1, REPORT, ["live", "beyond"]))
    (found,) = watches("field", one.process, {"admin": APP}, reload_on_change=False)
    assert found.watch == ["live", "beyond"]


def test_an_app_that_is_missing_has_a_watch_of_its_own() -> None:
    """By the number of its attempt; none while it is stopped, or while its process is down."""
    of_app = (WatchSubject.APP, "coach", 3, REPAIR_EVERY_S)
    assert of_app in keys(serving(), {"admin": APP, "coach": MISSING})
    stopped = replace(MISSING, stopped=True)
    assert of_app not in keys(serving(), {"admin": APP, "coach": stopped})
    assert keys(ProcessCase().process, {"coach": MISSING}) == []


@pytest.mark.parametrize("name", ["serving", "newest", "app", "coach"])
def test_no_name_of_an_app_is_taken_for_a_subject(name: str) -> None:
    """Keys of a process, and of apps with any name, are all different, also as JSON."""
    process = serving()
    found = watches("field", process, {name: MISSING}, reload_on_change=True)
    assert len({one.key for one in found}) == len(found) == 3
    assert [WatchRequest.from_json(one.to_json()) for one in found] == found
    assert found[-1].key == WatchKey(process="field", subject=WatchSubject.APP, number=3, app=name)
