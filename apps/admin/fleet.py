"""What the machines of ``hosts.toml`` said last: to wait for one that is off takes seconds."""

import threading
import time
from typing import Any

from supervisor.client import Client, ControlError

_FRESH_S = 10.0

Answer = dict[str, Any] | ControlError


class Fleet:
    """Asks in a thread while somebody looks; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking: threading.Thread | None = None
        self._last: tuple[float, Answer] | None = None

    def last(self, client: Client) -> tuple[float, Answer] | None:
        """Return the age in seconds and the last answer; None before the first one.

        Has ``client`` ask again if it is old.
        """
        now = time.monotonic()
        with self._lock:
            known = self._last
            is_asking = self._asking is not None and self._asking.is_alive()
            if not is_asking and (known is None or now - known[0] > _FRESH_S):
                self._asking = threading.Thread(
                    target=self._ask, args=(client,), name="fleet", daemon=True
                )
                self._asking.start()
        return None if known is None else (now - known[0], known[1])

    def _ask(self, client: Client) -> None:
        answer: Answer
        try:
            answer = client.call("admin.fleet")
        except ControlError as error:
            answer = error
        with self._lock:
            self._last = (time.monotonic(), answer)
