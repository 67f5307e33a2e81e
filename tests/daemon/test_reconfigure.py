"""A configuration that is read anew: only what it changes is touched, nothing by an invalid one."""

import os
import signal
import time
from typing import Any

import pytest
from harness import GOOD_APP, Poller, Project, Running, ask, eventually, free_ports
from load import Asking, pollers
from observing import assert_all_answered, events, fd_count, is_alive, is_open
from operating_case import wait_until_ready

SLOW = """
import os, time
@app.get("/slow/<float:seconds>")
def slow(seconds):
    open("begun", "w").close()
    time.sleep(seconds)
    return "done\\n"

@app.get("/value")
def value():
    return os.environ.get("VALUE", "")
"""
ALONE = """
import fcntl
held = open("lock", "w")
fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
"""


def started(project: Project, **keys: Any) -> Running:
    """Start a supervisor with two apps."""
    project.app("coach", GOOD_APP.format(text="coach") + SLOW, **keys)
    project.app("other")
    running = project.start()
    wait_until_ready(running, "coach", "other")
    return running


def hang_up(running: Running) -> str:
    """Write the configuration, let it be read anew by SIGHUP, and give what it changed."""

    def recorded() -> list[str]:
        return [text for text in _told(running) if not text.startswith("reading")]

    before = len(recorded())
    running.project.write()
    running.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(recorded()) > before, what="the configuration has been read")
    return recorded()[-1].removeprefix("the configuration: ")


def _told(running: Running) -> list[str]:
    return events(running, None, "configuration")


def test_nothing_has_changed(project: Project) -> None:
    """No worker is replaced, no request notices, no descriptor is left open."""
    running = started(project)
    workers = running.worker("coach"), running.worker("other")
    hang_up(running)
    descriptors = fd_count(running.process.pid)
    with pollers(project.port("coach"), count=2) as fresh:
        for _ in range(4):
            assert hang_up(running) == "nothing has changed"
    assert (running.worker("coach"), running.worker("other")) == workers
    for poller in fresh:
        assert_all_answered(poller)
    eventually(lambda: fd_count(running.process.pid) <= descriptors)


def test_an_app_is_added_and_removed(project: Project) -> None:
    """The new one serves, the old one's port is closed at once though it still has a request."""
    running = started(project)
    others, port = running.worker("other"), project.port("coach")
    with Asking(port, "/slow/3.0") as slow:
        eventually(project.file("coach", "begun").exists)
        worker = running.worker("coach")
        del project.apps["coach"]
        new = project.app("third")
        assert hang_up(running) == "added: third; removed: coach"
        eventually(lambda: not is_open(port), timeout_s=2)
        wait_until_ready(running, "third")
        assert ask(new).text == "third\n"
        assert list(running.health()["apps"]) == ["other", "third"]
        assert is_alive(worker)
    assert slow.answer is not None
    assert slow.answer.text == "done\n"
    eventually(lambda: not is_alive(worker))
    assert running.worker("other") == others


def test_a_removed_app_that_does_not_end_is_killed(project: Project) -> None:
    """Its requests get stop_timeout_s, as in any other end."""
    running = started(project, stop_timeout_s=1)
    worker = running.worker("coach")
    with Asking(project.port("coach"), "/slow/60.0") as slow:
        eventually(project.file("coach", "begun").exists)
        project.apps["coach"]["enabled"] = False
        assert hang_up(running) == "removed: coach"
        began = time.monotonic()
        eventually(lambda: not is_alive(worker))
        assert 0.5 < time.monotonic() - began < 5
    assert slow.error is not None
    project.apps["coach"]["enabled"] = True
    assert hang_up(running) == "added: coach"
    wait_until_ready(running, "coach")


def test_a_port_changes(project: Project) -> None:
    """The new port answers, the old one is closed; the other app is not touched."""
    running = started(project)
    others, old = running.worker("other"), project.port("coach")
    project.apps["coach"]["port"] = new = free_ports(1)[0]
    assert hang_up(running) == "on other ports, or with other apps: coach"
    running.wait_for("coach", state="ready", port=new)
    assert ask(new).status == 200
    assert not is_open(old)
    assert running.worker("other") == others


def test_two_apps_swap_their_ports(project: Project) -> None:
    """Each takes the other's port at once, though both have requests in flight."""
    running = started(project)
    one, two = project.port("coach"), project.port("other")
    with Asking(one, "/slow/4.0") as slow:
        eventually(project.file("coach", "begun").exists)
        project.apps["coach"]["port"], project.apps["other"]["port"] = two, one
        began = time.monotonic()
        assert hang_up(running) == "on other ports, or with other apps: coach, other"
        assert (ask(two).text, ask(one).text) == ("coach\n", "other\n")
        assert time.monotonic() - began < 3
    assert slow.answer is not None
    assert slow.answer.text == "done\n"
    assert not events(running, "coach", "bind_failed")


def test_an_app_that_cannot_run_twice_changes_its_port_twice(project: Project) -> None:
    """It comes back on the newest port when the old worker has ended, never two at once."""
    running = started(project)
    project.app("alone", GOOD_APP.format(text="alone") + ALONE + SLOW, reload="replace")
    hang_up(running)
    wait_until_ready(running, "alone")
    with Asking(project.port("alone"), "/slow/2.0") as slow:
        eventually(project.file("alone", "begun").exists)
        for port in free_ports(2):
            project.apps["alone"]["port"] = port
            assert hang_up(running) == "on other ports, or with other apps: alone"
    assert slow.answer is not None
    eventually(lambda: "alone" in running.health()["apps"], what="the old worker has ended")
    running.wait_for("alone", state="ready", port=port)
    assert not events(running, "alone", "import_failed")
    project.apps["alone"]["port"] = free_ports(1)[0]
    result = project.command("reload")
    assert result.returncode == 0, result.stderr
    assert "alone: ready, as pid" in result.stdout
    assert ask(project.port("alone")).text == "alone\n"


