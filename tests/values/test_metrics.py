"""Metrics: sums, differences, and quantiles of latencies."""

import itertools
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.values.metrics import (
    CLASSES,
    LATENCY_BOUNDS_MS,
    Metrics,
    bucket,
    latency_ms,
    merged,
    minus,
    plus,
)

COUNTS = st.integers(0, 10**9)
BUCKETS = st.lists(COUNTS, min_size=len(LATENCY_BOUNDS_MS) + 1, max_size=len(LATENCY_BOUNDS_MS) + 1)
AGES = st.integers(0, 10**6).map(float)  # whole numbers: sums are then exact
METRICS = st.builds(
    Metrics,
    threads=COUNTS,
    max_threads=COUNTS,
    busy=COUNTS,
    queue=COUNTS,
    queue_wait_s=AGES,
    in_flight=COUNTS,
    oldest_s=st.none() | AGES,
    connections=COUNTS,
    total=COUNTS,
    by_class=st.fixed_dictionaries(dict.fromkeys(CLASSES, COUNTS)),
    rejected=COUNTS,
    latency=BUCKETS.map(tuple),
    latency_sum_s=AGES,
)


def with_latencies(*latencies_ms: float) -> Metrics:
    """Return the metrics of requests with these latencies."""
    counts = [0] * (len(LATENCY_BOUNDS_MS) + 1)
    for one in latencies_ms:
        counts[bucket(one)] += 1
    return Metrics(latency=tuple(counts))


@given(METRICS)
def test_metrics_survive_a_message(metrics: Metrics) -> None:
    """Metrics that are sent as JSON are read back equal."""
    assert Metrics.from_json(json.loads(json.dumps(metrics.to_json()))) == metrics


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"total": 1},
        {**Metrics().to_json(), "more": 1},
        {**Metrics().to_json(), "latency": [1, 2]},
        {**Metrics().to_json(), "latency": None},
    ],
)
def test_other_objects_are_refused(broken: dict[str, Any]) -> None:
    """A message that another version sent raises TypeError or ValueError."""
    with pytest.raises((TypeError, ValueError)):
        Metrics.from_json(broken)


@given(METRICS, METRICS)
def test_minus_undoes_plus(now: Metrics, earlier: Metrics) -> None:
    """Counters are added and subtracted; gauges stay those of the first."""
    together = plus(now, earlier)
    assert minus(together, earlier) == now
    assert together.total == now.total + earlier.total
    assert (together.busy, together.oldest_s) == (now.busy, now.oldest_s)


@given(st.lists(METRICS, max_size=4))
def test_the_order_of_merging_does_not_matter(several: list[Metrics]) -> None:
    """Several workers give the same result in any order and in any groups."""
    assert merged(several) == merged(reversed(several))
    assert merged([merged(several[:2]), merged(several[2:])]) == merged(several)
    assert merged(several).threads == sum(one.threads for one in several)


@given(st.lists(METRICS, min_size=1, max_size=4))
def test_the_worst_age_is_kept(several: list[Metrics]) -> None:
    """Ages are not added up: the result has the highest."""
    ages = [one.oldest_s for one in several if one.oldest_s is not None]
    assert merged(several).oldest_s == max(ages, default=None)
    assert merged(several).queue_wait_s == max(one.queue_wait_s for one in several)


def test_nothing_merged_is_nothing() -> None:
    """Without workers all metrics are zero."""
    assert merged([]) == Metrics()


@pytest.mark.parametrize(
    ("latencies_ms", "quantile", "expected"),
    [
        ([], 0.5, None),
        ([0.4], 1.0, 1.0),
        ([0.4, 0.4], 0.5, 0.5),
        ([3, 3, 3, 3], 0.5, 3.5),  # evenly spread from 2 to 5
        ([3, 3, 3, 3], 0.0, 2.0),
        ([1.5] * 98 + [700] * 2, 0.5, pytest.approx(1 + 50 / 98)),
        ([1.5] * 98 + [700] * 2, 0.98, 2.0),
        ([1.5] * 98 + [700] * 2, 0.99, 750.0),
        ([600_000], 0.99, 60_000.0),  # beyond the last bound
        ([3, 600_000], 0.5, 5.0),
    ],
)
def test_quantiles_are_interpolated(
    latencies_ms: list[float], quantile: float, expected: float | None
) -> None:
    """Latencies are interpolated in the bucket that contains the quantile."""
    assert latency_ms(with_latencies(*latencies_ms), quantile) == expected


@given(st.lists(st.floats(0.01, 59_000), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_is_in_the_bucket_of_the_true_one(
    latencies: list[float], quantile: float
) -> None:
    """The estimate is in the same bucket as the true value."""
    true = sorted(latencies)[math.ceil(quantile * len(latencies)) - 1]
    estimate = latency_ms(with_latencies(*latencies), quantile)
    assert estimate is not None
    upper = LATENCY_BOUNDS_MS[bucket(true)]
    lower = LATENCY_BOUNDS_MS[bucket(true) - 1] if bucket(true) else 0
    assert lower <= estimate <= upper


@given(BUCKETS, st.floats(0, 1), st.floats(0, 1))
def test_quantiles_never_fall(counts: list[int], one: float, other: float) -> None:
    """A higher quantile never has a lower latency."""
    metrics = Metrics(latency=tuple(counts))
    low, high = (latency_ms(metrics, quantile) for quantile in sorted((one, other)))
    assert (low is None) == (high is None) == (not any(counts))
    if low is not None and high is not None:
        assert low <= high


@pytest.mark.parametrize(
    ("latency", "index"),
    [
        (0, 0),
        (1, 0),
        (1.01, 1),
        (2, 1),
        (60_000, len(LATENCY_BOUNDS_MS) - 1),
        (60_001, len(LATENCY_BOUNDS_MS)),
    ],
)
def test_a_bound_is_in_its_own_bucket(latency: float, index: int) -> None:
    """Buckets count what is less than or equal to their bound, as those of Prometheus."""
    assert bucket(latency) == index


def test_the_bounds_grow_evenly() -> None:
    """From 1 ms to 60 s, each bound is at most three times the last."""
    assert (LATENCY_BOUNDS_MS[0], LATENCY_BOUNDS_MS[-1]) == (1, 60_000)
    steps = itertools.pairwise(LATENCY_BOUNDS_MS)
    assert all(1 < b / a <= 3 for a, b in steps)
