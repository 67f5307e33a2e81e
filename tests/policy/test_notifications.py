"""What a person is told, and when: a table of courses, and properties of any course."""

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from health_documents import APP, BROKEN, CHECK
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from supervisor.policy import notifications
from supervisor.policy.check_documents import PENDING
from supervisor.policy.notifications import (
    GAP_S,
    SETTLE_S,
    STEADY_S,
    UNSTEADY_CHANGES,
    Announced,
    Notice,
    NotifierState,
    Observation,
    message,
    observations,
)
from supervisor.values.states import Status

PASS = Observation(status=Status.PASS)
WARN = Observation(status=Status.WARN, reason="full", hint="free some space")
FAIL = Observation(status=Status.FAIL, reason="broken", hint="repair it")
LOOK_S = 5.0


@dataclass
class Person:
    """A notifier and whoever gets its messages; ``online`` says whether they get through."""

    state: NotifierState = field(default_factory=lambda: NotifierState(subjects={}))
    now: float = 0.0
    online: bool = True
    messages: list[tuple[float, list[Notice]]] = field(default_factory=list)
    attempts: list[float] = field(default_factory=list)

    def live(self, seconds: float, **seen: Observation | None) -> None:
        """Let time go by, with a look every five seconds."""
        end = self.now + seconds
        while True:
            self.state = notifications.observed(self.state, seen, self.now)
            self._send()
            if self.now >= end:
                return
            self.now = min(end, self.now + LOOK_S)

    def _send(self) -> None:
        notices = notifications.due(self.state, self.now)
        if not notices:
            return
        self.attempts.append(self.now)
        if self.online:
            self.messages.append((self.now, notices))
            self.state = notifications.delivered(self.state, notices, self.now)
        else:
            self.state = notifications.undelivered(self.state, self.now)

    def restart(self) -> None:
        """Let the supervisor start anew: only what was announced is kept."""
        kept = json.loads(json.dumps(notifications.announced_json(self.state)))
        self.state = NotifierState.from_json(kept)

    def told(self, subject: str = "a") -> list[str]:
        """Return what was told of a subject, one after the other."""
        return [
            str(notice.kind)
            for _, notices in self.messages
            for notice in notices
            if notice.subject == subject
        ]


def after(*course: tuple[float, Observation | None]) -> Person:
    """Return a person after a course of one subject."""
    person = Person()
    for seconds, seen in course:
        person.live(seconds, a=seen)
    return person


@pytest.mark.parametrize(
    ("course", "told"),
    [
        ([(3600, PASS)], []),
        ([(3600, FAIL)], ["fail"]),  # it was so from the start
        ([(60, PASS), (60, FAIL)], ["fail"]),
        ([(60, PASS), (60, FAIL), (60, PASS)], ["fail", "pass"]),
        ([(60, PASS), (60, WARN), (60, FAIL), (60, PASS)], ["warn", "fail", "pass"]),
        ([(60, PASS), (SETTLE_S - 5, FAIL), (60, PASS)], []),  # over before it was news
        ([(60, FAIL), (SETTLE_S - 5, PASS), (60, FAIL)], ["fail"]),
        ([(60, PASS), (60, None), (60, FAIL), (60, None), (60, PASS)], ["fail", "pass"]),
        ([(3600, None)], []),
    ],
)
def test_what_is_told(course: list[tuple[float, Observation | None]], told: list[str]) -> None:
    """Each change that lasts, once."""
    assert after(*course).told() == told


def test_a_notice_says_why_and_what_to_do() -> None:
    """The reason and the hint of the moment when it is sent."""
    [(at, [notice])] = after((60, PASS), (60, FAIL)).messages
    assert (notice.reason, notice.hint) == ("broken", "repair it")
    assert at == 60 + SETTLE_S


def test_what_happens_together_is_told_together() -> None:
    """A machine that loses its disk tells so once, what is bad first."""
    person = Person()
    person.live(60, a=PASS, b=FAIL, c=PASS)
    person.live(60, a=FAIL, b=PASS, c=FAIL)
    assert [[notice.subject for notice in notices] for _, notices in person.messages] == [
        ["b"],
        ["a", "c", "b"],
    ]


def test_flapping_is_told_once() -> None:
    """An app that crashes each half minute for two hours: a few messages, then silence, then how
    it ended.
    """
    person = Person()
    for _ in range(120):
        person.live(30, a=FAIL)
        person.live(30, a=PASS)
    assert person.told()[-1] == "unsteady"
    assert len(person.messages) <= UNSTEADY_CHANGES + 1
    person.live(STEADY_S + SETTLE_S + LOOK_S, a=PASS)
    assert person.told()[-1] == "pass"
    assert person.told().count("unsteady") == 1