def test_the_status_port_changes(project: Project) -> None:
    """Monitors find it on the new port; apps don't notice."""
    running = started(project)
    workers = running.worker("coach"), running.worker("other")
    old, project.status_port = project.status_port, free_ports(1)[0]
    assert hang_up(running) == "the status port moved"
    running.wait_until_up()
    assert not is_open(old)
    assert (running.worker("coach"), running.worker("other")) == workers


def test_an_app_takes_the_old_status_port(project: Project) -> None:
    """Ports that come free by a change can be used by the same change."""
    running = started(project)
    project.apps["coach"]["port"] = project.status_port
    project.status_port = free_ports(1)[0]
    hang_up(running)
    running.wait_until_up()
    running.wait_for("coach", state="ready", timeout_s=5)
    assert ask(project.port("coach")).text == "coach\n"


def test_settings_of_an_app_change(project: Project) -> None:
    """It is reloaded, without a request lost; the other one isn't touched."""
    running = started(project)
    others, port = running.worker("other"), project.port("coach")
    with pollers(port, count=2) as fresh:
        project.apps["coach"] |= {"env": {"VALUE": "new"}, "threads": 9}
        assert hang_up(running) == "changed: coach"
        eventually(lambda: ask(port, "/value").text == "new")
    for poller in fresh:
        assert_all_answered(poller)
    eventually(lambda: running.app("coach")["requests"]["threads"] >= 9)
    assert running.worker("other") == others


def test_an_invalid_one_changes_nothing(project: Project) -> None:
    """What runs goes on, health warns with the reason until a valid one has been read."""
    running = started(project)
    workers = running.worker("coach"), running.worker("other")
    project.apps["coach"]["port"] = "five"
    recorded = hang_up(running)
    assert recorded.startswith("the new configuration is refused, nothing has changed: ")
    assert "apps.coach.port" in recorded
    check = eventually(lambda: running.health()["checks"].get("configuration"))
    assert check["status"] == "warn"
    assert check["reason"].startswith("the new configuration is invalid: ")
    assert running.health()["status"] == "warn"
    assert ask(project.status_port, "/readyz").status == 200
    assert (running.worker("coach"), running.worker("other")) == workers
    result = project.command("reload")
    assert result.returncode == 1
    assert "apps.coach.port" in result.stderr
    project.apps["coach"]["port"] = free_ports(1)[0]
    hang_up(running)
    eventually(lambda: "configuration" not in running.health()["checks"])
    wait_until_ready(running, "coach")


def test_a_configuration_file_that_blocks_is_given_up(project: Project) -> None:
    """It is read in a child: the main process answers meanwhile."""
    running = started(project)
    project.config.unlink()
    os.mkfifo(project.config)
    running.process.send_signal(signal.SIGHUP)
    eventually(lambda: any(text.startswith("reading") for text in _told(running)))
    lives = [Poller(project.status_port, rate=5, path="/livez")]
    with lives[0]:
        eventually(lambda: any("cannot read it" in t for t in _told(running)), timeout_s=40)
    assert_all_answered(lives[0])
    wait_until_ready(running, "coach")


def test_reload_of_an_app_that_waits_for_a_repair_of_its_settings(project: Project) -> None:
    """The outcome is that of the new settings, also when the app did not serve before."""
    running = started(project)
    project.app("third", target="third:nothing")
    result = project.command("reload")
    assert result.returncode == 1
    assert "third: " in result.stderr
    project.apps["third"]["target"] = "third:app"
    result = project.command("reload")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("the configuration: changed: third\nthird: ready, as pid")
    del project.apps["third"]
    result = project.command("reload", "--json")
    assert '"state": "removed"' in result.stdout
    wait_until_ready(running, "coach", "other")


def test_a_stopped_app_stays_stopped(project: Project) -> None:
    """A change of its settings doesn't start it, and is no failure of the reload."""
    running = started(project)
    assert project.command("stop", "coach").returncode == 0
    project.apps["coach"]["env"] = {"VALUE": "new"}
    result = project.command("reload")
    assert result.returncode == 0, result.stderr
    assert "coach: it is stopped" in result.stdout
    running.wait_for("coach", state="stopped")
    assert project.command("start", "coach").returncode == 0
    assert ask(project.port("coach"), "/value").text == "new"


@pytest.mark.parametrize("number", [2, 30])
def test_hangups_in_a_row(project: Project, number: int) -> None:
    """Each is read after the other; in the end the newest configuration is what runs."""
    running = started(project)
    with pollers(project.port("other"), count=2) as fresh:
        for value in range(number):
            project.apps["coach"]["env"] = {"VALUE": str(value)}
            project.write()
            running.process.send_signal(signal.SIGHUP)
        eventually(
            lambda: ask(project.port("coach"), "/value").text == str(number - 1), timeout_s=30
        )
    for poller in fresh:
        assert_all_answered(poller)
    running.wait_for("coach", status="pass", timeout_s=30)
