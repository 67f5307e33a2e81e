"""What the status worker is told: the whole snapshot, or each second that the last one holds."""

from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.daemon.status_feed import StatusFeed
from supervisor.policy.process_state import Limits
from supervisor.supervision.app_process import AppProcess
from supervisor.supervision.worker_handle import WorkerHandle
from supervisor.values.metrics import Metrics

PICTURE = {"type": "snapshot"}


class Told(SimpleNamespace):
    """A worker that only remembers what it was sent."""

    def __init__(self, *, unsent: bytes = b"") -> None:
        super().__init__(channel=SimpleNamespace(unsent=unsent), sent=[], shown=[])

    def send(self, message: dict[str, Any]) -> None:
        """Remember it."""
        self.sent.append(message["type"])

    def show_life(self, now: float) -> None:
        """Remember when."""
        self.shown.append(now)


def test_while_nothing_happens_the_picture_holds() -> None:
    """It is made once, and again after fifteen seconds; each second the main process shows life."""
    pushing, worker = StatusFeed(), Told()
    pushing.push([worker], lambda: PICTURE, now=100.0)
    holds = [pushing.holds([worker], now=100.0 + s) for s in (1, 2, 14, 15, 16)]
    assert holds == [True, True, True, False, False]
    assert worker.sent == ["snapshot"]
    assert worker.shown == [101.0, 102.0, 114.0, 115.0, 116.0]


@pytest.mark.parametrize("what", ["news", "another worker", "never made"])
def test_what_makes_a_new_picture(what: str) -> None:
    """Anything that happened, and a worker that has not seen this snapshot."""
    pushing, worker, other = StatusFeed(), Told(), Told()
    if what != "never made":
        pushing.push([worker], lambda: PICTURE, now=100.0)
    if what == "news":
        pushing.news()
    workers = [worker, other] if what == "another worker" else [worker]
    assert not pushing.holds(workers, now=101.0)
    pushing.push(workers, lambda: PICTURE, now=101.0)
    assert pushing.holds(workers, now=102.0)


def test_one_that_does_not_read_is_told_nothing_and_gets_the_whole_later() -> None:
    """What it has not read yet is not added to."""
    pushing, slow, worker = StatusFeed(), Told(unsent=b"x"), Told()
    pushing.push([slow, worker], lambda: PICTURE, now=100.0)
    assert (slow.sent, worker.sent) == ([], ["snapshot"])
    slow.channel.unsent = b""
    assert not pushing.holds([slow, worker], now=101.0)


def test_without_a_status_worker_no_picture_is_made() -> None:
    """It would be work for nothing."""

    def make() -> dict[str, Any]:
        raise AssertionError("nobody is there")

    StatusFeed().push([], make, now=100.0)


def test_other_figures_are_news() -> None:
    """A beat with the metrics and the memory of the beat before is none; any other is."""
    news: list[int] = []
    host: Any = SimpleNamespace(
        now=lambda: 100.0, wall=lambda: "", hide=str, news=lambda: news.append(1)
    )
    limits = Limits(import_timeout_s=10)
    service = AppProcess(
        host, name="coach", worker_main=lambda *_: 0, limits=limits, shutdown_timeout_s=1.0
    )
    worker = WorkerHandle(host, "coach", service, number=1)
    told = []
    for total, memory_mb in ((0, 30.0), (0, 30.0), (1, 30.0), (1, 30.0), (1, 30.1), (0, 30.1)):
        metrics = {"coach": Metrics(total=total).to_json()}
        beat = {"type": "heartbeat", "at": 98.0, "memory_mb": memory_mb, "metrics": metrics}
        service.on_message(worker, beat)
        told.append(len(news))
    assert told == [1, 1, 2, 2, 3, 4]
