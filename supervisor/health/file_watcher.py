"""Watches the files of apps, in a thread of the status worker."""

import threading
import time
from collections.abc import Callable
from typing import Any

from supervisor.source.fingerprints import differs
from supervisor.values.watch_requests import WatchKey, WatchRequest

_FIRST_CHECK_S = 0.5  # the longest wait before the first check of a watch


class FileWatcher(threading.Thread):
    """Compares the files of apps with what was imported, and reports when they differ, or agree.

    ``report`` is called, in this thread, with the key of a watch and whether its files differ.
    """

    def __init__(self, report: Callable[[WatchKey, bool], None]) -> None:
        super().__init__(name="file-watch", daemon=True)
        self._report = report
        self._condition = threading.Condition()
        self._requests: list[dict[str, Any]] = []
        self._watches: dict[WatchKey, WatchRequest] = {}
        self._due: dict[WatchKey, float] = {}  # monotonic seconds
        self._reported: dict[WatchKey, bool] = {}

    def set(self, requests: list[dict[str, Any]]) -> None:
        """Watch exactly what these ask for; see `WatchRequest`."""
        with self._condition:
            if requests == self._requests:
                return
            self._requests = requests
            before = self._watches
            watches = [WatchRequest.from_json(request) for request in requests]
            self._watches = {watch.key: watch for watch in watches}
            same = {key for key, watch in self._watches.items() if before.get(key) == watch}
            self._reported = {k: v for k, v in self._reported.items() if k in same}
            self._due = {k: v for k, v in self._due.items() if k in same}
            self._condition.notify()

    def run(self) -> None:
        """Compare whenever a watch is due, for ever."""
        while True:
            with self._condition:
                wait_s = self._wait_s(time.monotonic())
                if wait_s is None or wait_s > 0:
                    self._condition.wait(wait_s)
                watches = list(self._watches.values())
            self._compare(watches)

    def _wait_s(self, now: float) -> float | None:
        """Return the seconds until a watch is due, None while there is none."""
        return min(
            (
                self._due.get(key, now + min(watch.every_s, _FIRST_CHECK_S)) - now
                for key, watch in self._watches.items()
            ),
            default=None,
        )

    def _compare(self, watches: list[WatchRequest]) -> None:
        now = time.monotonic()
        for watch in watches:
            key = watch.key
            if now < self._due.setdefault(key, now + min(watch.every_s, _FIRST_CHECK_S)):
                continue
            differ = differs({"watch": watch.watch})
            self._due[key] = time.monotonic() + watch.every_s
            if differ != self._reported.get(key, False):
                self._reported[key] = differ
                self._report(key, differ)
