"""Watches the files of apps, in a thread of the status worker."""

import threading
import time
from collections.abc import Callable
from typing import Any

from supervisor.source.fingerprints import present
from supervisor.values.watch_requests import WatchKey, WatchRequest

QUIET_S = 0.5
_FIRST_CHECK_S = 0.5  # the longest wait before the first check of a watch


class FileWatcher(threading.Thread):
    """Compares the files of apps with what was imported, and reports when they differ, or agree.

    Files that differ are reported again after each further change, since the first one may have
    been nothing but a new time. A difference is reported when the files have been the same for
    `QUIET_S` seconds: a copy that is under way is nothing to import yet.
    ``report`` is called, in this thread, with the key of a watch and whether its files differ.
    """

    def __init__(self, report: Callable[[WatchKey, bool], None]) -> None:
        super().__init__(name="file-watch", daemon=True)
        self._report = report
        self._condition = threading.Condition()
        self._requests: list[dict[str, Any]] = []
        self._watches: dict[WatchKey, WatchRequest] = {}
        self._due: dict[WatchKey, float] = {}  # monotonic seconds
        self._reported: dict[WatchKey, list[str]] = {}  # fingerprints
        self._seen: dict[WatchKey, list[str]] = {}  # fingerprints at the last comparison

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
            self._seen = {k: v for k, v in self._seen.items() if k in same}
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
            now_there = present({"watch": watch.watch})
            imported = [one["fingerprint"] for one in watch.watch]
            differ = now_there != imported
            is_quiet = not differ or self._seen.get(key) == now_there
            self._seen[key] = now_there
            self._due[key] = time.monotonic() + (watch.every_s if is_quiet else QUIET_S)
            if is_quiet and now_there != self._reported.get(key, imported):
                self._reported[key] = now_there
                self._report(key, differ)