def test_offline_for_a_night() -> None:
    """When the network is back, one message says how things are and what has been missed."""
    person = Person()
    person.live(60, a=PASS, b=PASS, c=PASS)
    person.online = False
    person.live(3600, a=FAIL, b=FAIL, c=PASS)
    person.live(3600, a=FAIL, b=PASS, c=PASS)  # b has recovered, and nobody knows it had failed
    assert person.messages == []
    gaps = [later - earlier for earlier, later in itertools.pairwise(person.attempts)]
    assert gaps[0] == 30
    assert max(gaps) <= 600 + LOOK_S
    assert len(person.attempts) < 25
    person.online = True
    person.live(700, a=FAIL, b=PASS, c=PASS)
    [(_, notices)] = person.messages
    assert [(one.subject, str(one.kind), one.missed) for one in notices] == [
        ("a", "fail", 0),
        ("b", "pass", 1),
    ]
    person.live(3600, a=FAIL, b=PASS, c=PASS)
    assert len(person.messages) == 1


def test_a_recovery_after_a_restart() -> None:
    """It was announced as failing by the supervisor before: that it is well is news."""
    person = Person()
    person.live(60, a=FAIL, b=PASS)
    person.restart()
    person.live(30, a=None, b=None)  # the apps start
    person.live(60, a=PASS, b=PASS)
    assert person.told("a") == ["fail", "pass"]
    assert person.told("b") == []


def test_the_same_failure_after_a_restart_is_no_news() -> None:
    """It was told before."""
    person = Person()
    person.live(60, a=FAIL)
    person.restart()
    person.live(600, a=FAIL)
    assert person.told("a") == ["fail"]


def test_what_is_gone_is_forgotten() -> None:
    """An app that is no longer configured is not told of any more."""
    person = Person()
    person.live(60, a=FAIL)
    person.live(600, b=PASS)
    assert person.told("a") == ["fail"]
    assert notifications.announced_json(person.state) == {}


@pytest.mark.parametrize("content", [[], None, {"a": "nosuch"}, {"a": None}, "x"])
def test_a_file_that_is_damaged(content: Any) -> None:
    """One error for whoever reads it."""
    with pytest.raises(ValueError, match=r"is no object|is not a valid Announced"):
        NotifierState.from_json(content)


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 5.0, 10.0, 15.0, 60.0, 700.0]),
        st.sampled_from([PASS, WARN, FAIL, None]),
        st.sampled_from([PASS, FAIL]),
        st.sampled_from(["on", "off", "restart"]),
    ),
    max_size=25,
)


@hypothesis_settings(max_examples=60)
@given(STEPS)
def test_any_course(steps: list[tuple[float, Any, Any, str]]) -> None:
    """Whatever happens: in the end the person knows the truth, and was not flooded on the way."""
    person = Person()
    last_a = None
    for seconds, a, b, network in steps:
        if network == "restart":
            person.restart()
        else:
            person.online = network == "on"
        person.live(seconds, a=a, b=b)
        last_a = a or last_a
    person.online = True
    end_a, end_b = (last_a or PASS), (steps[-1][2] if steps else PASS)
    person.live(3 * STEADY_S, a=end_a, b=end_b)
    for subject, end in (("a", end_a), ("b", end_b)):
        told = person.told(subject)
        assert (told[-1] if told else "pass") == str(end.status)
    assert notifications.due(person.state, person.now) == []
    gaps = [later - earlier for earlier, later in itertools.pairwise(person.attempts)]
    restarts = sum(step[3] == "restart" for step in steps)
    assert sum(gap < GAP_S for gap in gaps) <= restarts


# ---- what there is to be told of


def test_what_is_observed() -> None:
    """Apps and checks, by the least status that counts and the apps that matter."""
    checks = {
        "main_process": CHECK,
        "coach: tcp x": {**CHECK, "app": "coach", "status": "fail", "reason": "gone"},
        "coach: file y": {**CHECK, "app": "coach", "status": "warn", "reason": PENDING},
        "host_disk": {**CHECK, "app": None, "status": "warn", "reason": "full"},
    }
    apps = {
        "coach": BROKEN,
        "admin": APP,
        "new": {**APP, "state": "starting", "status": "fail"},
        "off": {**APP, "state": "stopped", "status": "warn"},
    }
    found = observations(apps, checks, least=Status.WARN, only_apps=frozenset())
    assert {name: one and str(one.status) for name, one in found.items()} == {
        "coach": "fail",
        "admin": "pass",
        "new": None,
        "off": None,
        "check main_process": "pass",
        "check coach: tcp x": "fail",
        "check coach: file y": None,
        "check host_disk": "warn",
    }
    only_bad = observations(apps, checks, least=Status.FAIL, only_apps=frozenset())
    assert only_bad["check host_disk"] == PASS
    of_coach = observations(apps, checks, least=Status.WARN, only_apps=frozenset({"coach"}))
    assert list(of_coach) == ["coach", "check coach: tcp x", "check coach: file y"]


def test_the_words_of_a_message() -> None:
    """One change in the title; of several their number; each line with reason and hint."""
    fails = Notice(subject="coach", kind=Announced.FAIL, reason="no x", hint="get x", missed=0)
    well = Notice(subject="admin", kind=Announced.PASS, reason=None, hint=None, missed=2)
    assert message([fails], "kitchen") == ("kitchen: coach fails", "coach fails: no x (get x)")
    title, body = message([fails, well], "kitchen")
    assert title == "kitchen: 1 not well, 1 recovered"
    assert body.splitlines() == [
        "coach fails: no x (get x)",
        "admin is well again [changed 2 times while messages could not be delivered]",
    ]
