"""Signals without a meaning for the main process don't end it."""

import signal

import pytest
from harness import Project, ask, eventually

from supervisor.process.stray_signals import STRAY


@pytest.mark.parametrize("number", STRAY)
def test_a_stray_signal_is_one_line_of_the_log(project: Project, number: signal.Signals) -> None:
    """The main process logs each one once, and everything serves on."""
    port = project.app("coach")
    running = project.start()
    pid = running.worker("coach")
    for count in (1, 2):
        running.process.send_signal(number)
        line = f"{number.name} is ignored: it has no meaning for the main process"
        eventually(lambda line=line, count=count: running.log.count(line) == count)
    assert running.process.poll() is None
    assert running.worker("coach") == pid
    assert ask(port).text == "coach\n"
