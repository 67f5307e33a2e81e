"""Watches the files of apps, in threads of the status worker."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

from supervisor.source.fingerprints import present
from supervisor.values.watch_requests import WatchKey, WatchRequest

QUIET_S = 0.5
CPU_SHARE = 0.03  # of a core, for all watches together
_FIRST_CHECK_S = 0.5  # the longest wait before the first check of a watch
_SLOW_S = 2.0  # a comparison that takes longer delays the others no more


class FileWatcher(threading.Thread):
    """Compares the files of apps with what was imported, and reports when they differ, or agree.

    Files that differ are reported again after each further change, since the first one may have
    been nothing but a new time. A difference is reported when the files have been the same for
    `QUIET_S` seconds: a copy that is under way is nothing to import yet.

    A large tree is compared less often than its watch asks for, so that all watches together take
    at most `CPU_SHARE`. A disk that hangs keeps one thread, and delays only the watches of what
    lies there.

    ``report`` is called, in this thread, with the key of a watch and whether its files differ.
    """

    def __init__(self, report: Callable[[WatchKey, bool], None]) -> None:
        super().__init__(name="file-watch", daemon=True)
        self._report = report
        self._condition = threading.Condition()
        self._is_ended = False
        self._requests: list[dict[str, Any]] = []
        self._watches: dict[WatchKey, WatchRequest] = {}
        self._due: dict[WatchKey, float] = {}  # monotonic seconds
        self._reported: dict[WatchKey, list[str]] = {}
        self._seen: dict[WatchKey, list[str]] = {}  # fingerprints at the last comparison
        self._cost_s: dict[WatchKey, float] = {}  # CPU time of the last comparison
        self._reader = _Reader()
        self._stuck: dict[WatchKey, _Reader] = {}

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
            self._cost_s = {k: v for k, v in self._cost_s.items() if k in self._watches}
            self._condition.notify()

    def end(self) -> None:
        """Let the thread end soon."""
        with self._condition:
            self._is_ended = True
            self._watches = {}
            self._condition.notify()

    def run(self) -> None:
        """Compare whenever a watch is due, until `end`."""
        while True:
            with self._condition:
                if self._is_ended:
                    self._reader.end()
                    return
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
            now_there = self._present(watch)
            if now_there is None:
                self._due[key] = time.monotonic() + watch.every_s
                continue
            imported = [one["fingerprint"] for one in watch.watch]
            differ = now_there != imported
            is_quiet = not differ or self._seen.get(key) == now_there
            self._seen[key] = now_there
            pace_s = sum(self._cost_s.values()) / CPU_SHARE
            every_s = watch.every_s if is_quiet else QUIET_S
            self._due[key] = time.monotonic() + max(every_s, pace_s)
            if is_quiet and now_there != self._reported.get(key, imported):
                self._reported[key] = now_there
                self._report(key, differ)

    def _present(self, watch: WatchRequest) -> list[str] | None:
        """Return the present fingerprints of a watch; None while its disk hangs."""
        place = replace(watch.key, number=0)  # later imports of the same code lie there too
        stuck = self._stuck.get(place)
        if stuck is not None:
            if not stuck.has_ended.is_set():
                return None
            del self._stuck[place]
            stuck.end()
        answer = self._reader.read(watch.watch)
        if answer is None:
            self._stuck[place], self._reader = self._reader, _Reader()
            return None
        found, self._cost_s[watch.key] = answer
        return found


class _Reader:
    """Takes fingerprints in a thread of its own, since a disk may hang."""

    def __init__(self) -> None:
        self.has_ended = threading.Event()  # the last comparison
        self._wanted: SimpleQueue[list[Any] | None] = SimpleQueue()
        self._answer: tuple[list[str], float] = ([], 0.0)
        self._thread: threading.Thread | None = None

    def read(self, watch: list[Any]) -> tuple[list[str], float] | None:
        """Return the fingerprints, and the CPU time that they took; None after `_SLOW_S`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="file-read", daemon=True)
            self._thread.start()
        self.has_ended.clear()
        self._wanted.put(watch)
        return self._answer if self.has_ended.wait(_SLOW_S) else None

    def end(self) -> None:
        """Let the thread end, when it has done what it was asked for."""
        self._wanted.put(None)

    def _run(self) -> None:
        while (watch := self._wanted.get()) is not None:
            began_s = time.thread_time()
            self._answer = (present({"watch": watch}), time.thread_time() - began_s)
            self.has_ended.set()
