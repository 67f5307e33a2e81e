"""Signs of life in a page that a worker shares with its main process."""

import os
from collections.abc import Callable

from supervisor.health.status_worker import STALE_S, SnapshotCopy
from supervisor.process import heartbeat_page
from supervisor.process.heartbeat_page import HeartbeatPage
from supervisor.values.constants import SNAPSHOT_MAX_AGE_S


def in_child(run: Callable[[], bool]) -> bool:
    """Say what ``run`` gives in a forked child, False if it dies."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if run() else 1)
    return os.waitpid(pid, 0)[1] == 0


def test_a_child_and_its_parent_see_each_other() -> None:
    """What one beats the other reads, without a message; before the first beat it is 0."""
    page = HeartbeatPage()
    assert (page.worker.at, page.main.at) == (0.0, 0.0)
    page.main.write(12.25)

    def child() -> bool:
        heartbeat_page.set_own_page(page)
        own = heartbeat_page.own_page()
        assert own is not None
        own.worker.write(98765.4321)
        return own.main.at == 12.25

    assert in_child(child)
    assert (page.worker.at, page.main.at) == (98765.4321, 12.25)
    assert heartbeat_page.own_page() is None


class Main:
    """A main process, and the time, as the status worker sees them."""

    def __init__(self) -> None:
        self.now = 100.0
        self.alive_at = 0.0
        self.copy = SnapshotCopy(lambda: self.alive_at, lambda: self.now)

    def second(self) -> bool:
        """Let a second go by, in which it shows life; gives whether it counts as well."""
        self.now += 1.0
        self.alive_at = self.now
        return self.copy.fresh


def test_a_main_process_that_shows_life_is_well() -> None:
    """For as long as a snapshot holds; one that makes no other then is not well."""
    main = Main()
    main.copy.push({"status": "pass"})
    well = [main.second() for _ in range(20)]
    assert well == [True] * 17 + [False] * 3
    assert SNAPSHOT_MAX_AGE_S + STALE_S == 18.0
    main.copy.push({"status": "pass"})
    assert main.second()


def test_one_that_shows_none_is_not() -> None:
    """After three seconds, though the snapshot would hold for longer."""
    main = Main()
    main.copy.push({"status": "pass"})
    assert main.second()
    main.now += STALE_S - 0.1
    assert main.copy.fresh
    main.now += 0.2
    assert not main.copy.fresh
    assert main.copy.snapshot()["status"] == "fail"
