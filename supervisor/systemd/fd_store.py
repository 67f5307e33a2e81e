"""Listeners that outlive the main process, in systemd's file descriptor store.

Without systemd this module only binds and closes listeners. With systemd, each listener is stored
under a name, and the next main process inherits it (systemd.service(5), FileDescriptorStoreMax=),
so that no connection is refused in between. Socket activation passes listeners in the same way.
"""

import socket
from collections.abc import Callable, Iterable

from supervisor.ports import listeners
from supervisor.ports.listeners import Address
from supervisor.systemd.protocol import NotifySocket, fd_name


def name_of(address: Address, *, second: bool = False) -> str:
    """Return the name under which the listener at ``address`` is stored, or a second one there."""
    name = fd_name(address.host if address.port is None else f"port-{address.port}")
    return f"{name}-second" if second else name


class SocketStore:
    """Binds listeners, or returns inherited ones; owns the inherited ones until it returns them.

    ``log`` is called with a line of text for each inherited listener that is closed.
    """

    def __init__(
        self,
        inherited: Iterable[tuple[str, socket.socket]],
        notify: NotifySocket,
        log: Callable[[str], None],
    ) -> None:
        self._inherited = list(inherited)
        self._notify = notify
        self._log = log
        self._unsent: list[tuple[str, socket.socket | None]] = []

    @property
    def keeps_listeners(self) -> bool:
        """Whether listeners outlive this process."""
        return self._notify.active

    def bind(self, address: Address) -> socket.socket:
        """Return the listener at ``address``: an inherited one, or a new one.

        The caller passes it to `release` or `remove` in the end. Raises `listeners.BindError`.
        """
        listener = self._take_inherited(address)
        if listener is not None:
            return listener
        stale = [entry for entry in self._inherited if entry[0] == name_of(address)]
        listener = listeners.bind(address, beside_our_own=bool(stale))
        self._discard(stale)
        self._send(name_of(address), listener)
        return listener

    def bind_second(self, address: Address) -> socket.socket:
        """Return a second listener at ``address``, beside that of `bind`; see there."""
        listener = self._take_inherited(address, second=True)
        if listener is None:
            listener = listeners.bind(address, beside_our_own=True)
            self._send(name_of(address, second=True), listener)
        return listener

    def _take_inherited(self, address: Address, *, second: bool = False) -> socket.socket | None:
        name = name_of(address, second=True)
        for entry in self._inherited:
            candidate = entry[1]
            if (entry[0] == name) is second and listeners.matches(candidate, address):
                self._inherited.remove(entry)
                listeners.adopt(candidate)
                return candidate
        return None

    def discard_rest(self) -> None:
        """Close the inherited listeners that match no address of the configuration."""
        self._discard(list(self._inherited))

    def release(self, listener: socket.socket) -> None:
        """Close ``listener`` at the end of this process; systemd keeps it for the next one."""
        if self.keeps_listeners:
            listener.close()
        else:
            listeners.close(listener)

    def remove(self, listener: socket.socket, address: Address, *, second: bool = False) -> None:
        """Close ``listener`` for good: the configuration has no such address any more."""
        self._send(name_of(address, second=second), None)
        listeners.shut_down(listener)

    def flush(self) -> None:
        """Send again what systemd has not received, because its queue was full."""
        while self._unsent:
            name, listener = self._unsent[0]
            if listener is None:
                received = self._notify.remove(name)
            else:  # a listener that has been closed since then needs no storing
                received = listener.fileno() < 0 or self._notify.store(name, listener.fileno())
            if not received:
                return
            del self._unsent[0]

    def _discard(self, entries: list[tuple[str, socket.socket]]) -> None:
        for name, candidate in entries:
            self._inherited.remove((name, candidate))
            self._send(name, None)
            where = candidate.getsockname()
            self._log(f"closed the socket {name} that systemd kept: no app listens at {where}")
            candidate.close()

    def _send(self, name: str, listener: socket.socket | None) -> None:
        """Store ``listener`` with systemd under ``name``; None removes what is stored."""
        if self.keeps_listeners:
            self._unsent.append((name, listener))
            self.flush()
