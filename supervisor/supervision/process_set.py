"""All services of a configuration: made from it, and changed when it changes."""

import socket
from collections.abc import Callable, Collection
from typing import Protocol

from supervisor.config.settings import Config
from supervisor.policy.config_changes import Changes
from supervisor.policy.process_state import Limits
from supervisor.ports.listeners import Address
from supervisor.process.channel import Message
from supervisor.supervision.app_process import AppProcess, WorkerMain
from supervisor.supervision.known_good import KnownGood
from supervisor.supervision.managed_port import ManagedPort
from supervisor.supervision.worker_handle import Host

STATUS = "status"
_STATUS_START_TIMEOUT_S = 30.0


class Mains(Protocol):
    """Gives the functions that workers are."""

    def app_main(self, process: str) -> WorkerMain:
        """Give the worker of a process."""

    def status_main(self) -> WorkerMain:
        """Give the status worker."""

    def on_files(self, message: Message) -> None:
        """Take what the status worker says of files."""

    def keeper(self, app: str, tell_known_good: Callable[[bool], None]) -> KnownGood:
        """Make the keeper of an app that has a process of its own."""


class ProcessSet:
    """The services by process, the status service, and those that are about to go."""

    def __init__(self, host: Host, mains: Mains, config: Config, *, reload_on_change: bool) -> None:
        self._host = host
        self._mains = mains
        self._config = config
        self._reload_on_change = reload_on_change
        self._retiring: list[AppProcess] = []
        self._kept: dict[str, tuple[Address, socket.socket]] = {}  # of apps that change hands
        self.status = self._make_status()
        self.services: dict[str, AppProcess] = {}
        for process, names in config.processes().items():
            self._make(process, names)

    @property
    def apps(self) -> dict[str, AppProcess]:
        """The services by app, in the order of the configuration."""
        of = {name: s for s in self.services.values() for name in s.members}
        return {name: of[name] for name in self._config.apps if name in of}

    def all(self) -> list[AppProcess]:
        """Give the services that run now, status last."""
        return [*self.services.values(), self.status]

    def ports(self) -> list[ManagedPort]:
        """Give the ports of all apps, the status port last."""
        return [member.port for service in self.all() for member in service.members.values()]

    def configure(self, config: Config, changes: Changes) -> None:
        """Take a new configuration: make, retire and change services as ``changes`` says."""
        self._config = config
        for process in (*changes.removed, *changes.moved):
            if process in self.services:  # else it has been retired, and waits to come back
                self._retire(self.services.pop(process))
        if changes.status_moved:
            self._retire(self.status)
            self.status = self._make_status()
        self._discard_kept()
        for process in (*changes.added, *changes.moved):  # the ports that they want are free now
            self._add(process)
        for process, service in self.services.items():
            service.configure(
                limits=limits(config, process),
                bind_settings=config.bind,
                shutdown_timeout_s=config.supervisor.shutdown_timeout_s,
            )
            for name, member in service.members.items():
                member.port.control = config.apps[name].control

    def retired(self) -> list[AppProcess]:
        """Give those that have no worker any more; what had to wait for their end is started."""
        gone = [service for service in self._retiring if not service.workers]
        for service in gone:
            self._retiring.remove(service)
        for service in gone:
            if service.name not in self.services:
                self._add(service.name)
        return gone

    def stop(self, spared: Collection[str]) -> None:
        """Let all workers end but those of ``spared`` processes; nothing is started any more."""
        for service in [*self.all(), *self._retiring]:
            if service.name not in spared:
                service.stop()

    def close(self) -> None:
        """Close all ports."""
        for service in [*self.all(), *self._retiring]:
            for member in service.members.values():
                member.port.close()
        for _address, listener in self._kept.values():
            self._host.sockets.release(listener)

    def _retire(self, service: AppProcess) -> None:
        """Let a service end; the listeners of apps that have the same port in another stay open."""
        self._retiring.append(service)
        for name, member in service.members.items():
            if self._wants(name, member.port.address):
                listener = member.port.give()
                if listener is not None:
                    self._kept[name] = (member.port.address, listener)
        service.retire()

    def _wants(self, name: str, address: Address) -> bool:
        """Say whether the configuration has an app ``name``, bound by us, at ``address``."""
        app = self._config.apps.get(name)
        if app is None or not app.enabled or app.bind != "supervisor":
            return False
        return Address(*self._config.address(name)) == address

    def _discard_kept(self) -> None:
        """Close what was kept for an app that has gone meanwhile."""
        for name, (address, listener) in list(self._kept.items()):
            if not self._wants(name, address):
                del self._kept[name]
                self._host.sockets.remove(listener, address)

    def _add(self, process: str) -> None:
        """Start a process, if the configuration has it.

        One that can't run twice may have to wait: `retired` starts it then.
        """
        names = self._config.processes().get(process)
        if names is None or process in self.services:
            return
        runs = any(service.name == process and service.workers for service in self._retiring)
        if runs and limits(self._config, process).replace:
            return
        self._make(process, names)
        self.services[process].on_time()  # it tries its ports at once

    def _make(self, process: str, names: list[str]) -> None:
        keeper = None
        if len(names) == 1:
            keeper = self._mains.keeper(process, lambda found: self._on_known_good(process, found))
        service = AppProcess(
            self._host,
            name=process,
            keeper=keeper,
            worker_main=self._mains.app_main(process),
            limits=limits(self._config, process),
            shutdown_timeout_s=self._config.supervisor.shutdown_timeout_s,
            reload_on_change=self._reload_on_change,
        )
        for name in names:
            app = self._config.apps[name]
            port = ManagedPort(
                self._host,
                service,
                name=name,
                address=Address(*self._config.address(name)),
                bind_settings=self._config.bind,
                control=app.control,
                owned=app.bind == "supervisor",
            )
            if name in self._kept:
                port.listener = self._kept.pop(name)[1]
            service.add(port)
        self.services[process] = service

    def _on_known_good(self, process: str, found: bool) -> None:
        service = self.services.get(process)
        if service is not None:
            service.on_known_good(available=found)

    def _make_status(self) -> AppProcess:
        shutdown_s = self._config.supervisor.shutdown_timeout_s
        service = AppProcess(
            self._host,
            name=STATUS,
            worker_main=self._mains.status_main(),
            limits=Limits(import_timeout_s=_STATUS_START_TIMEOUT_S, stop_timeout_s=shutdown_s),
            shutdown_timeout_s=shutdown_s,
            other_message=self._mains.on_files,
        )
        address = Address(*self._config.status_address)
        service.add(
            ManagedPort(
                self._host, service, name=STATUS, address=address, bind_settings=self._config.bind
            )
        )
        return service


def limits(config: Config, process: str) -> Limits:
    """Give what the configuration says about the life of a process: of several apps, the sum."""
    apps = [config.apps[name] for name in config.processes()[process]]
    memory = [app.max_memory_mb for app in apps if app.max_memory_mb is not None]
    requests = [app.max_requests for app in apps if app.max_requests is not None]
    request_s = [app.request_timeout_s for app in apps if app.request_timeout_s is not None]
    return Limits(
        import_timeout_s=sum(app.import_timeout_s for app in apps),
        stop_timeout_s=max(app.stop_timeout_s for app in apps),
        hang_timeout_s=min(app.hang_timeout_s for app in apps),
        request_timeout_s=min(request_s, default=None),
        max_memory_mb=min(memory, default=None),
        max_requests=min(requests, default=None),
        workers=apps[0].workers,
        replace=any(app.reload == "replace" or app.bind == "app" for app in apps),
    )
