"""What samples say: medians, spreads and ratios. Pure.

A sample of None means that the thing never happened: a port that never came back, say.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Summary:
    """Median, lowest and highest of ``count`` samples; ``inf`` where most never happened."""

    median: float
    low: float
    high: float
    count: int


def summary(samples: Sequence[float | None]) -> Summary | None:
    """Sum up the samples, a missing one being worse than any other; None without samples."""
    values = [math.inf if sample is None else sample for sample in samples]
    if not values:
        return None
    return Summary(median(values), min(values), max(values), len(values))


def quantile(samples: Sequence[float], share: float) -> float:
    """Give the smallest sample that at least ``share`` of all samples don't exceed.

    Raises ValueError without samples.
    """
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def ratio(value: float, reference: float) -> float | None:
    """Give how many times ``reference`` the ``value`` is; None where that says nothing."""
    if reference == 0 or math.isinf(reference):
        return None
    return value / reference


def paired_ratio(
    values: Sequence[float | None], references: Sequence[float | None]
) -> Summary | None:
    """Sum up the ratios of samples taken in the same round; None where no pair is complete.

    What slows a machine down for a while slows both of a pair, so this is steadier than the
    ratio of two medians.
    """
    pairs = zip(values, references, strict=False)
    return summary([v / r for v, r in pairs if v is not None and r is not None and r != 0])


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """Give the least-squares slope of (x, y) samples; 0 for fewer than two different x."""
    count = len(samples)
    mean_x = sum(x for x, _ in samples) / max(1, count)
    mean_y = sum(y for _, y in samples) / max(1, count)
    width = sum((x - mean_x) ** 2 for x, _ in samples)
    if width == 0:
        return 0.0
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / width
