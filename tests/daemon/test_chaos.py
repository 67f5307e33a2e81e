"""Troubles at random, under load: in the end all is well, nothing leaked, nobody was refused."""

import json
import os
import random
import time
from typing import Any

import pytest
from chaos import BUSY_APP, Chaos, visitors
from harness import Poller, Project, Running, ask, eventually
from load import FULL, pollers
from observing import fd_count, named
from operating_case import call, wait_until_ready

SECONDS = 60 if FULL else 12
SEED = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
OFTEN = "its worker ended "  # so many times in the last minute: true, and no wonder
NAMES = ("admin", "coach", "field", "busy")


def events(running: Running) -> list[dict[str, Any]]:
    """Return all events that are still known."""
    found: list[dict[str, Any]] = call(running, "events")["events"]
    return found


def assert_explained(name: str, asking: list[Poller], happened: list[dict[str, Any]]) -> None:
    """Nothing was refused, every 503 had a reason, and the events explain what failed."""
    refused = [answer for poller in asking for answer in poller.answers if answer.status != 200]
    for answer in refused:
        assert answer.status == 503, answer
        assert json.loads(answer.body)["detail"], answer
        assert answer.headers["retry-after"]
    assert sum(poller.refused for poller in asking) == 0
    kinds = [event["kind"] for event in happened]
    assert not refused or "stand_in" in kinds, f"{name}: nobody says why it was not served"
    failed = [text for poller in asking for text in poller.failed]
    ended = kinds.count("exited")  # each with what its clients were waiting for
    assert len(failed) <= ended * len(asking), f"{name}: {ended} workers ended, but {failed}"
    assert all(poller.answers for poller in asking)


def settled_descriptors(running: Running) -> int:
    """Return the number of descriptors of the main process when nothing is under way."""
    pid = running.process.pid
    smallest = fd_count(pid)
    until = time.monotonic() + 2
    while time.monotonic() < until:
        smallest = min(smallest, fd_count(pid))
        eventually(lambda: ask(running.project.status_port, "/livez").status == 200)
    return smallest


@pytest.mark.timeout(300)
def test_chaos(project: Project) -> None:
    """Kills, stops, reloads, breaks and repairs, port holders: see `chaos.Chaos`."""
    print(f"to have the same again: CHAOS_SEED={SEED}")  # shown when the test fails
    for name in NAMES:
        limits = {"import_timeout_s": 2, "stop_timeout_s": 1, "hang_timeout_s": 8}
        source = BUSY_APP.format(text="busy") if name == "busy" else None
        project.app(name, source, workers=2 if name == "field" else 1, **limits)
    project.bind = {"first_delay_s": 0.2, "max_delay_s": 1}
    running = project.start()
    wait_until_ready(running, *NAMES)
    before = settled_descriptors(running)
    chaos = Chaos(running, SEED)
    with (
        pollers(project.port("admin"), count=2) as one,
        pollers(project.port("coach"), count=2) as two,
        pollers(project.port("field"), count=2) as three,
        pollers(project.port("busy"), count=1) as four,
        visitors(project.port("busy"), SEED) as statuses,
    ):
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            chaos.step()
        print("\n".join(chaos.done))
        chaos.calm()
        for name in NAMES:
            running.wait_for(name, state="ready", serving="app", timeout_s=90)
    happened = events(running)
    for name, asking in zip(NAMES, (one, two, three, four), strict=True):
        assert_explained(name, asking, [event for event in happened if event["app"] == name])
    assert call(running, "reload", apps=["all"], timeout_s=90)
    for name in NAMES:
        found = running.wait_for(name, state="ready", serving="app", stale=False, refusal=None)
        assert (found["reason"] or OFTEN).startswith(OFTEN), found
        assert {worker["state"] for worker in found["workers"]} <= {"ready", "paused", "draining"}
    count = {"fs-field": 2}
    eventually(
        lambda: all(
            len(named(project, f"fs-{name}")) == count.get(f"fs-{name}", 1) for name in NAMES
        ),
        timeout_s=30,
        what="no worker is left over",
    )
    eventually(lambda: len(named(project, "sleep")) == 1, timeout_s=30, what="one camera is left")
    assert statuses.keys() <= {200, 404, 500, 503}, statuses  # 404 of one that crashes soon
    assert statuses[200] and statuses[500]
    eventually(lambda: not named(project, "fs-stand-in"), timeout_s=30)
    eventually(lambda: settled_descriptors(running) <= before, timeout_s=30, what="no descriptor")
    assert "Traceback" not in "".join(
        line for line in running.log.splitlines() if '"output": true' not in line
    )
    assert running.stop() == 0
