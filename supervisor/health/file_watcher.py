"""Watches the files of apps, in a thread of the status worker."""

import threading
import time
from collections.abc import Callable
from typing import Any

from supervisor.source.fingerprints import differs

_FIRST_CHECK_S = 0.5  # the longest wait before the first check of a watch


class FileWatcher(threading.Thread):
    """Checks the files of apps at intervals, and reports when they differ from what was imported.

    ``report`` is called in this thread with the key of a watch, its generation, and whether the
    files differ: when that becomes true, and when it becomes false again.
    """

    def __init__(self, report: Callable[[str, int, bool], None]) -> None:
        super().__init__(name="file-watch", daemon=True)
        self._report = report
        self._condition = threading.Condition()
        self._watches: dict[str, Any] = {}
        self._due: dict[tuple[str, int], float] = {}  # monotonic seconds
        self._reported: dict[tuple[str, int], bool] = {}

    def set(self, watches: dict[str, Any]) -> None:
        """Watch exactly these: by key, ``generation``, ``watch`` and ``every_s``."""
        with self._condition:
            if watches == self._watches:
                return
            self._watches = watches
            wanted = {(key, watch["generation"]) for key, watch in watches.items()}
            self._reported = {key: was for key, was in self._reported.items() if key in wanted}
            self._due = {key: due for key, due in self._due.items() if key in wanted}
            self._condition.notify()

    def run(self) -> None:
        """Check each watch whenever it is due, for ever."""
        while True:
            with self._condition:
                wait_s = self._wait_s(time.monotonic())
                if wait_s is None or wait_s > 0:
                    self._condition.wait(wait_s)
                watches = dict(self._watches)
            self._check(watches)

    def _wait_s(self, now: float) -> float | None:
        """Return the seconds to the next check, None while nothing is watched."""
        return min(
            (
                self._due.get((key, watch["generation"]), _first_check(watch, now)) - now
                for key, watch in self._watches.items()
            ),
            default=None,
        )

    def _check(self, watches: dict[str, Any]) -> None:
        now = time.monotonic()
        for name, watch in watches.items():
            key = (name, watch["generation"])
            if now < self._due.setdefault(key, _first_check(watch, now)):
                continue
            is_changed = differs(watch)
            self._due[key] = time.monotonic() + watch["every_s"]
            if is_changed != self._reported.get(key, False):
                self._reported[key] = is_changed
                self._report(name, watch["generation"], is_changed)


def _first_check(watch: dict[str, Any], now: float) -> float:
    return now + float(min(watch["every_s"], _FIRST_CHECK_S))
