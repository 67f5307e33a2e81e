"""One app's port: binds it, tries again for ever, and says who else has it."""

import os
import socket
from typing import Protocol

from supervisor.config.settings import BindSettings
from supervisor.ports import listeners
from supervisor.ports.listeners import Address
from supervisor.supervision.metric_totals import MetricTotals
from supervisor.supervision.worker_handle import Host
from supervisor.values.events import EventKind
from supervisor.values.reports import Cause


class PortOwner(Protocol):
    """Whoever serves the port."""

    def on_port(self, port: "ManagedPort") -> None:
        """Take note that the port has been bound, or could not be: see its ``cause``."""


class ManagedPort:
    """The port of the app ``name``; made once, lives as long as the configuration has it.

    ``owned``: the supervisor binds it; else the app does so itself, and nothing is bound here.
    """

    def __init__(
        self,
        host: Host,
        owner: PortOwner,
        *,
        name: str,
        address: Address,
        bind_settings: BindSettings,
        control: bool = False,
        owned: bool = True,
    ) -> None:
        self._host = host
        self._owner = owner
        self.name = name
        self.address = address
        self.control = control
        self.owned = owned
        self.bind_settings = bind_settings
        self.listener: socket.socket | None = None
        self.cause: Cause | None = None  # why it isn't bound
        self.foreign: Cause | None = None  # who listens on it beside us
        self.counting = MetricTotals()
        self._failed_binds = 0
        self.bind_at: float | None = host.now()

    @property
    def bound(self) -> bool:
        """Whether clients can reach the app, as far as that is the supervisor's doing."""
        return self.listener is not None or not self.owned

    @property
    def tried(self) -> bool:
        """Whether it is bound, or could not be bound at least once."""
        return self.bind_at is None or self._failed_binds > 0

    @property
    def inode(self) -> int | None:
        """The inode of the listener's socket, by which the kernel's tables name it."""
        return None if self.listener is None else os.fstat(self.listener.fileno()).st_ino

    def on_time(self, now: float) -> None:
        """Try to bind, if that is due."""
        if self.bind_at is not None and now >= self.bind_at:
            self.try_bind(now)

    def try_bind(self, now: float) -> None:
        """Try to bind at once."""
        if self.listener is not None or not self.owned:
            if self.bind_at is not None:  # nothing to do, and not told yet
                self.bind_at = None
                self._owner.on_port(self)
            return
        try:
            self.listener = self._host.sockets.bind(self.address)
        except listeners.BindError as error:
            self._bind_failed(error, now)
            self._owner.on_port(self)
            return
        self.bind_at = self.cause = None
        if self._failed_binds:
            attempt = self._failed_binds + 1
            self._tell(EventKind.BOUND, f"bound {self.address.public}, at attempt {attempt}")
        self._failed_binds = 0
        self._owner.on_port(self)

    def _bind_failed(self, error: listeners.BindError, now: float) -> None:
        self._failed_binds += 1
        settings = self.bind_settings
        delay_s = listeners.retry_delay_s(
            self._failed_binds,
            attempts=settings.attempts,
            first_delay_s=settings.first_delay_s,
            factor=settings.factor,
            max_delay_s=settings.max_delay_s,
        )
        self.bind_at = now + delay_s
        if self._failed_binds <= settings.attempts:  # then it goes on like that: said once
            last = self._failed_binds == settings.attempts
            pace = f"it is tried again {'every' if last else 'in'} {delay_s:g} s"
            text = f"{error.reason} (attempt {self._failed_binds}); {pace}"
            self._tell(EventKind.BIND_FAILED, text, problem=True)
        if not (error.in_use and self.cause is not None and self.cause.hint):
            self.cause = Cause(reason=error.reason, hint=error.hint)  # else the holder is named
        if error.in_use and self.address.port is not None:
            self._host.find_holders(self.address.port, self.on_holders)

    def on_holders(self, cause: Cause) -> None:
        """Learn who holds the port."""
        if self.bound or self.bind_at is None or cause == self.cause:
            return
        self.cause = cause
        self._tell(EventKind.BIND_FAILED, f"{cause.reason} ({cause.hint})", problem=True)
        self._owner.on_port(self)

    def on_foreign(self, cause: Cause | None) -> None:
        """Learn who else listens on the port, or that nobody does any more."""
        port = self.address.port
        if cause is None or port is None:
            self.foreign = None
            self._tell(EventKind.FOREIGN, f"port {port} is ours alone again")
        else:
            holder = cause.reason.removeprefix(f"port {port} is in use by ")
            text = f"port {port} has another listener, which takes a part of the requests: {holder}"
            self.foreign = Cause(reason=text, hint=cause.hint)
            self._tell(EventKind.FOREIGN, f"{text} ({cause.hint})", problem=True)
        self._host.changed()

    def give_up(self) -> None:
        """Try no more to bind it."""
        self.bind_at = None

    def close(self) -> None:
        """Close it; systemd, if it started us, keeps it for the next main process."""
        if self.listener is not None:
            self._host.sockets.release(self.listener)
            self.listener = None

    def give(self) -> socket.socket | None:
        """Give the listener, if there is one, to the port that comes after this one."""
        listener, self.listener = self.listener, None
        return listener

    def remove(self) -> None:
        """Close it for good: it is in the configuration no more."""
        if self.listener is not None:
            self._host.sockets.remove(self.listener, self.address)
            self.listener = None

    def _tell(self, kind: EventKind, text: str, *, problem: bool = False) -> None:
        self._host.tell(kind, text, app=self.name, problem=problem)
