"""Turns the states of all apps into snapshots, and sends them to the status worker.

While nothing happens, making the snapshot would be most of what the main process does. So the
status worker gets one when something has changed, and each second only sees that this process
lives.
"""

import math
from collections.abc import Callable, Collection
from typing import Any

from supervisor.config.settings import Config
from supervisor.health.check_settings import check_settings
from supervisor.policy import health_document
from supervisor.policy.health_document import AppFacts, CheckFacts, SupervisorFacts
from supervisor.process.channel import Message
from supervisor.supervision.app_process import AppProcess
from supervisor.supervision.changes import ChangeSignal
from supervisor.supervision.process_set import ProcessSet
from supervisor.supervision.runtime import Runtime
from supervisor.supervision.standin_manager import StandInManager
from supervisor.supervision.worker_handle import WorkerHandle
from supervisor.values.constants import SNAPSHOT_MAX_AGE_S
from supervisor.values.states import AppState
from supervisor.values.watch_requests import WatchRequest


class SnapshotSender:
    """Sends snapshots to workers, and knows whether the last one still holds."""

    def __init__(self, signal: ChangeSignal) -> None:
        self._signal = signal
        self._made_at = -math.inf  # monotonic seconds
        self._sent_to: list[WorkerHandle] = []

    def send(
        self, workers: Collection[WorkerHandle], make: Callable[[], Message], *, now: float
    ) -> None:
        """Send each of ``workers`` that can take it the message that ``make`` returns."""
        self._signal.unseen, self._made_at = False, now
        self._sent_to = _able(workers)
        if self._sent_to:
            message = make()
            for worker in self._sent_to:
                worker.send(message)

    def holds(self, workers: Collection[WorkerHandle], *, now: float) -> bool:
        """Return whether the last snapshot holds; shows ``workers`` that this process lives."""
        for worker in workers:
            worker.show_life(now)
        if self._signal.unseen or now >= self._made_at + SNAPSHOT_MAX_AGE_S:
            return False
        return all(worker in self._sent_to for worker in _able(workers))


def _able(workers: Collection[WorkerHandle]) -> list[WorkerHandle]:
    """Return the workers that have read what they got before; the others get the next snapshot."""
    return [worker for worker in workers if not worker.channel.unsent]


class StatusFeed:
    """The health document of all ``processes``.

    ``checks`` returns those of the supervisor, ``last_failure`` that of an app or a process,
    ``watches`` what the status worker is to watch.
    """

    def __init__(
        self,
        runtime: Runtime,
        processes: ProcessSet,
        stand_in: StandInManager,
        about: SupervisorFacts,
        checks: Callable[[], list[CheckFacts]],
        last_failure: Callable[[str], dict[str, Any] | None],
        watches: Callable[[], list[WatchRequest]],
    ) -> None:
        self._runtime = runtime
        self._processes = processes
        self._stand_in = stand_in
        self._about = about
        self._checks = checks
        self._last_failure = last_failure
        self._watches = watches
        self._sender = SnapshotSender(runtime.signal)
        self._settings_of: tuple[Config, dict[str, Any]] | None = None
        self._lag_s = 0.0

    def note_lag(self, seconds: float) -> None:
        """Remember how late the main loop was, until the next snapshot, if it was never later."""
        self._lag_s = max(self._lag_s, seconds)

    def snapshot(self) -> dict[str, Any]:
        """Return the health document as of now."""
        return self._document(self.facts())

    def facts(self) -> list[AppFacts]:
        """Return the facts of all apps, and of the status server as one of them."""
        return [
            self._facts_of(process, name)
            for process in self._processes.all()
            for name in process.names
        ]

    def send(self, facts: list[AppFacts]) -> None:
        """Send the snapshot to the status workers; one that starts needs it too, to answer."""
        self._sender.send(
            self._processes.status.workers,
            lambda: {
                "type": "snapshot",
                "snapshot": self._document(facts),
                "watches": [watch.to_json() for watch in self._watches()],
                "checks": self._check_settings(),
            },
            now=self._runtime.now(),
        )
        self._lag_s = 0.0

    def _check_settings(self) -> dict[str, Any]:
        """Return what the status worker is to check; made once for each configuration."""
        config = self._runtime.config
        if self._settings_of is None or self._settings_of[0] is not config:
            self._settings_of = (config, check_settings(config))
        return self._settings_of[1]

    def holds(self) -> bool:
        """Return whether the last snapshot holds; shows the status workers that we live."""
        return self._sender.holds(self._processes.status.workers, now=self._runtime.now())

    def _facts_of(self, process: AppProcess, name: str) -> AppFacts:
        port, totals, view = process.ports[name], process.metrics(name), process.view(name)
        p50, p99 = totals.latencies_ms(0.5, 0.99)
        is_ready = process.state.state is AppState.READY
        return AppFacts(
            name=name,
            port=port.address.port,
            address=port.address.public,
            control=port.control,
            view=view,
            since_wall=process.since_wall(name),
            stand_in_answers=self._stand_in.answers(name),
            version=process.known_good.version if is_ready else None,
            metrics=totals.total,
            latency_ms=(p50, p99),
            memory_mb=totals.memory_mb,
            last_failure=self._last_failure(name) or self._last_failure(process.name),
        )

    def _document(self, facts: list[AppFacts]) -> dict[str, Any]:
        of = {one.name: one for one in facts}
        return health_document.document(
            self._about,
            [of[name] for name in self._processes.by_app],
            [self._status_check(), *self._checks()],
            self._runtime.journal.events.last(health_document.EVENTS_SHOWN),
            self._runtime.now(),
            event_counts=self._runtime.journal.events.counts(),
            main_loop_lag_s=self._lag_s,
        )

    def _status_check(self) -> CheckFacts:
        """Return the check that the status server serves."""
        (view,) = self._processes.status.views()
        failed = view.cause if view.state is not AppState.READY else None
        return CheckFacts(
            name="status_port",
            reason=failed.reason if failed else None,
            hint=failed.hint if failed else None,
        )
