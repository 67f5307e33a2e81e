"""What the status worker has reported of its checks, for the snapshots that operators get."""

from typing import Any

from supervisor.policy.health_document import aged
from supervisor.policy.live_checks import CheckChange, check_changes, settled, with_live_checks


class CheckReports:
    """The last report; times are monotonic seconds."""

    def __init__(self) -> None:
        self._checks: dict[str, Any] = {}
        self._received_at = 0.0
        self._settled: dict[str, Any] = {}

    def receive(self, checks: dict[str, Any], now: float) -> list[CheckChange]:
        """Replace what was reported before; return what is news."""
        now_settled = settled(self._settled, checks)
        changes = check_changes(self._settled, now_settled)
        self._checks, self._received_at, self._settled = checks, now, now_settled
        return changes

    def added_to(self, snapshot: dict[str, Any], now: float) -> dict[str, Any]:
        """Return a snapshot with the checks, as old as they are now."""
        return with_live_checks(snapshot, aged(self._checks, now - self._received_at))
