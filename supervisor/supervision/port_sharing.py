"""Notices a process that joins one of our ports later.

With SO_REUSEPORT a second process of the same user may listen beside us, and the kernel then
gives it a part of our connections. Only a look at the kernel's tables shows that.
"""

from supervisor.ports import sock_diag
from supervisor.supervision.managed_port import ManagedPort
from supervisor.supervision.worker_handle import Host
from supervisor.values.events import EventKind

INTERVAL_S = 10.0  # one look costs 0.1 ms a port, on an idle machine
_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound


class PortSharing:
    """Looks at ports, and tells each who else listens there."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: dict[str, frozenset[int]] = {}
        self._works = True

    def look(self, ports: list[ManagedPort]) -> None:
        """Look once at every port that is ours; never waits."""
        for port in ports:
            if self._works and port.listener is not None and port.address.port is not None:
                self._look_at(port)

    def _look_at(self, port: ManagedPort) -> None:
        assert port.listener is not None
        assert port.address.port is not None
        own = port.inode
        try:
            found = sock_diag.listeners(port.address.port)
        except OSError as error:
            self._works = False
            text = f"foreign listeners can't be noticed: {error.strerror or error}"
            self._host.tell(EventKind.FOREIGN, text, app=None, problem=True)
            return
        address = port.listener.getsockname()[0]
        others = frozenset(s.inode for s in found if s.inode != own and _meet(s.address, address))
        before = self._known.get(port.name, frozenset())
        self._known[port.name] = others
        if others and others != before:
            self._host.find_holders(port.address.port, port.on_foreign)
        elif before and not others:
            port.on_foreign(None)


def _meet(one: str, other: str) -> bool:
    """Say whether listeners at two addresses of one port can take each other's connections."""
    return one == other or one in _WILDCARDS or other in _WILDCARDS
