"""The main process as the service of a systemd unit; in the foreground all of it is a no-op."""

import asyncio
import faulthandler
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from supervisor.config.settings import AppSettings, Config
from supervisor.process.fork import Run
from supervisor.process.throwaway import TaskFailed, run_in_child
from supervisor.systemd import hand_over
from supervisor.systemd.fd_store import SocketStore
from supervisor.systemd.hand_over import OWN_IDLE_S, OWN_LINGER_S, HandOverLimits
from supervisor.systemd.journal import is_journal
from supervisor.systemd.notifier import AppDocuments, Notifier
from supervisor.systemd.orphan_cleanup import Orphans, own_cgroup
from supervisor.systemd.protocol import NotifySocket, take_inherited

_JOBS_TIMEOUT_S = 1.0
_STUCK_S = 30.0  # for workers without an app; an app's worker has hang_timeout_s
_KILL_S = 1.0
_POLL_S = 0.02
_TAKE_OVER_S = 2.0  # some ms, unless the machine is busy; new connections wait


class Unit:
    """What this process inherited from systemd, and what it reports; created before any fork.

    ``log`` writes a line to the log.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        inherited = take_inherited(os.environ, os.getpid())
        self._log = log
        self._notify = NotifySocket(inherited.notify_address)
        self.sockets = SocketStore(inherited.sockets, self._notify, log)
        self.notifier = Notifier(self._notify, inherited.watchdog_s)
        if inherited.watchdog_s is not None:
            faulthandler.enable()  # systemd aborts a stuck process: this prints where it was
        self._cgroup = own_cgroup() if inherited.is_main else None
        self._orphans = Orphans(self._cgroup)
        self._hands_over = self.sockets.keeps_listeners and self._cgroup is not None
        self._log_fd = os.dup(2) if self._hands_over else 2

    # ---- for the main process

    @property
    def has_cgroup(self) -> bool:
        """Whether the next main process finds in a cgroup what this one leaves."""
        return self._cgroup is not None

    def end_orphans(self, config: Config) -> None:
        """Give orphans the time to exit, and kill those that are left after that."""
        if self._orphans.pids:
            pids = ", ".join(map(str, self._orphans.pids))
            self._log(f"an earlier main process left workers, which exit now: pid {pids}")
            grace_s = max(
                self._limits(apps, config).grace_s
                for apps in [[], *([a] for a in config.apps.values())]
            )
            asyncio.get_running_loop().call_later(grace_s, self._kill_orphans)

    def _kill_orphans(self) -> None:
        killed = self._orphans.kill_remaining()
        if killed:
            self._log(f"killed the workers that did not exit: pid {', '.join(map(str, killed))}")

    def on_apps_changed(self, apps: AppDocuments) -> None:
        """Report the state of the apps to systemd."""
        self.notifier.update(apps)

    def cycle_completed(self, now: float) -> None:
        """Feed the watchdog: the main loop has done everything that is due each second."""
        self.sockets.flush()
        self.notifier.cycle_completed(now)

    async def announce_stop(self) -> bool:
        """Report that this process stops; return whether systemd restarts the service at once.

        If so, the workers that `may_outlive` this process go on serving until the next one does.
        """
        self.notifier.stopping()
        if not self._hands_over or self._cgroup is None:
            return False
        try:
            job = await run_in_child(_job, self._cgroup.name, timeout_s=_JOBS_TIMEOUT_S, quiet=True)
        except (TaskFailed, OSError):
            return False
        return bool(job == "restart")

    async def kill_everything(self) -> None:
        """Kill every other process in the unit, also what apps have started and left behind."""
        deadline = asyncio.get_running_loop().time() + _KILL_S
        while self._orphans.kill_everything() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_POLL_S)

    # ---- for workers

    @property
    def fds_for_workers(self) -> Iterable[int]:
        """The descriptors that a worker inherits so that it can outlive the main process."""
        return [self._log_fd] if self._hands_over else []

    def may_outlive(self, apps: Sequence[AppSettings]) -> bool:
        """Return whether a worker of ``apps`` may outlive this process.

        Without apps it is one of the supervisor's own workers.
        """
        overlap = all(app.reload == "overlap" and app.bind == "supervisor" for app in apps)
        return self._hands_over and overlap

    def worker_main(self, run: Run, process: str, config: Config) -> Run:
        """Return what a worker of ``process`` runs: ``run``, allowed to outlive this process."""
        names = config.processes().get(process, [])
        apps = [config.apps[name] for name in names]
        if not self.may_outlive(apps):
            return run
        log_format = config.supervisor.log_format
        secrets = set().union(*map(config.app_secrets, names)) if names else config.secret_values()
        limits = replace(
            self._limits(apps, config),
            name=process,
            as_json=log_format == "json" or (log_format == "auto" and not is_journal(self._log_fd)),
            secrets=sorted(secrets),
        )

        def main(connection: socket.socket) -> int:
            hand_over.allow(limits)
            return run(connection)

        return main

    def take_over(self, process: str) -> None:
        """Let the orphans of ``process`` accept no more; called by a worker about to serve.

        For the status worker: a monitor that was answered by both in turn would see its counters
        go up and down.
        """
        self._orphans.drain(f"fs-{process}", _TAKE_OVER_S)

    def _limits(self, apps: Sequence[AppSettings], config: Config) -> HandOverLimits:
        if apps:
            return HandOverLimits(
                drain_s=max(app.stop_timeout_s for app in apps),
                stuck_s=max(app.hang_timeout_s for app in apps),
                log_fd=self._log_fd,
            )
        return HandOverLimits(
            drain_s=config.supervisor.shutdown_timeout_s,
            stuck_s=_STUCK_S,
            log_fd=self._log_fd,
            linger_s=OWN_LINGER_S,
            idle_s=OWN_IDLE_S,
        )


def _job(unit: str) -> str:
    """Return the job that systemd has for ``unit``: "restart", "stop", or "" for none."""
    import subprocess  # only here, in a throw-away child

    listed = subprocess.run(
        ["systemctl", "list-jobs", "--plain", "--no-legend", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in listed.stdout.splitlines():
        fields = line.split()
        if len(fields) >= 3 and fields[1] == unit:
            return fields[2]
    return ""
