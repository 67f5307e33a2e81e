"""What the status worker checks while the apps run, and what it adds to the snapshot."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from supervisor.config.settings import HostSettings
from supervisor.health.host_watcher import HostWatcher
from supervisor.health.notifiers import Notifiers
from supervisor.policy.check_documents import (
    apps_to_check,
    apps_to_probe,
    warning_documents,
    with_live_checks,
)
from supervisor.policy.host_warnings import host_warnings

if TYPE_CHECKING:
    from supervisor.health.check_runner import CheckRunner

Document = dict[str, Any]


class LiveChecks:
    """Runs the checks of a configuration, and watches the machine.

    ``snapshot`` returns what the main process has pushed. ``report`` is called, in a thread of its
    own, with the documents of all checks and the facts about the machine, whenever a check says
    something else, and when the machine was read. Methods may be called from any thread.
    """

    def __init__(
        self,
        snapshot: Callable[[], Document],
        report: Callable[[dict[str, Document], Document], None],
    ) -> None:
        self._snapshot = snapshot
        self._send = report
        self._notifiers = Notifiers(self._look)
        self._lock = threading.Lock()
        self._settings: Document = {}
        self._wanted: tuple[list[str], list[str]] = ([], [])  # apps to check, and to probe
        self._runner: CheckRunner | None = None
        self._host: HostWatcher | None = None
        self._reported: dict[str, Any] = {}

    def follow(self, settings: Document, snapshot: Document) -> None:
        """Check what ``settings`` (`check_settings`) want, of the apps as they are now."""
        wanted = (apps_to_check(snapshot), apps_to_probe(snapshot))
        if settings == self._settings and wanted == self._wanted:
            return
        self._settings, self._wanted = settings, wanted
        self._run_checks(settings, *wanted)
        if self._host is None:
            self._host = HostWatcher(settings["state_dir"], self._report_all)
            self._host.start()
        self._notifiers.follow(settings)

    def _run_checks(self, settings: Document, to_check: list[str], to_probe: list[str]) -> None:
        if self._runner is None and not settings["required"] and not settings["probes"]:
            return  # most machines need no thread, and no code, for them
        from supervisor.health.check_runner import CheckRunner
        from supervisor.health.required_checks import probe_checks, required_checks

        if self._runner is None:
            self._runner = CheckRunner(self._report)
            self._runner.start()
        self._runner.set([*required_checks(settings, to_check), *probe_checks(settings, to_probe)])

    def documents(self) -> dict[str, Document]:
        """Return the health documents of all checks, by name."""
        thresholds = HostSettings(**self._settings["host"]) if self._settings else HostSettings()
        return {
            **(self._runner.documents() if self._runner is not None else {}),
            **warning_documents(host_warnings(self.host(), thresholds)),
            **self._notifiers.documents(),
        }

    def host(self) -> Document:
        """Return the facts about the machine."""
        return {} if self._host is None else self._host.facts()

    def _look(self) -> tuple[dict[str, Document], dict[str, Document]]:
        """Return the documents of the apps and checks whose changes are sent as messages."""
        snapshot = self._snapshot()
        checks = {**snapshot["checks"], **self.documents()}
        for name in self._notifiers.documents():  # who can't be told needn't be told so
            del checks[name]
        return snapshot["apps"], checks

    def added_to(self, snapshot: Document) -> Document:
        """Return a snapshot of the main process with the checks and the facts."""
        return with_live_checks(snapshot, self.documents(), self.host())

    def _report(self) -> None:
        """Report, if a check says something else than before; ages don't count."""
        with self._lock:
            documents = self.documents()
            if _news(documents) != self._reported:
                self._report_these(documents)

    def _report_all(self) -> None:
        with self._lock:
            self._report_these(self.documents())

    def _report_these(self, documents: dict[str, Document]) -> None:
        self._reported = _news(documents)
        self._send(documents, self.host())


def _news(documents: dict[str, Document]) -> dict[str, Any]:
    return {
        name: (one["status"], one["reason"], one["critical"]) for name, one in documents.items()
    }
