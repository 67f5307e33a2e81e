"""What is reported to systemd, and when: READY, STATUS, the watchdog, a failed start."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from notified import Listener

from supervisor.systemd import notifier
from supervisor.systemd.notifier import Notifier, all_settled, report_start_failure, status_text
from supervisor.systemd.protocol import NotifySocket
from supervisor.values.errors import SupervisorError


def app(
    state: str = "ready", serving: str = "app", status: str = "pass", reason: str | None = None
) -> dict[str, Any]:
    """Return what of an app's health document matters here."""
    return {"state": state, "serving": serving, "status": status, "reason": reason}


READY = app()
STARTING = app("starting", "nothing", "fail")
ANSWERED = app("backoff", "stand-in", "fail", "ModuleNotFoundError: No module named 'x'")
BLOCKED = app("blocked", "nothing", "fail", "port 5001 is in use by pid 830")
UNTRIED = app("blocked", "nothing", "fail")
OLD = app("ready", "last-known-good", "warn", "SyntaxError: invalid syntax (a.py, line 3)")


@pytest.mark.parametrize(
    ("apps", "text"),
    [
        ({}, "0 of 0 apps ready"),
        ({"a": READY, "status": READY}, "1 of 1 apps ready"),
        ({"a": READY, "b": STARTING, "status": READY}, "1 of 2 apps ready; b: starting"),
        (
            {"a": READY, "b": READY, "coach": ANSWERED, "status": READY},
            "2 of 3 apps ready; coach: ModuleNotFoundError: No module named 'x'",
        ),
        (
            {"a": OLD, "b": BLOCKED, "status": READY},
            "1 of 2 apps ready; a: SyntaxError: invalid syntax (a.py, line 3); "
            "b: port 5001 is in use by pid 830",
        ),
        (
            {"a": READY, "status": BLOCKED},
            "1 of 1 apps ready; status: port 5001 is in use by pid 830",
        ),
    ],
)
def test_the_status_in_words(apps: dict[str, Any], text: str) -> None:
    """One line says how many apps are ready, and why the others are not."""
    assert status_text(apps) == text


@pytest.mark.parametrize(
    ("document", "settled"),
    [
        (READY, True),
        (STARTING, False),
        (ANSWERED, True),
        (BLOCKED, True),
        (UNTRIED, False),
        (OLD, True),
    ],
)
def test_when_a_port_counts_as_settled(document: dict[str, Any], settled: bool) -> None:
    """A port is settled when anything answers it, or when binding it has failed."""
    assert all_settled({"a": READY, "b": document}) is settled


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Listener]:
    """An imitation of systemd's end."""
    made = Listener(str(tmp_path / "notify"))
    yield made
    made.close()


@pytest.fixture
def notify(systemd: Listener) -> Iterator[NotifySocket]:
    """The sending end of the notify socket."""
    made = NotifySocket(systemd.address)
    yield made
    made.close()


def test_ready_comes_once_and_status_on_every_change(
    systemd: Listener, notify: NotifySocket
) -> None:
    """STATUS comes when it changes; READY comes once, when every port answers."""
    says = Notifier(notify, None)
    says.update({"a": STARTING})
    assert systemd.hear_all() == ["STATUS=0 of 1 apps ready; a: starting"]
    says.update({"a": STARTING})
    assert systemd.hear_all() == []
    says.update({"a": READY})
    assert systemd.hear_all() == ["STATUS=1 of 1 apps ready", "READY=1"]
    says.update({"a": STARTING})
    says.update({"a": READY})
    assert systemd.hear_all() == [
        "STATUS=0 of 1 apps ready; a: starting",
        "STATUS=1 of 1 apps ready",
    ]


def test_what_was_not_received_is_sent_again(systemd: Listener, notify: NotifySocket) -> None:
    """If systemd's queue is full, READY comes with a later update: it is never lost."""
    says = Notifier(notify, None)
    while notify.feed_watchdog():
        pass
    says.update({"a": READY})
    assert "READY=1" not in systemd.hear_all()
    says.update({"a": READY})
    assert systemd.hear_all() == ["STATUS=1 of 1 apps ready", "READY=1"]


def test_only_completed_cycles_feed_the_watchdog(systemd: Listener, notify: NotifySocket) -> None:
    """The watchdog is fed three times in its period, by cycles, and by nothing else."""
    says = Notifier(notify, 9.0)
    says.update({"a": READY})
    assert "WATCHDOG=1" not in systemd.hear_all()
    fed = []
    for tenth in range(100):
        says.cycle_completed(100 + tenth / 10)
        fed += [tenth / 10] * systemd.hear_all().count("WATCHDOG=1")
    assert fed == [0.0, 3.0, 6.0, 9.0]


def test_without_a_watchdog_nothing_is_fed(systemd: Listener, notify: NotifySocket) -> None:
    """A unit without WatchdogSec= gets no WATCHDOG messages."""
    Notifier(notify, None).cycle_completed(1.0)
    assert systemd.hear_all() == []


def test_reloading_and_stopping(systemd: Listener, notify: NotifySocket) -> None:
    """A reload begins with the time and ends with ready; the end is announced."""
    says = Notifier(notify, None)
    says.reloading(2.0)
    says.reloaded()
    says.stopping()
    assert systemd.hear_all() == [
        "RELOADING=1",
        "MONOTONIC_USEC=2000000",
        "READY=1",
        "STATUS=stopping: finishing the requests in flight",
        "STOPPING=1",
    ]


def test_systemd_gets_the_reason_of_a_failed_start(
    systemd: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`systemctl status` shows an error before the loop runs, which is raised again."""
    monkeypatch.setattr(notifier, "_HOLD_S", 0.0)
    error = SupervisorError("supervisor.toml: is not valid TOML")
    with pytest.raises(SupervisorError), report_start_failure({"NOTIFY_SOCKET": systemd.address}):
        raise error
    assert systemd.hear_all() == ["STATUS=cannot start: supervisor.toml: is not valid TOML"]


def test_in_the_foreground_an_error_is_just_an_error() -> None:
    """Without systemd there is no delay."""
    with pytest.raises(SupervisorError), report_start_failure({}):
        raise SupervisorError("x")
