"""Listeners that outlive the main process: handed in at its start, kept by systemd after its end.

Without systemd this only binds and closes. With it, each listener is stored with systemd under
a name, and the next main process gets it back (systemd.service(5), FileDescriptorStoreMax=), so
that nobody is refused in between. Socket activation hands listeners in by the same way.
"""

import socket
from collections.abc import Callable, Iterable

from supervisor.ports import listeners
from supervisor.ports.listeners import Address
from supervisor.systemd.protocol import NotifySocket, fd_name

Tell = Callable[[str], None]


def name_of(address: Address) -> str:
    """Give the name under which the listener at ``address`` is stored."""
    return fd_name(address.host if address.port is None else f"port-{address.port}")


class SocketStore:
    """Gives listeners and takes them back; owns those that were handed in until they are given.

    ``tell`` is called with a line for the log when a listener can't be kept.
    """

    def __init__(
        self, handed: Iterable[tuple[str, socket.socket]], notify: NotifySocket, tell: Tell
    ) -> None:
        self._handed = list(handed)
        self._notify = notify
        self._tell = tell
        self._unsaid: list[tuple[str, socket.socket | None]] = []

    @property
    def keeps_listeners(self) -> bool:
        """Whether listeners outlive this process."""
        return self._notify.active

    def bind(self, address: Address) -> socket.socket:
        """Give the listener at ``address``: one that was handed in, or a new one.

        Raises `listeners.BindError`. The caller gives it back by `release` or `remove`.
        """
        listener = self._handed_in(address)
        if listener is not None:
            return listener
        stale = [entry for entry in self._handed if entry[0] == name_of(address)]
        listener = listeners.bind(address, beside_our_own=bool(stale))
        self._discard(stale)
        self._say(name_of(address), listener)
        return listener

    def _handed_in(self, address: Address) -> socket.socket | None:
        for entry in self._handed:
            candidate = entry[1]
            if listeners.matches(candidate, address):
                self._handed.remove(entry)
                listeners.adopt(candidate)
                return candidate
        return None

    def discard_rest(self) -> None:
        """Close what was handed in and fits no address of the configuration."""
        self._discard(list(self._handed))

    def release(self, listener: socket.socket) -> None:
        """Close ``listener`` at the end of this process; systemd keeps it for the next one."""
        if self.keeps_listeners:
            listener.close()
        else:
            listeners.close(listener)

    def remove(self, listener: socket.socket, address: Address) -> None:
        """Close ``listener`` for good: its address is in the configuration no more."""
        self._say(name_of(address), None)
        listeners.shut_down(listener)

    def flush(self) -> None:
        """Say again what systemd could not take before."""
        while self._unsaid:
            name, listener = self._unsaid[0]
            if listener is None:
                heard = self._notify.remove(name)
            else:  # one that is closed by now needs no storing
                heard = listener.fileno() < 0 or self._notify.store(name, listener.fileno())
            if not heard:
                return
            del self._unsaid[0]

    def _discard(self, entries: list[tuple[str, socket.socket]]) -> None:
        for name, candidate in entries:
            self._handed.remove((name, candidate))
            self._say(name, None)
            where = candidate.getsockname()
            self._tell(f"a socket that systemd kept as {name} is closed: no app listens at {where}")
            candidate.close()

    def _say(self, name: str, listener: socket.socket | None) -> None:
        if self.keeps_listeners:
            self._unsaid.append((name, listener))
            self.flush()
