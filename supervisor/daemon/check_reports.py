"""What the status worker reports of checks and the machine: for operators; news are events."""

from typing import Any

from supervisor.policy.check_documents import (
    FACTS_MAX_AGE_S,
    check_changes,
    settled,
    with_live_checks,
)
from supervisor.policy.health_document import aged
from supervisor.supervision.runtime import Runtime
from supervisor.values.events import EventKind


class CheckReports:
    """The last report of the status worker."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._checks: dict[str, Any] = {}
        self._host: dict[str, Any] = {}
        self._received_at = 0.0  # monotonic seconds
        self._settled: dict[str, Any] = {}  # without those that have no result yet

    def receive(self, checks: dict[str, Any], host: dict[str, Any]) -> None:
        """Replace the last report; record an event of each check that fails or recovers."""
        before, self._settled = self._settled, settled(self._settled, checks)
        self._checks, self._host, self._received_at = checks, host, self._runtime.now()
        for change in check_changes(before, self._settled):
            self._runtime.journal.record(
                EventKind.CHECK, change.text, app=change.app, problem=change.is_problem
            )

    def added_to(self, snapshot: dict[str, Any]) -> dict[str, Any]:
        """Return a snapshot with the checks and the facts, as old as they are now."""
        age_s = self._runtime.now() - self._received_at
        host = aged(self._host, age_s)
        is_known = host.get("age_s", FACTS_MAX_AGE_S) < FACTS_MAX_AGE_S
        return with_live_checks(snapshot, aged(self._checks, age_s), host if is_known else {})
