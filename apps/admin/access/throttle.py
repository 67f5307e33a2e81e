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
    """Allows each client, an address or a name, ``attempts`` in ``window_s`` seconds."""

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
        self._attempts_of: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def attempt(self, who: str) -> float:
        """Count an attempt of a client, and return 0; or return how long it has to wait for one.

        It counts before it is known whether it fails: many at once are no way around the limit.
        """
        client, now = _client(who), self._clock()
        with self._lock:
            times = self._attempts_of.get(client, deque())
            while times and times[0] <= now - self._window_s:
                times.popleft()
            if len(times) >= self._attempts:
                return times[0] + self._window_s - now
            times.append(now)
            self._attempts_of[client] = times
            self._attempts_of.move_to_end(client)
            while len(self._attempts_of) > _CLIENTS_MAX:
                self._attempts_of.popitem(last=False)
            return 0.0

    def is_last(self, who: str) -> bool:
        """Return whether a client has no attempt left."""
        with self._lock:
            return len(self._attempts_of.get(_client(who), ())) >= self._attempts

    def succeed(self, who: str) -> None:
        """Forget the attempts of a client."""
        with self._lock:
            self._attempts_of.pop(_client(who), None)


def _client(address: str) -> str:
    """Return whom an address belongs to: a host has all of its /64 network in IPv6.

    A name is returned as it is.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6:
        return str(ipaddress.ip_network((int(parsed), 64), strict=False))
    return address
