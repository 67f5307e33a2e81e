"""Metrics of a worker's requests: how many, how fast, and how busy its threads are.

A worker sends them with its heartbeats; the main process adds them up over workers and generations.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

# Upper bounds of the latency buckets, in milliseconds; slower answers have a bucket of their own.
# In steps of 1, 2, 5 each bound is at most 2.5 times the last, so that quantiles stay accurate.
LATENCY_BOUNDS_MS = (
    *(1, 2, 5, 10, 20, 50, 100, 200, 500),
    *(1_000, 2_000, 5_000, 10_000, 20_000, 60_000),
)
CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
_COUNTERS = ("total", "rejected", "latency_sum_s")
_GAUGES = ("threads", "max_threads", "busy", "queue", "in_flight", "connections")
_BUCKETS = len(LATENCY_BOUNDS_MS) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The requests of one listener, or of several together; ages and sums in seconds.

    Counters since the start of the worker: ``total`` (answers), ``by_class`` (these by the first
    digit of the status), ``rejected`` (the 503s of these that an overloaded server sent),
    ``latency`` (the other answers by bucket) and ``latency_sum_s``. The other fields are gauges.
    """

    threads: int = 0
    max_threads: int = 0
    busy: int = 0  # threads that are answering a request
    queue: int = 0  # requests waiting for a thread
    queue_wait_s: float = 0.0  # of the one that waits longest
    in_flight: int = 0  # busy and queue
    oldest_s: float | None = None  # age of the oldest request in flight
    connections: int = 0
    total: int = 0
    by_class: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(CLASSES, 0))
    rejected: int = 0
    latency: tuple[int, ...] = (0,) * _BUCKETS
    latency_sum_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """Return the metrics in an object of `to_json`; raises TypeError or ValueError."""
        if given.keys() != {one.name for one in fields(cls)}:
            raise TypeError("not the fields of metrics")
        latency = tuple(given["latency"])
        if len(latency) != _BUCKETS:
            raise ValueError(f"metrics have {_BUCKETS} latency buckets, not {len(latency)}")
        return cls(**{**given, "latency": latency})


def bucket(latency_ms: float) -> int:
    """Return the index of a latency's bucket; a bound belongs to the bucket that it ends."""
    return bisect_left(LATENCY_BOUNDS_MS, latency_ms)


def merged(several: Iterable[Metrics]) -> Metrics:
    """Return the metrics of several workers or apps together: sums, and the worst of ages."""
    every = list(several)
    ages = [one.oldest_s for one in every if one.oldest_s is not None]
    whole = Metrics(
        queue_wait_s=max((one.queue_wait_s for one in every), default=0.0),
        oldest_s=max(ages, default=None),
        **{name: sum(getattr(one, name) for one in every) for name in _GAUGES},
    )
    for one in every:
        whole = plus(whole, one)
    return whole


def plus(now: Metrics, earlier: Metrics) -> Metrics:
    """Return ``now`` with the counters of ``earlier`` (a worker that has ended) added."""
    return _with_counters(now, earlier, 1)


def minus(now: Metrics, earlier: Metrics) -> Metrics:
    """Return ``now`` with its counters starting at ``earlier``, an older state of the same."""
    return _with_counters(now, earlier, -1)


def _with_counters(now: Metrics, other: Metrics, sign: int) -> Metrics:
    classes = now.by_class | other.by_class  # type: ignore[operator]  # both are dicts
    changes: dict[str, Any] = {
        name: getattr(now, name) + sign * getattr(other, name) for name in _COUNTERS
    }
    return replace(
        now,
        by_class={
            name: now.by_class.get(name, 0) + sign * other.by_class.get(name, 0) for name in classes
        },
        latency=tuple(a + sign * b for a, b in zip(now.latency, other.latency, strict=True)),
        **changes,
    )


def latency_ms(metrics: Metrics, quantile: float) -> float | None:
    """Return the latency that ``quantile`` (0 to 1) of the answers did not exceed.

    None if there are no answers. Interpolates linearly within a bucket, as Prometheus'
    histogram_quantile does; for answers beyond the last bound, returns that bound.
    """
    rank = quantile * sum(metrics.latency)
    below = 0
    lower = 0.0
    if not any(metrics.latency):
        return None
    for upper, count in zip(LATENCY_BOUNDS_MS, metrics.latency, strict=False):
        if count and below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count
        below += count
        lower = float(upper)
    return lower
