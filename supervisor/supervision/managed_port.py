"""The listener of one app: bound once, kept, and closed or handed on at the end."""

import os
import socket

from supervisor.ports.listeners import Address
from supervisor.systemd.fd_store import SocketStore


class ManagedPort:
    """The port of the app ``name``; lives as long as the configuration has it.

    ``self_bound``: the app binds it itself, and nothing is bound here. ``control``: the app may
    control the supervisor, so the stand-in's page on its port lists the other apps too.
    """

    def __init__(
        self,
        sockets: SocketStore,
        *,
        name: str,
        address: Address,
        control: bool = False,
        self_bound: bool = False,
        listener: socket.socket | None = None,
    ) -> None:
        self._sockets = sockets
        self.name = name
        self.address = address
        self.control = control
        self.self_bound = self_bound
        self.listener = listener

    @property
    def inode(self) -> int | None:
        """The inode of the listener's socket, by which the kernel's tables name it."""
        return None if self.listener is None else os.fstat(self.listener.fileno()).st_ino

    def bind(self) -> None:
        """Bind the listener, unless there is one or the app does so; raises `BindError`."""
        if self.listener is None and not self.self_bound:
            self.listener = self._sockets.bind(self.address)

    def close(self) -> None:
        """Close the listener; systemd, if it started us, keeps it for the next main process."""
        if self.listener is not None:
            self._sockets.release(self.listener)
            self.listener = None

    def hand_on(self) -> socket.socket | None:
        """Return the listener, if there is one, for the port that replaces this one."""
        listener, self.listener = self.listener, None
        return listener

    def remove(self) -> None:
        """Close the listener for good: the configuration has this port no more."""
        if self.listener is not None:
            self._sockets.remove(self.listener, self.address)
            self.listener = None
