"""Which changes of state a person is told of, and when: pure, for one destination.

A change is announced when it has lasted for `SETTLE_S`: what fails and recovers within that is no
news. Something that changes again and again is announced once, as unsteady, and then when it has
been steady for `STEADY_S`. What can't be delivered is tried again for ever; meanwhile changes add
up, so that the message that gets through says how things are, and what has been missed. So no
recovery is lost: whatever was announced as bad is announced as well again, even after a restart.
"""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any, Self

from supervisor.policy.check_documents import PENDING
from supervisor.values.records import dataclass
from supervisor.values.states import Status

SETTLE_S = 10.0
GAP_S = 10.0  # between two messages: what happens together is told together
UNSTEADY_CHANGES = 6  # within the window
UNSTEADY_WINDOW_S = 600.0
STEADY_S = 600.0
_RETRY_FIRST_S, _RETRY_MAX_S = 30.0, 600.0
_SEVERITY = {Status.PASS: 0, Status.WARN: 1, Status.FAIL: 2}


class Announced(StrEnum):
    """The last state of a subject that was sent to a destination."""

    PASS = "pass"  # noqa: S105 - a word of the health format, not a password
    WARN = "warn"
    FAIL = "fail"
    UNSTEADY = "unsteady"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """How an app or a check is now; ``reason`` is None while it passes."""

    status: Status
    reason: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An app or a check; times are monotonic seconds.

    ``seen`` is how it is since ``since``, None before anything is known; ``changes`` are the times
    of its last changes.
    ``missed`` counts announcements that were overtaken before they could be delivered.
    """

    announced: Announced = Announced.PASS
    seen: Observation | None = None
    since: float = 0.0
    changes: tuple[float, ...] = ()
    is_unsteady: bool = False
    missed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One line of a message: what is announced of ``subject``."""

    subject: str
    kind: Announced
    reason: str | None
    hint: str | None
    missed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifierState:
    """All subjects of a destination, and when a message may be sent next."""

    subjects: Mapping[str, Subject]
    next_at: float = 0.0
    failures: int = 0  # deliveries in a row

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Return the state of what `announced_json` wrote; raise ValueError for anything else."""
        if not isinstance(content, dict):
            raise ValueError("it is no object")  # noqa: TRY004 - readers of a file want one error
        return cls(
            subjects={
                str(name): Subject(announced=Announced(word)) for name, word in content.items()
            }
        )


def announced_json(state: NotifierState) -> dict[str, str]:
    """Return what was announced and still counts, as a JSON object: all that isn't well."""
    return {
        name: str(one.announced)
        for name, one in state.subjects.items()
        if one.announced is not Announced.PASS
    }


def observed(
    state: NotifierState, seen: Mapping[str, Observation | None], now: float
) -> NotifierState:
    """Return the state after a look at all subjects; None is one of which nothing is known now.

    A subject that is not in ``seen`` any more is forgotten.
    """
    subjects = {
        name: _observed(state.subjects.get(name), observation, now)
        for name, observation in seen.items()
    }
    return replace(state, subjects=subjects)


def _observed(before: Subject | None, seen: Observation | None, now: float) -> Subject:
    subject = before or Subject()
    if seen is None:
        return subject
    if subject.seen is None:
        subject = replace(subject, since=now)
    elif seen.status is not subject.seen.status:
        subject = _changed(subject, now)
    changes = tuple(at for at in subject.changes if at > now - UNSTEADY_WINDOW_S)
    is_unsteady = len(changes) >= UNSTEADY_CHANGES or (
        subject.is_unsteady and bool(subject.changes) and now < subject.changes[-1] + STEADY_S
    )
    return replace(subject, seen=seen, changes=changes, is_unsteady=is_unsteady)


def _changed(subject: Subject, now: float) -> Subject:
    """Return the subject after a change; a state that was never sent counts as missed."""
    settled = now >= subject.since + SETTLE_S
    was_due = settled and not subject.is_unsteady and _word(subject) is not subject.announced
    return replace(
        subject,
        since=now,
        changes=(*subject.changes, now),
        missed=subject.missed + 1 if was_due else subject.missed,
    )


