"""What happened is known after restarts, reboots and power cuts, and is seldom written."""

import itertools
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from harness import GOOD_APP, Project, Running, eventually

from supervisor.client import Client
from supervisor.files.event_store import INTERVAL_S


def event_file(project: Project) -> Path:
    """Return the file of the project's supervisor."""
    found = list(project.folder.rglob("events"))
    assert found, "it is not written yet"
    return found[0]


def wait_for(project: Project, text: str) -> None:
    """Wait until the file contains a text."""
    eventually(
        lambda: text in event_file(project).read_text(), timeout_s=2 * INTERVAL_S + 10, what=text
    )


def events(project: Project, *words: str) -> list[dict[str, Any]]:
    """Return what the command shows."""
    done = project.command("events", "--json", *words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def newest(folder: Path) -> float:
    """Return when something in a folder was written last."""
    return max(path.lstat().st_mtime for path in [folder, *folder.rglob("*")])


def crashed(project: Project) -> Running:
    """Start a supervisor whose app prints something and can't be imported; its file knows."""
    project.app("coach", "print('reading settings')\nraise RuntimeError('no such device')\n")
    running = project.start()
    running.wait_for("coach", serving="stand-in")
    wait_for(project, "no such device")
    return running


def test_events_survive_a_kill_and_a_restart(project: Project) -> None:
    """With ages, in order, with the last failure and the end of what the worker printed."""
    crashed(project).kill()
    project.file("coach").write_text(GOOD_APP.format(text="x"))
    running = project.start()
    running.wait_for("coach", state="ready")
    shown = events(project)
    kinds = [one["kind"] for one in shown]
    assert kinds.count("started") == 2
    assert kinds.index("import_failed") < len(kinds) - 1 - kinds[::-1].index("started")
    assert [one["number"] for one in shown] == list(range(1, len(shown) + 1))
    ages = [one["age_s"] for one in shown]
    assert ages == sorted(ages, reverse=True)
    failure = running.app("coach")["last_failure"]
    assert "no such device" in failure["reason"]
    assert 0 < failure["age_s"] < 120
    logs = project.command("logs", "coach").stdout
    assert "reading settings" in logs
    assert "RuntimeError: no such device" in logs
    own = {"exited": 1, "started": 1}  # since this one has started
    assert running.health()["event_counts"][""] == own
    assert shown[kinds.index("exited")]["text"].endswith("main process was killed, or crashed")
    assert len(events(project, "--since", "1d")) == len(shown)
    assert len(events(project, "-n", "2")) == 2


def test_another_boot(project: Project) -> None:
    """Its monotonic clock says nothing any more: the wall time does, if the clock was set."""
    crashed(project).kill()
    file = event_file(project)
    content = json.loads(file.read_text())
    for number, one in enumerate(content["events"]):
        one["boot"], one["monotonic_s"] = "another", 9e9
        one["wall"] = "2026-01-01T00:00:00Z" if number else "1970-01-01T00:00:09Z"
    content["written"] = ["another", 9e9]
    file.write_text(json.dumps(content))
    project.file("coach").write_text(GOOD_APP.format(text="x"))
    running = project.start()
    running.wait_for("coach", state="ready")
    shown = events(project)
    assert shown[0]["age_s"] is None
    assert shown[0]["time"] == "1970-01-01T00:00:09Z"
    assert shown[1]["age_s"] > 86400
    assert shown[-1]["age_s"] < 60
    assert [one["number"] for one in shown] == sorted(one["number"] for one in shown)
    recent = events(project, "--since", "1h")
    assert 0 < len(recent) < len(shown)
    assert all(one["age_s"] is not None for one in running.health()["events"][-3:])
    ends = [one["text"] for one in shown if one["kind"] == "exited"]
    assert ends[-1].endswith("the machine lost its power, crashed or was reset")


def test_a_damaged_file(project: Project) -> None:
    """It is said, set aside, and does no harm."""
    crashed(project).stop()
    file = event_file(project)
    file.write_bytes(b"\0" * 5000)
    running = project.start()
    running.wait_for("coach", serving="stand-in")
    texts = [one["text"] for one in running.health()["events"]]
    assert any("were damaged and set aside" in text for text in texts)
    assert file.with_name("events.damaged").read_bytes() == b"\0" * 5000
    wait_for(project, "no such device")
    assert "ended unexpectedly" not in running.log


def test_a_power_cut_while_it_is_written(project: Project) -> None:
    """Everything is killed at the second write: what is older than ten seconds is there, and an
    unfinished file is removed at the next start."""
    project.app("coach")
    running = project.start()
    running.wait_for("coach", state="ready")
    state = project.folder / ".flask-supervisor"
    file = state / "events"
    client = Client(state / "control.sock")
    eventually(file.exists, what="the first write")
    first = file.stat().st_mtime_ns
    known: dict[int, float] = {}  # when each event was
    until = time.monotonic() + INTERVAL_S - 3
    while time.monotonic() < until:
        client.call("restart", apps=["coach"])
        shown, now = client.call("events")["events"], time.monotonic()
        known |= {one["number"]: now - one["age_s"] for one in shown}
    deadline = time.monotonic() + 3 * INTERVAL_S
    while file.stat().st_mtime_ns == first and not list(state.glob(".new-*-events")):
        assert time.monotonic() < deadline, "it is not written again"
    at = time.monotonic()
    for pid in project.processes():
        os.kill(pid, signal.SIGKILL)
    running.process.wait()
    kept = json.loads(file.read_text())["events"]
    lost = [when for number, when in known.items() if number > kept[-1]["number"]]
    assert all(at - when < INTERVAL_S + 3 for when in lost)  # this machine may be busy
    (state / ".new-1-events").write_text("{")  # as a power cut leaves it
    project.start().wait_for("coach", state="ready")
    assert not list(state.glob(".new-1-*"))
    shown = [(one["time"], one["text"]) for one in events(project, "-n", "500")]
    assert {(one["wall"], one["text"]) for one in kept[-100:]} <= set(shown)


def test_it_can_not_be_written(project: Project) -> None:
    """Health warns as long as that is so; the apps are served."""
    state = project.folder / ".flask-supervisor"
    (state / "events" / "in_the_way").mkdir(parents=True)
    state.chmod(0o700)
    project.app("coach")
    running = project.start()
    running.wait_for("coach", state="ready")
    check = eventually(lambda: running.health()["checks"].get("events"), what="the warning")
    assert (check["status"], check["critical"]) == ("warn", False)
    assert check["reason"].endswith("they can't be written: Is a directory")
    assert str(project.folder) not in json.dumps(check)
    shown = project.command("status")
    assert "check events: events would be lost by a restart" in shown.stdout
    assert shown.returncode == 0
    shutil.rmtree(state / "events")
    gone = 3 * INTERVAL_S
    eventually(
        lambda: "events" not in running.health()["checks"], timeout_s=gone, what="it is gone"
    )


def test_it_is_seldom_written(project: Project) -> None:
    """Nothing is while nothing happens; however much happens, events never twice in ten seconds."""
    keys = {"kind": "directory", "path": ".", "interval_s": 1}
    project.app("coach", known_good_after_s=1, requires=[keys], health_path="/")
    running = project.start()
    running.wait_for("coach", state="ready")
    wait_for(project, "ready")
    file = event_file(project)
    eventually(
        lambda: time.time() - newest(file.parent) > INTERVAL_S + 2,
        timeout_s=5 * INTERVAL_S,
        what="a quiet while",
    )
    versions: list[tuple[int, float]] = []
    until = time.monotonic() + 2.2 * INTERVAL_S
    while time.monotonic() < until:
        project.command("restart", "coach")
        stat = file.stat()
        if not versions or versions[-1][0] != stat.st_mtime_ns:
            versions.append((stat.st_mtime_ns, stat.st_mtime))
    gaps = [b[1] - a[1] for a, b in itertools.pairwise(versions)]
    assert 1 <= len(gaps) <= 3
    assert all(gap > INTERVAL_S - 1.5 for gap in gaps)


def test_a_restart_loop_wears_out_no_card(project: Project) -> None:
    """The pace holds over restarts: what was written less than ten seconds ago is left."""
    crashed(project).kill()
    before = event_file(project).stat().st_mtime_ns
    for _ in range(3):
        running = project.start()
        running.wait_until_up()
        running.kill()
    assert event_file(project).stat().st_mtime_ns == before
