"""Puts what the status worker checks itself into the snapshot of the main process: pure.

Checks of apps and facts about the machine are known to the status worker alone; what they mean for
an app, and for the whole, is decided here.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from supervisor.policy.health_document import worst
from supervisor.values.records import dataclass
from supervisor.values.reports import Cause
from supervisor.values.states import AppState, Serving, Status

Document = dict[str, Any]
FACTS_MAX_AGE_S = 60.0  # facts about the machine that are older say nothing of now
PENDING = "not checked yet"  # the reason of a check without a result
_OWN_CODE = (Serving.APP, Serving.LAST_KNOWN_GOOD)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckChange:
    """What is news about a check."""

    text: str
    app: str | None
    is_problem: bool = False


def apps_to_check(snapshot: Mapping[str, Any]) -> list[str]:
    """Return the apps whose requirements matter: all but those that an operator stopped."""
    return [name for name, app in snapshot["apps"].items() if app["state"] != AppState.STOPPED]


def apps_to_probe(snapshot: Mapping[str, Any]) -> list[str]:
    """Return the apps whose own code answers their port."""
    return [
        name
        for name, app in snapshot["apps"].items()
        if app["state"] == AppState.READY and app["serving"] in _OWN_CODE
    ]


def warning_documents(causes: Mapping[str, Cause | None]) -> dict[str, Document]:
    """Return the health documents of checks that only warn, by name: None passes."""
    return {
        name: {
            "status": str(Status.PASS if cause is None else Status.WARN),
            "reason": cause.reason if cause else None,
            "hint": cause.hint if cause else None,
            "critical": False,
            "app": None,
        }
        for name, cause in causes.items()
    }


def with_live_checks(
    snapshot: Document, checks: Mapping[str, Document], host: Mapping[str, Any] | None = None
) -> Document:
    """Return ``snapshot`` with ``checks`` and what they mean for the apps, and with ``host``.

    A failing check lowers the status of its app and gives it its reason, unless the app has a
    reason of its own. Nothing given is changed.
    """
    apps = {
        name: _with_checks(app, [one for one in checks.values() if one.get("app") == name])
        for name, app in snapshot["apps"].items()
    }
    every = {**snapshot.get("checks", {}), **checks}
    statuses = [Status(one["status"]) for one in (*apps.values(), *every.values())]
    found = {
        **snapshot,
        "status": str(worst([Status(snapshot["status"]), *statuses])),
        "apps": apps,
        "checks": every,
    }
    return found if host is None else {**found, "host": dict(host)}


def settled(before: Mapping[str, Document], checks: Mapping[str, Document]) -> dict[str, Document]:
    """Return ``checks``, and of one without a result what it was in ``before``, if that is known.

    Then a check that fails, is configured anew and passes has passed again.
    """
    return {
        name: before.get(name, check) if check["reason"] == PENDING else check
        for name, check in checks.items()
    }


def check_changes(before: Mapping[str, Document], now: Mapping[str, Document]) -> list[CheckChange]:
    """Return what is news about checks, both of `settled`: one fails, or passes again.

    Another reason for the same status is no news (it may hold a number that changes all the time),
    nor that there is no result yet, nor that a check is gone.
    """
    found = []
    for name, check in now.items():
        was = _status(before.get(name))
        status = _status(check)
        if status == Status.PASS and was in (Status.WARN, Status.FAIL):
            found.append(CheckChange(text=f"check {name}: passes again", app=check["app"]))
        elif status in (Status.WARN, Status.FAIL) and status != was:
            text = f"check {name}: {check['reason']}"
            found.append(CheckChange(text=text, app=check["app"], is_problem=True))
    return found


def _status(check: Document | None) -> Status | None:
    """Return the status of a check; None while there is no result."""
    if check is None or check["reason"] == PENDING:
        return None
    return Status(check["status"])


def _with_checks(app: Document, checks: Iterable[Document]) -> Document:
    bad = [one for one in checks if one["status"] != Status.PASS]
    if not bad:
        return app
    first = max(bad, key=lambda one: one["status"] == Status.FAIL)  # the first of the worst
    status = worst([Status(app["status"]), *(Status(one["status"]) for one in bad)])
    if app["reason"]:
        return {**app, "status": str(status)}
    return {**app, "status": str(status), "reason": first["reason"], "hint": first["hint"]}