def _word(subject: Subject) -> Announced:
    """Return how a subject is; as it was announced while nothing is known."""
    return subject.announced if subject.seen is None else Announced(str(subject.seen.status))


def due(state: NotifierState, now: float) -> list[Notice]:
    """Return the notices of the message that is to be sent now; none while there is nothing."""
    if now < state.next_at:
        return []
    found = [
        Notice(
            subject=name,
            kind=kind,
            reason=one.seen.reason if one.seen else None,
            hint=one.seen.hint if one.seen else None,
            missed=one.missed,
        )
        for name, one in state.subjects.items()
        if (kind := _wanted(one, now)) is not one.announced
        or (one.missed and _is_settled(one, now))
    ]
    return sorted(found, key=lambda notice: notice.kind is Announced.PASS)  # what is bad first


def _wanted(subject: Subject, now: float) -> Announced:
    """Return what should have been announced by now."""
    if subject.is_unsteady:
        return Announced.UNSTEADY
    return _word(subject) if _is_settled(subject, now) else subject.announced


def _is_settled(subject: Subject, now: float) -> bool:
    return now >= subject.since + SETTLE_S


def delivered(state: NotifierState, notices: list[Notice], now: float) -> NotifierState:
    """Return the state after a message got through."""
    subjects = dict(state.subjects)
    for notice in notices:
        one = subjects.get(notice.subject)
        if one is not None:
            missed = max(0, one.missed - notice.missed)
            subjects[notice.subject] = replace(one, announced=notice.kind, missed=missed)
    return replace(state, subjects=subjects, next_at=now + GAP_S, failures=0)


def undelivered(state: NotifierState, now: float) -> NotifierState:
    """Return the state after a message could not be delivered: it is tried again, ever later."""
    wait_s = min(_RETRY_MAX_S, _RETRY_FIRST_S * 2 ** min(state.failures, 10))
    return replace(state, next_at=now + wait_s, failures=state.failures + 1)


# ---- what there is to be told


def observations(
    apps: Mapping[str, Mapping[str, Any]],
    checks: Mapping[str, Mapping[str, Any]],
    *,
    least: Status,
    only_apps: frozenset[str],
) -> dict[str, Observation | None]:
    """Return how apps and checks are, from their health documents.

    What is better than ``least`` passes. ``only_apps`` leaves out other apps and what belongs to
    them, if it isn't empty. Of an app that starts or was stopped by an operator, and of a check
    without a result, nothing is known.
    """
    found: dict[str, Observation | None] = {}
    for name, app in apps.items():
        if not only_apps or name in only_apps:
            is_known = app["state"] not in ("starting", "stopped")
            found[name] = _observation(app, least) if is_known else None
    for name, check in checks.items():
        if not only_apps or check.get("app") in only_apps:
            is_known = check["reason"] != PENDING
            found[f"check {name}"] = _observation(check, least) if is_known else None
    return found


def _observation(document: Mapping[str, Any], least: Status) -> Observation:
    status = Status(document["status"])
    if _SEVERITY[status] < _SEVERITY[least]:
        return Observation(status=Status.PASS)
    return Observation(status=status, reason=document["reason"], hint=document["hint"])


# ---- words


def message(notices: list[Notice], machine: str) -> tuple[str, str]:
    """Return title and body of a message about ``machine``."""
    lines = [_line(notice) for notice in notices]
    if len(notices) == 1:
        title = f"{machine}: {lines[0].partition(':')[0]}"
    else:
        bad = sum(notice.kind is not Announced.PASS for notice in notices)
        title = f"{machine}: {bad} not well, {len(notices) - bad} recovered"
    return title, "\n".join(lines)


def _line(notice: Notice) -> str:
    words = {
        Announced.PASS: "is well again",
        Announced.WARN: "warns",
        Announced.FAIL: "fails",
        Announced.UNSTEADY: "is unsteady, it changes again and again",
    }
    line = f"{notice.subject} {words[notice.kind]}"
    if notice.reason:
        line += f": {notice.reason}"
        line += f" ({notice.hint})" if notice.hint else ""
    if notice.missed:
        times = "once" if notice.missed == 1 else f"{notice.missed} times"
        line += f" [changed {times} while messages could not be delivered]"
    return line
