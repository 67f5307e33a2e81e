"""Slows down guessing, and never locks anybody out for ever.

Flask-Limiter would count by the wall clock, which jumps by years when a Raspberry Pi without a
clock finds the network; this counts by the monotonic one.
"""

import ipaddress
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

ATTEMPTS = 10
WINDOW_S = 60.0
_CLIENTS_MAX = 1000  # the oldest are forgotten: a flood of addresses costs no memory


class Throttle:
    """Allows each client ``attempts`` failures in ``window_s`` seconds."""

    def __init__(
        self,
        attempts: int = ATTEMPTS,
        window_s: float = WINDOW_S,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._attempts = attempts
        self._window_s = window_s
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, address: str) -> float:
        """Return how long a client has to wait for its next attempt; 0 if it may try now."""
        now = self._clock()
        with self._lock:
            times = self._failures.get(_client(address), deque())
            while times and times[0] <= now - self._window_s:
                times.popleft()
            return 0.0 if len(times) < self._attempts else times[0] + self._window_s - now

    def fail(self, address: str) -> None:
        """Count a failure of a client."""
        client = _client(address)
        with self._lock:
            times = self._failures.pop(client, deque(maxlen=self._attempts))
            times.append(self._clock())
            self._failures[client] = times
            while len(self._failures) > _CLIENTS_MAX:
                self._failures.popitem(last=False)

    def succeed(self, address: str) -> None:
        """Forget the failures of a client."""
        with self._lock:
            self._failures.pop(_client(address), None)


def _client(address: str) -> str:
    """Return who an address belongs to: a host has all IPv6 addresses of its /64 network."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6:
        return str(ipaddress.ip_network((int(parsed), 64), strict=False))
    return address
