"""The main process as the service of a systemd unit; in the foreground all of it does nothing."""

import asyncio
import faulthandler
import os
import socket
from collections.abc import Callable, Iterable, Sequence

from supervisor.config.settings import AppSettings, Config
from supervisor.process.throwaway import TaskFailed, run_in_child
from supervisor.systemd import hand_over
from supervisor.systemd.fd_store import SocketStore
from supervisor.systemd.hand_over import OWN_IDLE_S, OWN_LINGER_S, HandOverLimits
from supervisor.systemd.notifier import AppDocuments, Notifier
from supervisor.systemd.orphan_cleanup import Orphans, own_cgroup
from supervisor.systemd.protocol import NotifySocket, take_inherited

_JOBS_TIMEOUT_S = 1.0
_STUCK_S = 30.0  # for workers without an app; those with one say hang_timeout_s
_END_ALL_S = 1.0
_POLL_S = 0.02

WorkerMain = Callable[[socket.socket], int]


class Unit:
    """What systemd gave to this process, and what it hears; made before anything is forked.

    ``tell`` writes a line to the log.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        handed = take_inherited(os.environ, os.getpid())
        self._tell = tell
        self._notify = NotifySocket(handed.notify_address)
        self.sockets = SocketStore(handed.sockets, self._notify, tell)
        self.notifier = Notifier(self._notify, handed.watchdog_s)
        if handed.watchdog_s is not None:
            faulthandler.enable()  # systemd aborts a process that is stuck: this prints where
        self._cgroup = own_cgroup() if handed.is_main else None
        self._orphans = Orphans(self._cgroup)
        self._hands_over = self.sockets.keeps_listeners and self._cgroup is not None
        self._log_fd = os.dup(2) if self._hands_over else 2

    # ---- what the main process does

    def end_orphans(self, config: Config) -> None:
        """Let what an earlier main process left come to its end, and see to it that it does."""
        if self._orphans.pids:
            pids = ", ".join(map(str, self._orphans.pids))
            self._tell(f"an earlier main process left workers, which end now: pid {pids}")
            grace_s = max(
                self._terms(apps, config).grace_s
                for apps in [[], *([a] for a in config.apps.values())]
            )
            asyncio.get_running_loop().call_later(grace_s, self._end_rest)

    def _end_rest(self) -> None:
        killed = self._orphans.kill_remaining()
        if killed:
            self._tell(f"killed what was still left of it: pid {', '.join(map(str, killed))}")

    def on_apps_changed(self, apps: AppDocuments) -> None:
        """Take note of how the apps are now."""
        self.notifier.update(apps)

    def cycle_completed(self, now: float) -> None:
        """Take note that the main loop has done everything that is due each second."""
        self.sockets.flush()
        self.notifier.cycle_completed(now)

    async def announce_stop(self) -> bool:
        """Take note that the end has begun; say whether systemd starts the next one at once.

        Then workers that `may_outlive` allows it are not to be ended: they serve until it is there.
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
        """Leave no process in the unit but this one: whatever apps started, or left behind."""
        deadline = asyncio.get_running_loop().time() + _END_ALL_S
        while self._orphans.kill_everything() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_POLL_S)

    # ---- what workers do

    @property
    def fds_for_workers(self) -> Iterable[int]:
        """The descriptors that a worker needs in order to outlive the main process."""
        return [self._log_fd] if self._hands_over else []

    def may_outlive(self, apps: Sequence[AppSettings]) -> bool:
        """Say whether a worker of ``apps`` (none: one of the supervisor's own) may outlive this."""
        overlap = all(app.reload == "overlap" and app.bind == "supervisor" for app in apps)
        return self._hands_over and overlap

    def worker_main(
        self, run: WorkerMain, apps: Sequence[AppSettings], config: Config
    ) -> WorkerMain:
        """Give what a worker runs: ``run``, with what it needs to outlive this process."""
        if not self.may_outlive(apps):
            return run
        terms = self._terms(apps, config)

        def main(connection: socket.socket) -> int:
            hand_over.allow(terms)
            return run(connection)

        return main

    def _terms(self, apps: Sequence[AppSettings], config: Config) -> HandOverLimits:
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
    """Give what systemd is about to do with ``unit``: "restart", "stop", or "" for nothing."""
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
