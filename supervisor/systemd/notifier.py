"""Keeps systemd informed: ready once, in words on every change, alive while the loop turns."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from supervisor.systemd.protocol import NotifySocket
from supervisor.values.errors import SupervisorError
from supervisor.values.states import AppState

STATUS_NAME = "status"  # among the apps' documents, the status server's
_HOLD_S = 3.0  # before an end that is due to repeat itself
_FEEDS_PER_WATCHDOG = 3.0  # two may come late before systemd acts

AppDocuments = dict[str, dict[str, Any]]
"""The health documents of all apps, and the status server's as one of them, by name."""


class Notifier:
    """Says through ``notify`` what is new; ``watchdog_s`` is how long silence is suffered."""

    def __init__(self, notify: NotifySocket, watchdog_s: float | None) -> None:
        self._notify = notify
        self._feed_every_s = None if watchdog_s is None else watchdog_s / _FEEDS_PER_WATCHDOG
        self._feed_at = 0.0
        self._ready = False
        self._said = ""

    def update(self, apps: AppDocuments) -> None:
        """Say how the apps are, if that is new; and ready, as soon as every port answers."""
        if not self._notify.active:
            return
        text = status_text(apps)
        if text != self._said and self._notify.status(text):
            self._said = text
        if not self._ready and all_settled(apps):
            self._ready = self._notify.ready()

    def cycle_completed(self, now: float) -> None:
        """Feed the watchdog: the main loop has done everything that is due each second."""
        if self._feed_every_s is not None and now >= self._feed_at and self._notify.feed_watchdog():
            self._feed_at = now + self._feed_every_s

    def reloading(self, now: float) -> None:
        """Say that the configuration is being read again; `reloaded` has to follow."""
        self._notify.reloading(now)

    def reloaded(self) -> None:
        """Say that it has been read."""
        self._notify.ready()

    def stopping(self) -> None:
        """Say that this is the end."""
        self._notify.status("stopping: requests in flight are finished")
        self._notify.stopping()


def all_settled(apps: AppDocuments) -> bool:
    """Say whether every port answers, if only with 503, or has been tried to be bound."""
    return all(
        app["serving"] != "nothing" or (app["state"] == AppState.BLOCKED and app["reason"])
        for app in apps.values()
    )


def status_text(apps: AppDocuments) -> str:
    """Say in one line how many apps are ready, and of each that isn't well, why."""
    real = {name: app for name, app in apps.items() if name != STATUS_NAME}
    ready = sum(app["state"] == AppState.READY for app in real.values())
    words = [f"{ready} of {len(real)} apps ready"]
    for name, app in apps.items():
        if app["status"] != "pass":
            words.append(f"{name}: {app['reason'] or app['state']}")
    return "; ".join(words)


@contextlib.contextmanager
def report_start_failure(environ: Mapping[str, str]) -> Iterator[None]:
    """Tell systemd, if it started us, of a `SupervisorError` in the block, which goes on.

    After a moment: systemd starts the service anew at once and for ever, and an invalid
    configuration must not keep a small machine busy.
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
