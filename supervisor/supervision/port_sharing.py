"""Notices a process that begins to listen on one of our ports beside us.

With SO_REUSEPORT a second process of the same user may do so, and the kernel then gives it a part
of our connections. Only the kernel's tables of sockets show that.
"""

from collections.abc import Callable
from functools import partial

from supervisor.ports import sock_diag
from supervisor.supervision.managed_port import ManagedPort
from supervisor.supervision.runtime import Runtime
from supervisor.values.events import EventKind
from supervisor.values.reports import Cause

INTERVAL_S = 10.0  # one check costs 0.1 ms a port, on an idle machine
_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound

Found = Callable[[ManagedPort, Cause | None], None]


class PortSharing:
    """Checks ``ports``; calls ``found`` with who shares one, or None when it is ours alone again.

    The cause that ``found`` gets is that of a port in use; see `ports.conflict`.
    """

    def __init__(
        self, runtime: Runtime, ports: Callable[[], list[ManagedPort]], found: Found
    ) -> None:
        self._runtime = runtime
        self._ports = ports
        self._found = found
        self._known: dict[str, frozenset[int]] = {}
        self._works = True
        self._check_at = 0.0

    def on_tick(self, now: float) -> None:
        """Check every port that we have bound, every `INTERVAL_S`; never blocks."""
        if now < self._check_at:
            return
        self._check_at = now + INTERVAL_S
        for port in self._ports():
            if self._works:
                self._check(port)

    def _check(self, port: ManagedPort) -> None:
        number = port.address.port
        if not port.sockets or number is None:
            return
        try:
            sockets = sock_diag.listeners(number)
        except OSError as error:
            self._works = False
            text = f"foreign listeners can't be noticed: {error.strerror or error}"
            self._runtime.journal.record(EventKind.PORT_SHARED, text, app=None, problem=True)
            return
        own, hosts = port.inodes, [part.host for part in port.address.parts]
        others = frozenset(
            one.inode
            for one in sockets
            if one.inode not in own and any(_meet(one.address, host) for host in hosts)
        )
        before = self._known.get(port.name, frozenset())
        self._known[port.name] = others
        if others and others != before:
            self._runtime.jobs.find_holder(number, partial(self._found, port))
        elif before and not others:
            self._found(port, None)


def _meet(one: str, other: str) -> bool:
    """Return whether listeners at two addresses of one port can take each other's connections."""
    return one == other or one in _WILDCARDS or other in _WILDCARDS
