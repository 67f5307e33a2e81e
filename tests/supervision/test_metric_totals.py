"""The metrics of an app over its workers: added up, kept when they end, and of the last minute."""

from typing import Any

import pytest

from supervisor.supervision.metric_totals import WINDOW_S, MetricTotals
from supervisor.values.metrics import LATENCY_BOUNDS_MS, Metrics, bucket

NOW = 1000.0


def metrics(total: int, *, latency_ms: float = 1.5, **fields: Any) -> Metrics:
    """Return the metrics of a worker that has given ``total`` answers, each as fast."""
    latency = [0] * (len(LATENCY_BOUNDS_MS) + 1)
    latency[bucket(latency_ms)] = total
    classes = {**Metrics().by_class, "2xx": total}
    return Metrics(total=total, by_class=classes, latency=tuple(latency), **fields)


def test_nothing_has_been_said_yet() -> None:
    """Before the first beat there are zeros, and nothing where nothing is known."""
    counting = MetricTotals()
    assert counting.total == Metrics()
    assert counting.memory_mb is None
    assert counting.latency_ms(0.5) is None


def test_workers_are_added_up() -> None:
    """Counters and what they do now; the oldest request is the oldest of all."""
    counting = MetricTotals()
    counting.report(1, metrics(10, busy=2, queue=1, oldest_s=3.0, threads=4), 30.5, NOW)
    counting.report(2, metrics(5, busy=1, queue=0, oldest_s=None, threads=4), 20.0, NOW)
    total = counting.total
    assert (total.total, total.by_class["2xx"]) == (15, 15)
    assert (total.busy, total.queue, total.oldest_s, total.threads) == (3, 1, 3.0, 8)
    assert counting.memory_mb == 50.5


def test_a_worker_reports_all_it_has_counted_each_time() -> None:
    """The last report counts, not the sum of them."""
    counting = MetricTotals()
    for total in (10, 20, 30):
        counting.report(1, metrics(total), 1, NOW)
    assert counting.total.total == 30


def test_what_an_ended_worker_counted_stays() -> None:
    """Its counters are kept over any number of workers; what it did at its end is gone."""
    counting = MetricTotals()
    for number in range(1, 4):
        counting.report(number, metrics(10, busy=2, threads=4), 30, NOW + number)
        counting.end(number)
        counting.end(number)
    assert counting.total.total == 30
    assert (counting.total.busy, counting.total.threads) == (0, 0)
    assert counting.memory_mb is None


def test_latencies_are_those_of_the_last_minute() -> None:
    """What was fast a while ago doesn't hide what is slow now."""
    counting = MetricTotals()
    fast = metrics(100_000, latency_ms=0.5)
    counting.report(1, fast, 1, NOW)
    slow = list(fast.latency)
    at = NOW
    for second in range(1, int(WINDOW_S) + 30):
        slow[bucket(900)] += 1
        at = NOW + second
        report = Metrics(total=100_000 + second, latency=tuple(slow))
        counting.report(1, report, 1, at)
    found = counting.latency_ms(0.5)
    assert found is not None
    assert 500 <= found <= 1000


def test_a_reload_does_not_disturb_the_latencies() -> None:
    """The answers of a worker that ends in this minute are still this minute's."""
    counting = MetricTotals()
    counting.report(1, metrics(0), 1, NOW)
    counting.report(1, metrics(50, latency_ms=90), 1, NOW + 1)
    counting.report(2, metrics(50, latency_ms=90), 1, NOW + 2)
    counting.end(1)
    counting.report(2, metrics(60, latency_ms=90), 1, NOW + 3)
    assert counting.latency_ms(0.99) == pytest.approx(99.5, abs=1)
    assert sum(counting.total.latency) == 110


def test_memory_of_a_long_life_is_bounded() -> None:
    """A beat every two seconds for a day keeps only what the last minute needs."""
    counting = MetricTotals()
    for second in range(0, 86_400, 2):
        counting.report(1, metrics(second), 1, NOW + second)
    assert len(counting._past) <= 8
