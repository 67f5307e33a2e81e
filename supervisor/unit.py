"""The main process as the service of a systemd unit; in the foreground all of it does nothing."""

import os
from collections.abc import Callable

from supervisor.notifier import Documents, Notifier
from supervisor.socketstore import SocketStore
from supervisor.systemd import NotifySocket, take


class Unit:
    """What systemd gave to this process, and what it hears; made before anything is forked.

    ``tell`` writes a line to the log.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        handed = take(os.environ, os.getpid())
        self._notify = NotifySocket(handed.notify_address)
        self.sockets = SocketStore(handed.sockets, self._notify, tell)
        self.notifier = Notifier(self._notify, handed.watchdog_s)

    def settled(self, apps: Documents) -> None:
        """Take note of how the apps are now."""
        self.notifier.update(apps)

    def cycle_completed(self, now: float) -> None:
        """Take note that the main loop has done everything that is due each second."""
        self.sockets.flush()
        self.notifier.cycle_completed(now)

    def stopping(self) -> None:
        """Take note that the end has begun."""
        self.notifier.stopping()
