"""When to start a worker again: a pure policy over what happened before.

A worker that ended before it was ready, or within `STABLE_S` of it, *failed*; each further failure
waits longer. One that served longer is started again at once, unless that happens so often that it
counts as failing too.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Self

from supervisor.values.records import dataclass

STABLE_S = 1.0  # an exit within this time of ready is a failure
CLEAR_S = 30.0  # this long ready clears all that was counted
WINDOW_S = 60.0  # the time over which failures and restarts are counted
FAILURES_MAX = 5  # more than this in the window: failed
RESTARTS_MAX = 10  # more stable restarts than this in the window count as failures too
CHANGES_MAX = 20  # more attempts for changed files than this in the window: the import itself
# rewrites its files, so their change says nothing

DELAYS_S = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # after the first, second ... failure
FAILED_DELAY_S = 60.0
_JITTER_FROM = 3  # from the third failure on; before, a quick restart matters more
_JITTER_LOW = 0.8

Rng = Callable[[], float]  # returns [0, 1), as random.random does


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The failures and restarts of the recent past; times are monotonic seconds."""

    failures: tuple[float, ...] = ()
    restarts: tuple[float, ...] = ()
    changes: tuple[float, ...] = ()
    consecutive: int = 0
    failed: bool = False  # sticks until cleared: a slow retry must not look like a recovery

    def recent_restarts(self, now: float) -> int:
        """Return how often a worker that had served was restarted in the last `WINDOW_S`."""
        return len(_recent(self.restarts, now))

    def after_failure(self, now: float) -> Self:
        """Return the history with a failure at ``now``."""
        failures = (*_recent(self.failures, now), now)
        return replace(
            self,
            failures=failures,
            consecutive=self.consecutive + 1,
            failed=self.failed or len(failures) > FAILURES_MAX,
        )

    def after_stable_exit(self, now: float, *, ready_s: float) -> Self:
        """Return the history with the exit of a worker that was ready for at least `STABLE_S`."""
        base = replace(self, failures=(), restarts=(), consecutive=0, failed=False)
        if ready_s >= CLEAR_S:
            return replace(base, restarts=(now,))
        restarts = (*_recent(self.restarts, now), now)
        if len(restarts) > RESTARTS_MAX:
            return replace(self, restarts=restarts).after_failure(now)
        return replace(self, restarts=restarts, consecutive=0, failed=False)

    def after_change(self, now: float) -> Self | None:
        """Return the history without the failures of the old files.

        None if the files change too often: then the import itself rewrites them.
        """
        changes = (*_recent(self.changes, now), now)
        if len(changes) > CHANGES_MAX:
            return None
        return replace(self, changes=changes, failures=(), consecutive=0, failed=False)

    def delay_s(self, rng: Rng) -> float:
        """Return the seconds to wait before the next start."""
        if self.failed:
            return FAILED_DELAY_S
        if self.consecutive == 0:
            return 0.0
        delay = DELAYS_S[min(self.consecutive, len(DELAYS_S)) - 1]
        if self.consecutive < _JITTER_FROM:
            return delay
        return delay * (_JITTER_LOW + (1 - _JITTER_LOW) * rng())


def _recent(times: tuple[float, ...], now: float) -> tuple[float, ...]:
    return tuple(time for time in times if now - time < WINDOW_S)
