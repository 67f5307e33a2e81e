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


def paired_ratio(
    values: Sequence[float | None], references: Sequence[float | None]
) -> Summary | None:
    """Sum up the ratios of samples taken in the same round; None where no pair is complete.

    What slows a machine down for a while slows both of a pair, so this is steadier than the
    ratio of two medians.
    """
    pairs = zip(values, references, strict=False)
    return summary([v / r for v, r in pairs if v is not None and r is not None and r != 0])
