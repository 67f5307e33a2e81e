"""The list of measures: contenders, rounds, the main metric, and our budgets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks import measures
from benchmarks.contenders import Contender, Granian, Gunicorn, Options, Waitress
from benchmarks.managers import ALL, Ours, Uwsgi
from benchmarks.measures import Row, Run

OURS = "ours"


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit for one of our metrics: at most or at least ``limit``.

    With ``relative_to``, the limit is for the ratio to the same metric of that row, of the pairs
    of each round.
    """

    metric: str
    kind: Literal["at most", "at least"]
    limit: float
    row: str = OURS
    relative_to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One table: ``main`` is the metric whose ratios to ``reference`` are shown."""

    name: str
    run: Run
    rows: tuple[Row, ...]
    rounds: int
    main: str | None
    reference: str = OURS
    budgets: Sequence[Budget] = ()

    @property
    def title(self) -> str:
        """What is measured, in a sentence."""
        return (self.run.__doc__ or self.name).strip().splitlines()[0]


def _rows(contenders: Sequence[Contender] = ALL) -> tuple[Row, ...]:
    return tuple(Row(contender) for contender in contenders)


def _throughput_rows() -> tuple[Row, ...]:
    ours, waitress = Ours(), Waitress()
    two, two_pinned = Options(2, pin=False), Options(2, pin=True)
    others = [
        Row(contender, Options(workers), f"{contender.name} × {workers}", rounds=4)
        for contender in (Gunicorn(), Uwsgi(), Granian())
        for workers in (1, 2)
    ]
    return (
        Row(waitress),
        Row(ours),
        Row(ours, Options(1, pin=True), "ours, pinned"),
        Row(ours, two, "ours × 2"),
        Row(ours, two_pinned, "ours × 2, pinned"),
        *others,
    )


MEASURES: tuple[Measure, ...] = (
    Measure(
        name="cold",
        run=measures.cold_start,
        rows=_rows(),
        rounds=11,
        main="cold_start_s",
        budgets=[Budget("cold_start_s", "at most", 0.20)],
    ),
    Measure(
        name="pss",
        run=measures.memory,
        rows=_rows(),
        rounds=3,
        main="pss_mib",
        budgets=[Budget("pss_mib", "at most", 63)],
    ),
    Measure(
        name="idle",
        run=measures.idle,
        rows=_rows(),
        rounds=3,
        main="idle_ms_per_s",
        budgets=[Budget("idle_ms_per_s", "at most", 1)],
    ),
    Measure(
        name="kill",
        run=measures.kill_worker,
        rows=_rows(),
        rounds=5,
        main="outage_ms",
        # a request that the killed process has accepted fails with it, whichever contender serves
        budgets=[Budget("refused", "at most", 0), Budget("worst_ms", "at most", 25)],
    ),
    Measure(
        name="reload",
        run=measures.graceful_reload,
        rows=_rows(),
        rounds=5,
        main="outage_ms",
        budgets=[
            Budget("refused", "at most", 0),
            Budget("failed", "at most", 0),
            Budget("worst_ms", "at most", 10),
        ],
    ),
    Measure(name="broken", run=measures.broken_app, rows=_rows(), rounds=1, main=None),
    Measure(
        name="throughput",
        run=measures.throughput,
        rows=_throughput_rows(),
        rounds=12,
        main="per_s",
        reference="waitress",
        budgets=[
            Budget("per_s", "at least", 0.98, relative_to="waitress"),
            Budget("per_s", "at least", 2, row="ours × 2, pinned", relative_to="waitress"),
        ],
    ),
    Measure(
        name="fifty",
        run=measures.fifty_apps,
        rows=_rows(),
        rounds=3,
        main="pss_mib_per_app",
        budgets=[Budget("start_s", "at most", 0.8), Budget("pss_mib_per_app", "at most", 7)],
    ),
    Measure(name="crash", run=measures.crash_of_big_app, rows=_rows(), rounds=3, main="outage_ms"),
)
