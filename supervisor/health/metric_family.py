"""Metric families of prometheus-client from plain rows: labels and a value."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

PREFIX = "flask_supervisor_"
MB = 2**20
Row = tuple[Mapping[str, str], float]


def gauge(name: str, text: str, rows: Iterable[Row]) -> Metric:
    """Return a gauge; all rows have the same labels."""
    return _filled(GaugeMetricFamily, name, text, rows)


def counter(name: str, text: str, rows: Iterable[Row]) -> Metric:
    """Return a counter; ``_total`` is added to ``name``."""
    return _filled(CounterMetricFamily, name, text, rows)


def _filled(
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily],
    name: str,
    text: str,
    rows: Iterable[Row],
) -> Metric:
    every = list(rows)
    labels = list(every[0][0]) if every else []
    family = kind(PREFIX + name, text, labels=labels)
    for row, value in every:
        family.add_metric([row[label] for label in labels], float(value))
    return family


def histogram(
    name: str,
    text: str,
    bounds_s: Sequence[float],
    rows: Iterable[tuple[Mapping[str, str], Sequence[int], float]],
) -> Metric:
    """Return a histogram of durations.

    A row has labels, the count of each bucket by itself (one more than there are bounds: what is
    slower than all of them), and the sum in seconds.
    """
    every = list(rows)
    labels = list(every[0][0]) if every else []
    family = HistogramMetricFamily(PREFIX + name, text, labels=labels)
    ends = [*(f"{bound:g}" for bound in bounds_s), "+Inf"]
    for row, counts, sum_s in every:
        so_far, buckets = 0, []
        for end, count in zip(ends, counts, strict=True):
            so_far += count
            buckets.append((end, float(so_far)))
        family.add_metric([row[label] for label in labels], buckets, sum_s)
    return family


@dataclass(frozen=True, slots=True)
class StateGauge:
    """A gauge with one series for each state that there is: 1 for the current one, 0 for others."""

    name: str
    text: str
    states: tuple[str, ...]

    def of(self, rows: Iterable[tuple[Mapping[str, str], str]]) -> Metric:
        """Return the family; a row has labels and the current state."""
        label = self.name.rpartition("_")[2]
        return gauge(
            self.name,
            self.text,
            [
                ({**row, label: state}, state == current)
                for row, current in rows
                for state in self.states
            ],
        )


def one_of(name: str, text: str, states: Iterable[str]) -> StateGauge:
    """Return a gauge for states, whose label is the last word of ``name``."""
    return StateGauge(name, text, tuple(states))
