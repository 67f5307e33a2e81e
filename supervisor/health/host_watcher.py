"""Reads the facts about the machine now and then, in a thread: a dead disk blocks nobody else."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor.policy.check_documents import FACTS_MAX_AGE_S

INTERVAL_S = 15.0  # between two readings; each costs about a millisecond

_ROOT = Path("/")


class HostWatcher(threading.Thread):
    """Keeps the facts about the machine; ``on_reading`` is called in this thread after each."""

    def __init__(
        self,
        state_dir: str,
        on_reading: Callable[[], None],
        *,
        root: Path = _ROOT,
        interval_s: float = INTERVAL_S,
    ) -> None:
        super().__init__(name="host", daemon=True)
        self._state_dir = state_dir
        self._on_reading = on_reading
        self._root = root
        self._interval_s = interval_s
        self._stopped = threading.Event()
        self._facts: dict[str, Any] = {}
        self._read_at = -FACTS_MAX_AGE_S  # monotonic seconds

    def stop(self) -> None:
        """End this thread after the reading that is in progress."""
        self._stopped.set()

    def facts(self) -> dict[str, Any]:
        """Return what was read last, with ``age_s``; nothing where that is too old."""
        age_s = time.monotonic() - self._read_at
        return {**self._facts, "age_s": round(age_s, 1)} if age_s < FACTS_MAX_AGE_S else {}

    def run(self) -> None:
        """Read, again and again."""
        from supervisor.host.facts import HostReader  # for this thread alone

        reader = HostReader(self._state_dir, root=self._root)
        while not self._stopped.is_set():
            self._facts, self._read_at = reader.read(), time.monotonic()
            self._on_reading()
            self._stopped.wait(self._interval_s)
