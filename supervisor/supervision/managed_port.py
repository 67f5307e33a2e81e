"""The listener of one app: bound once, kept, and closed or handed on at the end."""

import contextlib
import os
import socket

from supervisor.ports import steering
from supervisor.ports.listeners import Address, BindError
from supervisor.systemd.fd_store import SocketStore


class ManagedPort:
    """The port of the app ``name``; lives as long as the configuration has it.

    ``self_bound``: the app binds it itself, and nothing is bound here. ``control``: the app may
    control the supervisor, so the stand-in's page on its port lists the other apps too.
    ``steered``: it has a ``second`` listener, so that a program, which can't be asked to pause,
    gets no new connection when the next generation serves; see `ports.steering`.
    """

    def __init__(
        self,
        sockets: SocketStore,
        *,
        name: str,
        address: Address,
        control: bool = False,
        self_bound: bool = False,
        steered: bool = False,
        listener: socket.socket | None = None,
    ) -> None:
        self._sockets = sockets
        self.name = name
        self.address = address
        self.control = control
        self.self_bound = self_bound
        self.listener = listener
        self.steered = steered
        self.second: socket.socket | None = None

    @property
    def listeners(self) -> dict[str, socket.socket]:
        """The listeners by a name each: that of the app, and another one of the second."""
        both = {self.name: self.listener, f"{self.name}.2": self.second}
        return {name: one for name, one in both.items() if one is not None}

    @property
    def inodes(self) -> set[int]:
        """The inodes of the listeners' sockets, by which the kernel's tables name them."""
        return {os.fstat(one.fileno()).st_ino for one in self.listeners.values()}

    def bind(self) -> None:
        """Bind the listener, unless there is one or the app does so; raises `BindError`."""
        if self.listener is None and not self.self_bound:
            self.listener = self._sockets.bind(self.address)
        if self.steered and self.listener is not None and self.second is None:
            self._bind_second(self.listener)

    def _bind_second(self, listener: socket.socket) -> None:
        """Bind the second listener; without one, both generations accept while they overlap."""
        with contextlib.suppress(BindError, OSError):  # a kernel that can't steer
            second = self._sockets.bind_second(self.address)
            try:
                steering.steer(listener, 0)
            except OSError:
                self._sockets.remove(second, self.address, second=True)
                raise
            self.second = second

    def steer(self, place: int) -> None:
        """Give new connections to the first listener (0), or to the second (1), if there is one."""
        if self.listener is not None and self.second is not None:
            steering.steer(self.listener, place)

    def listeners_at(self, place: int, *, beside: bool) -> tuple[socket.socket, ...]:
        """Return the listener of a worker at ``place``.

        ``beside`` another one that serves the other listener follows.
        """
        both = [one for one in (self.listener, self.second) if one is not None]
        if len(both) < 2:
            return tuple(both)
        return (both[place], both[1 - place]) if beside else (both[place],)

    def close(self) -> None:
        """Close the listener; systemd, if it started us, keeps it for the next main process."""
        if self.listener is not None:
            self._sockets.release(self.listener)
            self.listener = None
        if self.second is not None:
            self._sockets.release(self.second)
            self.second = None

    def hand_on(self) -> socket.socket | None:
        """Return the listener, if there is one, for the port that replaces this one."""
        self._remove_second()
        listener, self.listener = self.listener, None
        return listener

    def remove(self) -> None:
        """Close the listener for good: the configuration has this port no more."""
        self._remove_second()
        if self.listener is not None:
            self._sockets.remove(self.listener, self.address)
            self.listener = None

    def _remove_second(self) -> None:
        if self.second is not None:
            self.steer(0)
            self._sockets.remove(self.second, self.address, second=True)
            self.second = None
