"""Heartbeats in a memory page that a worker shares with its main process."""

import os
from collections.abc import Callable

from supervisor.process import heartbeat_page
from supervisor.process.heartbeat_page import HeartbeatPage


def in_child(run: Callable[[], bool]) -> bool:
    """Return what ``run`` returns in a forked child; False if that dies."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if run() else 1)
    return os.waitpid(pid, 0)[1] == 0


def test_a_child_and_its_parent_see_each_other() -> None:
    """Each reads the heartbeats that the other one writes; before the first they are 0."""
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
