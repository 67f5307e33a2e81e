"""Statistics of samples: medians, spreads and ratios. Pure.

A sample of None means that an event never happened, such as a port's return.
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
    """Return the summary of samples; None counts as worst. Without samples, return None."""
    values = [math.inf if sample is None else sample for sample in samples]
    if not values:
        return None
    return Summary(median(values), min(values), max(values), len(values))


def paired_ratio(
    values: Sequence[float | None], references: Sequence[float | None]
) -> Summary | None:
    """Return the summary of ratios of samples of the same round; None if no pair is complete.

    What slows the machine down slows both of a pair, so this varies less than the
    ratio of two medians.
    """
    pairs = zip(values, references, strict=False)
    return summary([v / r for v, r in pairs if v is not None and r is not None and r != 0])
