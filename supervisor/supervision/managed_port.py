"""The listeners of one app: bound once, kept, and closed or handed on at the end."""

import contextlib
import os
import socket
from typing import Any

from supervisor.ports import steering
from supervisor.ports.listeners import Address, BindError
from supervisor.source.fingerprints import Watch, taken
from supervisor.systemd.fd_store import SocketStore

Sockets = tuple[socket.socket, ...]


class ManagedPort:
    """The port of the app ``name``; lives as long as the configuration has it.

    ``sockets`` are its listeners: none while it isn't bound, two for "localhost" where the machine
    has IPv6. ``self_bound``: the app binds it itself, and nothing is bound here. ``control``: the
    app may control the supervisor, so the stand-in's page on its port lists the other apps too.

    ``program``: the app is a program, which can be asked neither to pause nor to take other
    listeners. So a port is steered: it has two listeners at one address, and the one at place
    ``steered_to`` gets all new connections; see `ports.steering`.
    """

    def __init__(
        self,
        store: SocketStore,
        *,
        name: str,
        address: Address,
        control: bool = False,
        self_bound: bool = False,
        program: bool = False,
        sockets: Sockets = (),
    ) -> None:
        self._store = store
        self.name = name
        self.address = address
        self.control = control
        self.self_bound = self_bound
        self.sockets = sockets
        self.program = program
        self.steered_to = 0
        self.watch: list[Any] | None = None  # the file of its Unix socket
        self.binds = 0

    @property
    def steered(self) -> bool:
        """Whether each of two generations has a listener of its own."""
        return self.program and self.address.port is not None

    @property
    def inodes(self) -> set[int]:
        """The inodes of its sockets, by which the kernel's tables name them."""
        return {os.fstat(one.fileno()).st_ino for one in self.sockets}

    def bind(self) -> None:
        """Bind the listeners, unless they are bound or the app does so; raises `BindError`.

        Of "localhost", IPv6 may be missing: the machine has none, or another process listens there.
        """
        if self.self_bound:
            return
        first, *others = self.address.parts
        if not self.sockets:
            sockets = [self._store.bind(first)]
            for part in others if not self.steered else ():
                with contextlib.suppress(BindError):  # `port_reach` says who listens there
                    sockets.append(self._store.bind(part))
            self.sockets = tuple(sockets)
            self.binds += 1
            if self.address.port is None:
                file = self.address.host.removeprefix("unix:")
                self.watch = [taken(Watch(trees=(), files=(file,)))]
        if self.steered and len(self.sockets) == 1:
            self._bind_second(first)

    def _bind_second(self, address: Address) -> None:
        """Bind the second listener; without one, both generations accept while they overlap."""
        with contextlib.suppress(BindError, OSError):  # a kernel that can't steer
            second = self._store.bind_second(address)
            self.sockets = (*self.sockets, second)
            try:
                self.steer(0)
            except OSError:
                self._remove_second()
                raise

    def steer(self, place: int) -> None:
        """Give new connections to the listener at ``place``, if there are two."""
        if self.steered and len(self.sockets) > 1:
            steering.steer(self.sockets[0], place)
            self.steered_to = place

    def sockets_at(self, place: int) -> Sockets:
        """Return the listeners of a worker at ``place``: all; on a port that is steered its own.

        The other one follows there, if that gets new connections now.
        """
        if not self.steered or len(self.sockets) == 1:
            return self.sockets
        others = self.sockets if place != self.steered_to else ()
        return (self.sockets[place], *others[self.steered_to : self.steered_to + 1])

    def close(self) -> None:
        """Close the listeners; systemd, if it started us, keeps them for the next main process."""
        for one in self.sockets:
            self._store.release(one)
        self.sockets = ()

    def hand_on(self) -> Sockets:
        """Return the listeners, for the port that replaces this one."""
        self._remove_second()
        sockets, self.sockets = self.sockets, ()
        return sockets

    def remove(self) -> None:
        """Close the listeners for good: nobody reaches them, or the configuration has them no more.

        Another process's file in the place of a Unix socket stays.
        """
        self._remove_second()
        for one in self.sockets:
            self._store.remove(one, self.address)
        self.sockets = ()

    def _remove_second(self) -> None:
        if self.steered and len(self.sockets) > 1:
            with contextlib.suppress(OSError):  # it was shut down
                self.steer(0)
            first, second = self.sockets
            self._store.remove(second, self.address, second=True)
            self.sockets = (first,)
