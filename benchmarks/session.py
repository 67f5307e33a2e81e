"""Takes the samples: every round measures each row once, in another order each time."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.contenders import NotAvailable, Places
from benchmarks.measures import Metrics, Row, Times, Value
from benchmarks.suite import Measure

_PROBLEMS_MAX = 2  # after that many failures, a measure leaves a row out

Log = Callable[[str], None]


@dataclass(slots=True)
class Taken:
    """The samples of one row; a failed one is None, so that the rounds of all rows correspond."""

    samples: list[Metrics | None] = field(default_factory=list)
    unavailable: str | None = None  # why it can't be measured
    problems: list[str] = field(default_factory=list)

    def values(self, metric: str) -> list[Value]:
        """Return one metric of every sample that succeeded."""
        return [sample[metric] for sample in self.samples if sample is not None]

    def numbers(self, metric: str) -> list[float | None]:
        """Return one metric of every round; None where it never happened or the sample failed."""
        return [
            None if sample is None or isinstance(value := sample[metric], str) else value
            for sample in self.samples
        ]


Results = dict[str, dict[str, Taken]]


def take(
    measure: Measure,
    places: Places,
    *,
    contenders: Sequence[str],
    rounds: int,
    times: Times,
    log: Log,
) -> dict[str, Taken]:
    """Take a measure, and return the samples by row."""
    rows = [row for row in measure.rows if row.contender.name in contenders]
    taken = {row.name: Taken() for row in rows}
    for number in range(rounds):
        turn = number % max(1, len(rows))
        for row in rows[turn:] + rows[:turn]:
            mine = taken[row.name]
            if mine.unavailable is None and number < row.rounds:
                _sample(measure, row, places, times, mine)
                log(f"{measure.name} {number + 1}/{rounds}  {row.name}: {_outcome(mine)}")
    return taken


def _sample(measure: Measure, row: Row, places: Places, times: Times, taken: Taken) -> None:
    try:
        taken.samples.append(measure.run(row, places, times))
    except NotAvailable as reason:
        taken.unavailable = str(reason)
    except (OSError, RuntimeError, subprocess.SubprocessError, ValueError) as error:
        taken.samples.append(None)
        taken.problems.append(f"{type(error).__name__}: {error}")
        if len(taken.problems) >= _PROBLEMS_MAX:
            taken.unavailable = taken.problems[-1]


def _outcome(taken: Taken) -> str:
    if taken.unavailable is not None:
        return taken.unavailable
    last = taken.samples[-1]
    if last is None:
        return taken.problems[-1]
    return ", ".join(f"{name} {shown(value)}" for name, value in last.items())


def shown(value: Value) -> str:
    """Return a number for people, with three digits."""
    if value is None:
        return "never"
    if isinstance(value, str):
        return value
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def to_stderr(line: str) -> None:
    """Print the progress on standard error."""
    print(line, file=sys.stderr, flush=True)
