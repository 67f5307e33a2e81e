"""The listeners of one app: bound once, kept, and closed or handed on at the end."""

import contextlib
import os
import socket
from typing import Any

from supervisor.ports.listeners import Address, BindError
from supervisor.source.fingerprints import Watch, taken
from supervisor.systemd.fd_store import SocketStore

Sockets = tuple[socket.socket, ...]


class ManagedPort:
    """The port of the app ``name``; lives as long as the configuration has it.

    ``sockets`` are its listeners: none while it isn't bound, two for "localhost" where the machine
    has IPv6. ``self_bound``: the app binds it itself, and nothing is bound here. ``control``: the
    app may control the supervisor, so the stand-in's page on its port lists the other apps too.
    """

    def __init__(
        self,
        store: SocketStore,
        *,
        name: str,
        address: Address,
        control: bool = False,
        self_bound: bool = False,
        sockets: Sockets = (),
    ) -> None:
        self._store = store
        self.name = name
        self.address = address
        self.control = control
        self.self_bound = self_bound
        self.sockets = sockets
        self.watch: list[Any] | None = None  # the file of its Unix socket
        self.binds = 0

    @property
    def inodes(self) -> set[int]:
        """The inodes of its sockets, by which the kernel's tables name them."""
        return {os.fstat(one.fileno()).st_ino for one in self.sockets}

    def bind(self) -> None:
        """Bind the listeners, unless they are bound or the app does so; raises `BindError`.

        Of "localhost", IPv6 may be missing: the machine has none, or another process listens there.
        """
        if self.sockets or self.self_bound:
            return
        first, *others = self.address.parts
        sockets = [self._store.bind(first)]
        for part in others:
            with contextlib.suppress(BindError):  # `port_reach` says who listens there
                sockets.append(self._store.bind(part))
        self.sockets = tuple(sockets)
        self.binds += 1
        if self.address.port is None:
            file = self.address.host.removeprefix("unix:")
            self.watch = [taken(Watch(trees=(), files=(file,)))]

    def close(self) -> None:
        """Close the listeners; systemd, if it started us, keeps them for the next main process."""
        for one in self.sockets:
            self._store.release(one)
        self.sockets = ()

    def hand_on(self) -> Sockets:
        """Return the listeners, for the port that replaces this one."""
        sockets, self.sockets = self.sockets, ()
        return sockets

    def remove(self) -> None:
        """Close the listeners for good: nobody reaches them, or the configuration has them no more.

        Another process's file in the place of a Unix socket stays.
        """
        for one in self.sockets:
            self._store.remove(one, self.address)
        self.sockets = ()
