"""All services of a configuration: made from it, and changed when it changes."""

from typing import Protocol

from supervisor.changes import Changes
from supervisor.channel import Message
from supervisor.life import Limits
from supervisor.listeners import Address
from supervisor.service import Service, WorkerMain
from supervisor.settings import AppSettings, Config
from supervisor.workers import Host

STATUS = "status"
_STATUS_START_TIMEOUT_S = 30.0


class Mains(Protocol):
    """Gives the functions that workers are."""

    def app_main(self, name: str) -> WorkerMain:
        """Give the worker of an app."""

    def status_main(self) -> WorkerMain:
        """Give the status worker."""

    def on_files(self, message: Message) -> None:
        """Take what the status worker says of files."""


class Fleet:
    """The services of the apps by name, the status service, and those that are about to go."""

    def __init__(self, host: Host, mains: Mains, config: Config, *, reload_on_change: bool) -> None:
        self._host = host
        self._mains = mains
        self._config = config
        self._reload_on_change = reload_on_change
        self._retiring: list[Service] = []
        self.status = self._make_status()
        self.apps: dict[str, Service] = {}
        for name, app in config.apps.items():
            if app.enabled:
                self.apps[name] = self._make_app(name)

    def all(self) -> list[Service]:
        """Give the services that have a port now, status last."""
        return [*self.apps.values(), self.status]

    def configure(self, config: Config, changes: Changes) -> None:
        """Take a new configuration: make, retire and change services as ``changes`` says."""
        self._config = config
        for name in (*changes.removed, *changes.moved):
            if name in self.apps:  # else it has been retired, and waits to come back
                self._retire(self.apps.pop(name))
        if changes.status_moved:
            self._retire(self.status)
            self.status = self._make_status()
        for name in (*changes.added, *changes.moved):  # all ports that they may want are free now
            self._add(name)
        for name, service in self.apps.items():
            service.configure(
                limits=limits(config.apps[name]),
                control=config.apps[name].control,
                bind_settings=config.bind,
                shutdown_timeout_s=config.supervisor.shutdown_timeout_s,
            )

    def retired(self) -> list[Service]:
        """Give those that have no worker any more; what had to wait for their end is started."""
        gone = [service for service in self._retiring if not service.workers]
        for service in gone:
            self._retiring.remove(service)
        for service in gone:
            if service.name not in self.apps:
                self._add(service.name)
        return gone

    def stop(self) -> None:
        """Let all workers end; nothing is started any more."""
        for service in [*self.all(), *self._retiring]:
            service.stop()

    def close(self) -> None:
        """Close all ports."""
        for service in [*self.all(), *self._retiring]:
            service.close()

    def _retire(self, service: Service) -> None:
        self._retiring.append(service)
        service.retire()

    def _add(self, name: str) -> None:
        """Start an app, if the configuration has it; one that can't run twice may have to wait."""
        app = self._config.apps.get(name)
        if app is None or not app.enabled:
            return
        runs = any(service.name == name and service.workers for service in self._retiring)
        if runs and app.reload == "replace":
            return  # `retired` starts it
        apps = {**self.apps, name: self._make_app(name)}
        self.apps = {name: apps[name] for name in self._config.apps if name in apps}
        self.apps[name].on_time()

    def _make_app(self, name: str) -> Service:
        app = self._config.apps[name]
        return Service(
            self._host,
            name=name,
            address=Address(*self._config.address(name)),
            worker_main=self._mains.app_main(name),
            limits=limits(app),
            shutdown_timeout_s=self._config.supervisor.shutdown_timeout_s,
            control=app.control,
            bind_settings=self._config.bind,
            reload_on_change=self._reload_on_change,
        )

    def _make_status(self) -> Service:
        shutdown_s = self._config.supervisor.shutdown_timeout_s
        return Service(
            self._host,
            name=STATUS,
            address=Address(*self._config.status_address),
            worker_main=self._mains.status_main(),
            limits=Limits(import_timeout_s=_STATUS_START_TIMEOUT_S, stop_timeout_s=shutdown_s),
            shutdown_timeout_s=shutdown_s,
            bind_settings=self._config.bind,
            other_message=self._mains.on_files,
        )


def limits(app: AppSettings) -> Limits:
    """Give what the configuration says about an app's life."""
    return Limits(
        import_timeout_s=app.import_timeout_s,
        stop_timeout_s=app.stop_timeout_s,
        hang_timeout_s=app.hang_timeout_s,
        request_timeout_s=app.request_timeout_s,
        max_memory_mb=app.max_memory_mb,
        max_requests=app.max_requests,
        workers=app.workers,
        replace=app.reload == "replace",
    )
