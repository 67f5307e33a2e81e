"""Notices that no client gets to a port, though it is bound.

Its address may have gone from the machine; the listener then serves again when that comes back. Or
a process that shares the listener, as an app does, may have shut it down: then it has to be bound
again. The files of Unix sockets are watched by the status worker, as those of apps.
"""

from collections.abc import Callable

from supervisor.ports import listeners
from supervisor.supervision.managed_port import ManagedPort
from supervisor.values.reports import Cause

INTERVAL_S = 2.0  # one check costs 15 us for each address, on an idle machine

REMOVED = Cause(
    reason="the file of its socket was removed or replaced",
    hint="find out what does that, such as a cleaner of temporary files (tmpfiles.d(5))",
)
_SHUT_DOWN = Cause(
    reason="its listener was shut down",
    hint="an app, or a library of it, calls shutdown() on a socket that it has not opened",
)

Reached = Callable[[ManagedPort, Cause | None], None]
Lost = Callable[[ManagedPort, Cause], None]


class PortReach:
    """Checks ``ports``; calls ``reached`` with why clients can't get to one, or None: they can.

    Calls ``lost`` for a port that has to be bound again.
    """

    def __init__(
        self, ports: Callable[[], list[ManagedPort]], reached: Reached, lost: Lost
    ) -> None:
        self._ports = ports
        self._reached = reached
        self._lost = lost
        self._unreached: set[str] = set()
        self._check_at = 0.0

    def on_tick(self, now: float) -> None:
        """Check every port that we have bound, every `INTERVAL_S`; never blocks."""
        if now < self._check_at:
            return
        self._check_at = now + INTERVAL_S
        local: dict[str, bool] = {}
        for port in self._ports():
            if not port.sockets:
                self._unreached.discard(port.name)
            elif not all(map(listeners.listens, port.sockets)):
                self._lost(port, _SHUT_DOWN)
            elif port.address.port is not None:
                host = port.address.parts[0].host
                if host not in local:
                    local[host] = listeners.is_local(host)
                self._note(port, is_reached=local[host])

    def _note(self, port: ManagedPort, *, is_reached: bool) -> None:
        if is_reached != (port.name in self._unreached):
            return
        if is_reached:
            self._unreached.discard(port.name)
            self._reached(port, None)
            return
        self._unreached.add(port.name)
        text = f"no network interface has the address of {port.address.public} any more"
        hint = "it serves again when the address is back; compare it with: ip address"
        self._reached(port, Cause(reason=text, hint=hint))
