"""The snapshots for the status worker: sent when something changed, else they hold."""

from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.daemon.status_feed import SnapshotSender
from supervisor.supervision.changes import ChangeSignal

SNAPSHOT = {"type": "snapshot"}


class FakeWorker(SimpleNamespace):
    """A worker that only remembers what it was sent."""

    def __init__(self, *, unsent: bytes = b"") -> None:
        super().__init__(channel=SimpleNamespace(unsent=unsent), sent=[], shown=[])

    def send(self, message: dict[str, Any]) -> None:
        """Remember it."""
        self.sent.append(message["type"])

    def show_life(self, now: float) -> None:
        """Remember when."""
        self.shown.append(now)


def test_while_nothing_happens_the_snapshot_holds() -> None:
    """It is made once, and again after fifteen seconds; each second the main process shows life."""
    sender, worker = SnapshotSender(ChangeSignal()), FakeWorker()
    sender.send([worker], lambda: SNAPSHOT, now=100.0)
    holds = [sender.holds([worker], now=100.0 + s) for s in (1, 2, 14, 15, 16)]
    assert holds == [True, True, True, False, False]
    assert worker.sent == ["snapshot"]
    assert worker.shown == [101.0, 102.0, 114.0, 115.0, 116.0]


@pytest.mark.parametrize("what", ["report", "change", "another worker", "never made"])
def test_what_makes_a_new_snapshot(what: str) -> None:
    """Anything that changed or was reported, and a worker that has not seen this snapshot."""
    signal = ChangeSignal()
    sender, worker, other = SnapshotSender(signal), FakeWorker(), FakeWorker()
    if what != "never made":
        sender.send([worker], lambda: SNAPSHOT, now=100.0)
    if what == "report":
        signal.mark()
    if what == "change":
        signal.notify()
    workers = [worker, other] if what == "another worker" else [worker]
    assert not sender.holds(workers, now=101.0)
    sender.send(workers, lambda: SNAPSHOT, now=101.0)
    assert sender.holds(workers, now=102.0)


def test_one_that_does_not_read_is_sent_nothing_and_gets_the_whole_later() -> None:
    """What it has not read yet is not added to."""
    sender, slow, worker = SnapshotSender(ChangeSignal()), FakeWorker(unsent=b"x"), FakeWorker()
    sender.send([slow, worker], lambda: SNAPSHOT, now=100.0)
    assert (slow.sent, worker.sent) == ([], ["snapshot"])
    slow.channel.unsent = b""
    assert not sender.holds([slow, worker], now=101.0)


def test_without_a_status_worker_no_snapshot_is_made() -> None:
    """It would be work for nothing."""

    def make() -> dict[str, Any]:
        raise AssertionError("no worker needs it")

    SnapshotSender(ChangeSignal()).send([], make, now=100.0)
