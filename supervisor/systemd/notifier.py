"""Reports to systemd: READY once, STATUS on every change, and the watchdog's feed."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from supervisor.systemd.protocol import NotifySocket
from supervisor.values.errors import SupervisorError
from supervisor.values.states import AppState

STATUS_NAME = "status"  # the status server's name among the apps' documents
_HOLD_S = 3.0  # before this process ends: the next start will fail in the same way
_FEEDS_PER_WATCHDOG = 3.0  # two of them may be late before systemd aborts this process

AppDocuments = dict[str, dict[str, Any]]
"""The health documents of all apps by name, the status server's among them."""


class Notifier:
    """Sends what has changed through ``notify``.

    ``watchdog_s`` is the unit's WatchdogSec= in seconds, None for a unit without a watchdog.
    """

    def __init__(self, notify: NotifySocket, watchdog_s: float | None) -> None:
        self._notify = notify
        self._feed_every_s = None if watchdog_s is None else watchdog_s / _FEEDS_PER_WATCHDOG
        self._feed_at = 0.0
        self._ready = False
        self._sent_status = ""

    def update(self, apps: AppDocuments) -> None:
        """Send STATUS if it has changed, and READY as soon as every port answers."""
        if not self._notify.active:
            return
        text = status_text(apps)
        if text != self._sent_status and self._notify.status(text):
            self._sent_status = text
        if not self._ready and all_settled(apps):
            self._ready = self._notify.ready()

    def cycle_completed(self, now: float) -> None:
        """Feed the watchdog: the main loop has done everything that is due each second."""
        if self._feed_every_s is not None and now >= self._feed_at and self._notify.feed_watchdog():
            self._feed_at = now + self._feed_every_s

    def reloading(self, now: float) -> None:
        """Report that the configuration is being read again; `reloaded` has to follow."""
        self._notify.reloading(now)

    def reloaded(self) -> None:
        """Report that the configuration has been read."""
        self._notify.ready()

    def stopping(self) -> None:
        """Report that the service is stopping."""
        self._notify.status("stopping: finishing the requests in flight")
        self._notify.stopping()


def all_settled(apps: AppDocuments) -> bool:
    """Return whether every port answers, if only with 503, or could not be bound."""
    return all(
        app["serving"] != "nothing" or (app["state"] == AppState.BLOCKED and app["reason"])
        for app in apps.values()
    )


def status_text(apps: AppDocuments) -> str:
    """Return one line: how many apps are ready, and the reason of each that has a problem."""
    real = {name: app for name, app in apps.items() if name != STATUS_NAME}
    ready = sum(app["state"] == AppState.READY for app in real.values())
    parts = [f"{ready} of {len(real)} apps ready"]
    for name, app in apps.items():
        if app["status"] != "pass":
            parts.append(f"{name}: {app['reason'] or app['state']}")
    return "; ".join(parts)


@contextlib.contextmanager
def report_start_failure(environ: Mapping[str, str]) -> Iterator[None]:
    """Report a `SupervisorError` of the block to systemd, if it started us, and re-raise it.

    Under systemd this waits before it re-raises: systemd restarts the service at once and for
    ever, and an invalid configuration must not keep a small machine busy.
    """
    address = environ.get("NOTIFY_SOCKET")
    try:
        yield
    except SupervisorError as error:
        if address:
            notify = NotifySocket(address)
            notify.status(f"cannot start: {error.message}")
            notify.close()
            time.sleep(_HOLD_S)
        raise
