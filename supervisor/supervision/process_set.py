"""All processes of a configuration: made from it, and changed when it changes."""

from collections.abc import Collection

from supervisor.config.settings import Config
from supervisor.policy.config_changes import Changes
from supervisor.policy.process_state import DRAINING_MAX, Limits
from supervisor.ports.listeners import Address
from supervisor.supervision.app_process import AppProcess
from supervisor.supervision.managed_port import ManagedPort, Sockets
from supervisor.supervision.runtime import Runtime
from supervisor.supervision.worker_factory import STATUS, WorkerFactory
from supervisor.values.reports import Cause
from supervisor.values.watch_requests import WatchRequest

_STATUS_START_TIMEOUT_S = 30.0


class ProcessSet:
    """The processes by name, the status process, and those that are about to end."""

    def __init__(self, runtime: Runtime, factory: WorkerFactory, *, reload_on_change: bool) -> None:
        self._runtime = runtime
        self._factory = factory
        self._reload_on_change = reload_on_change
        self._retiring: list[AppProcess] = []
        self._kept: dict[str, tuple[Address, Sockets]] = {}  # listeners of apps that move
        self.status = self._make_status()
        self.by_name: dict[str, AppProcess] = {}
        for process, names in runtime.config.processes().items():
            self._make(process, names)

    @property
    def by_app(self) -> dict[str, AppProcess]:
        """The process of each app, in the order of the configuration."""
        of = {name: process for process in self.by_name.values() for name in process.names}
        return {name: of[name] for name in self._runtime.config.apps if name in of}

    def all(self) -> list[AppProcess]:
        """Return the processes that are in the configuration, status last."""
        return [*self.by_name.values(), self.status]

    def ports(self) -> list[ManagedPort]:
        """Return the ports of all apps, the status port last."""
        return [port for process in self.all() for port in process.ports.values()]

    def watches(self) -> list[WatchRequest]:
        """Return which files of all processes to watch."""
        return [watch for process in self.all() for watch in process.watches()]

    def on_port_sharing(self, port: ManagedPort, cause: Cause | None) -> None:
        """Let the process of ``port`` know who else listens there."""
        for process in self.all():
            if process.ports.get(port.name) is port:
                process.on_port_sharing(port.name, cause)

    def on_port_reach(self, port: ManagedPort, cause: Cause | None) -> None:
        """Let the process of ``port`` know why no client gets there, or that clients do again."""
        for process in self.all():
            if process.ports.get(port.name) is port:
                process.on_port_reach(port.name, cause)

    def on_port_lost(self, port: ManagedPort, cause: Cause) -> None:
        """Let the process of ``port`` bind it again."""
        for process in self.all():
            if process.ports.get(port.name) is port:
                process.on_port_lost(port.name, cause)

    # ---- another configuration

    def configure(self, changes: Changes) -> None:
        """Make, retire and change processes as ``changes``, to the one in effect now, says."""
        for process in (*changes.removed, *changes.moved):
            if process in self.by_name:  # else it has been retired, and waits to come back
                self._retire(self.by_name.pop(process))
        if changes.status_moved:
            self._retire(self.status)
            self.status = self._make_status()
        self._discard_kept()
        for process in (*changes.added, *changes.moved):  # the ports that they want are free now
            self._add(process)
        config = self._runtime.config
        for name, one in self.by_name.items():
            one.configure(
                limits=limits(config, name),
                bind_settings=config.bind,
                shutdown_timeout_s=config.supervisor.shutdown_timeout_s,
            )
            for app, port in one.ports.items():
                port.control = config.apps[app].control

    def forget_ended(self) -> bool:
        """Forget retired processes without workers; returns whether there were any.

        What had to wait for their end is started.
        """
        gone = [process for process in self._retiring if not process.workers]
        for process in gone:
            self._retiring.remove(process)
        for process in gone:
            if process.name not in self.by_name:
                self._add(process.name)
        return bool(gone)

    def _retire(self, process: AppProcess) -> None:
        """Let a process end; the listeners of apps that keep their port elsewhere stay open."""
        self._retiring.append(process)
        for name, port in process.ports.items():
            if self._wants(name, port.address) and self._fits(port):
                sockets = port.hand_on()
                if sockets:
                    self._kept[name] = (port.address, sockets)
        process.retire()

    def _fits(self, port: ManagedPort) -> bool:
        """Return whether the app can take over the listeners: a program has one of "localhost"."""
        is_program = self._runtime.config.apps[port.name].command is not None
        return is_program is port.program or len(port.address.parts) == 1

    def _wants(self, name: str, address: Address) -> bool:
        """Return whether the configuration has an app ``name``, bound by us, at ``address``."""
        config = self._runtime.config
        app = config.apps.get(name)
        if app is None or not app.enabled or app.bind != "supervisor" or config.is_background(name):
            return False
        return Address(*config.address(name)) == address

    def _discard_kept(self) -> None:
        """Close listeners of apps that are no longer in the configuration."""
        for name, (address, sockets) in list(self._kept.items()):
            if not self._wants(name, address):
                del self._kept[name]
                for one in sockets:
                    self._runtime.sockets.remove(one, address)

    def _add(self, process: str) -> None:
        """Start a process, if the configuration has it.

        One that can't run twice may have to wait: `forget_ended` starts it then.
        """
        config = self._runtime.config
        names = config.processes().get(process)
        if names is None or process in self.by_name:
            return
        runs = any(one.name == process and one.workers for one in self._retiring)
        if runs and limits(config, process).replace:
            return
        self._make(process, names)
        self.by_name[process].on_time()  # it binds its ports at once

    # ---- making

    def _make(self, name: str, apps: list[str]) -> None:
        config = self._runtime.config
        known_good = self._factory.known_good(
            name, lambda found: self._on_fallback_known(name, found)
        )
        process = AppProcess(
            self._runtime,
            name=name,
            known_good=known_good,
            worker_main=self._factory.app_main(name),
            limits=limits(config, name),
            bind_settings=config.bind,
            shutdown_timeout_s=config.supervisor.shutdown_timeout_s,
            reload_on_change=self._reload_on_change,
        )
        for app in apps:
            process.add(self._port(app))
        self.by_name[name] = process

    def _port(self, app: str) -> ManagedPort:
        config = self._runtime.config
        _address, sockets = self._kept.pop(app, (None, ()))
        return ManagedPort(
            self._runtime.sockets,
            name=app,
            address=Address(*config.address(app)),
            control=config.apps[app].control,
            self_bound=config.apps[app].bind == "app" or config.is_background(app),
            program=config.apps[app].command is not None,
            sockets=sockets,
        )

    def _on_fallback_known(self, name: str, found: bool) -> None:
        process = self.by_name.get(name)
        if process is not None:
            process.on_fallback_known(available=found)

    def _make_status(self) -> AppProcess:
        config = self._runtime.config
        shutdown_s = config.supervisor.shutdown_timeout_s
        process = AppProcess(
            self._runtime,
            name=STATUS,
            worker_main=self._factory.status_main(),
            limits=Limits(import_timeout_s=_STATUS_START_TIMEOUT_S, stop_timeout_s=shutdown_s),
            bind_settings=config.bind,
            shutdown_timeout_s=shutdown_s,
            other_message=self._factory.on_status_message,
        )
        address = Address(*config.status_address)
        process.add(ManagedPort(self._runtime.sockets, name=STATUS, address=address))
        return process

    # ---- the end

    def stop(self, spared: Collection[str]) -> None:
        """Let all workers end but those of ``spared`` processes; nothing is started any more."""
        for process in [*self.all(), *self._retiring]:
            if process.name not in spared:
                process.stop()

    def close(self) -> None:
        """Close all ports."""
        for process in [*self.all(), *self._retiring]:
            for port in process.ports.values():
                port.close()
        for _address, sockets in self._kept.values():
            for one in sockets:
                self._runtime.sockets.release(one)


def limits(config: Config, process: str) -> Limits:
    """Return what the configuration says about the workers of a process.

    Of several apps the times to import and the memory add up; of the rest, the longest stop and the
    strictest limit hold.
    """
    apps = [config.apps[name] for name in config.processes()[process]]
    memory = [app.max_memory_mb for app in apps if app.max_memory_mb is not None]
    requests = [app.max_requests for app in apps if app.max_requests is not None]
    request_s = [app.request_timeout_s for app in apps if app.request_timeout_s is not None]
    return Limits(
        import_timeout_s=sum(app.import_timeout_s for app in apps),
        stop_timeout_s=max(app.stop_timeout_s for app in apps),
        hang_timeout_s=min(app.hang_timeout_s for app in apps),
        request_timeout_s=min(request_s, default=None),
        max_memory_mb=sum(memory) if memory else None,
        max_requests=min(requests, default=None),
        workers=apps[0].workers,
        # each generation of a program has a listener of its own, and there are two
        draining_max=DRAINING_MAX if apps[0].command is None else 1,
        replace=any(app.runs_once for app in apps),
    )
