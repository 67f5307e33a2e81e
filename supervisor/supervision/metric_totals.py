"""The metrics of an app over all its workers, including those that have ended."""

from collections import deque

from supervisor.values.metrics import Metrics, latency_ms, merged, minus, plus

WINDOW_S = 60.0  # latencies are those of the last minute: older ones hide what is slow now
_STEP_S = 10.0


class MetricTotals:
    """Adds up what the workers of one app report; times are monotonic seconds."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[Metrics, float]] = {}  # by worker: its metrics, its memory
        self._ended = Metrics()
        self._past: deque[tuple[float, Metrics]] = deque()

    def report(self, worker: int, metrics: Metrics, memory_mb: float, now: float) -> None:
        """Replace what a worker reported before."""
        self._of[worker] = (metrics, memory_mb)
        if not self._past or now >= self._past[-1][0] + _STEP_S:
            self._past.append((now, self.total))
        while len(self._past) > 1 and self._past[1][0] <= now - WINDOW_S:
            self._past.popleft()

    def end(self, worker: int) -> None:
        """Keep the counters of a worker that has ended."""
        metrics, _ = self._of.pop(worker, (Metrics(), 0.0))
        self._ended = plus(self._ended, metrics)

    @property
    def total(self) -> Metrics:
        """The metrics of all workers together, and the counters of those that have ended."""
        return plus(merged(metrics for metrics, _ in self._of.values()), self._ended)

    @property
    def memory_mb(self) -> float | None:
        """The resident memory of all workers, None before the first report."""
        return sum(memory for _, memory in self._of.values()) if self._of else None

    def latencies_ms(self, *quantiles: float) -> tuple[float | None, ...]:
        """Return the latencies that these shares of the last minute's answers did not exceed."""
        if not self._past:
            return (None,) * len(quantiles)
        recent = minus(self.total, self._past[0][1])
        return tuple(latency_ms(recent, quantile) for quantile in quantiles)

    def latency_ms(self, quantile: float) -> float | None:
        """Return the latency that ``quantile`` of the last minute's answers did not exceed."""
        return self.latencies_ms(quantile)[0]
