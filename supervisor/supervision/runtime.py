"""What every process of the configuration uses of the main process, in one place."""

from collections.abc import Callable
from pathlib import Path

from supervisor.config.settings import Config
from supervisor.supervision.background_jobs import BackgroundJobs
from supervisor.supervision.changes import ChangeSignal
from supervisor.supervision.journal import Journal
from supervisor.supervision.worker_pool import WorkerPool
from supervisor.systemd.fd_store import SocketStore


class Runtime:
    """The clock, the journal, the workers and the other means of the main process.

    ``config`` is the configuration in effect; the main process alone replaces it. ``now`` returns
    monotonic seconds, the only clock that decisions use; ``wall`` the wall time for people
    (RFC 3339, UTC). ``silent`` are folders whose disks did not answer at the start,
    ``tasks`` how many processes and threads could be started then (None: any number).
    """

    def __init__(
        self,
        *,
        config: Config,
        signal: ChangeSignal,
        journal: Journal,
        pool: WorkerPool,
        jobs: BackgroundJobs,
        sockets: SocketStore,
        now: Callable[[], float],
        wall: Callable[[], str],
        silent: frozenset[Path] = frozenset(),
        tasks: int | None = None,
    ) -> None:
        self.config = config
        self.signal = signal
        self.journal = journal
        self.pool = pool
        self.jobs = jobs
        self.sockets = sockets
        self.now = now
        self.wall = wall
        self.silent = silent
        self.tasks = tasks
