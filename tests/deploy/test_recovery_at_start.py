"""A start after a deploy was cut off: ports first, then the old version, then the app."""

import json
import os
from pathlib import Path

from harness import Project, ask, eventually

SLOW = """
import os, time
from supervisor.files import atomic_file

def slow(folder, name=atomic_file.sync_file_system):
    while os.path.exists({gate!r}):
        time.sleep(0.02)
    name(folder)
atomic_file.sync_file_system = slow
"""


def interrupt_a_swap(folder: Path) -> None:
    """Leave the folder as a power cut does between the two renames of a swap."""
    work = folder / ".flask-supervisor-swap"
    (work / "old").mkdir(parents=True)
    (work / "new").mkdir()
    (folder / "coach.py").rename(work / "old" / "coach.py")
    move = {"path": "coach.py", "old": True, "new": True}
    paths = {"old_paths": ["coach.py"], "new_paths": ["coach.py"]}
    (work / "new" / "coach.py").write_text("raise RuntimeError('half of a new version')\n")
    journal = {"staged": "new", "moves": [move], "made": [], **paths}
    (work / "journal.json").write_text(json.dumps(journal))


def test_every_port_answers_while_a_deploy_is_undone(project: Project, tmp_path: Path) -> None:
    """The app's own port names the reason, others serve; SIGTERM ends it, deploys have to wait."""
    gate = tmp_path / "gate"
    gate.touch()
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SLOW.format(gate=str(gate)))
    project.app("coach", deploy_watch_s=0.5)
    project.app("other")
    interrupt_a_swap(project.folder / "coach")
    path = f"{site}:{project.environment()['PYTHONPATH']}"
    running = project.start(env={"PYTHONPATH": path})
    running.wait_for("other", status="pass")
    health = running.wait_for("coach", serving="stand-in", state="starting")
    assert "recovering: a deploy was cut off" in health["reason"]
    answer = ask(project.port("coach"))
    assert answer.status == 503
    assert "recovering" in answer.text
    busy = project.command("rollback", "coach")
    assert (busy.returncode, "is being undone" in busy.stderr) == (1, True)
    assert not (project.folder / "coach" / "coach.py").exists() or gate.exists()
    os.unlink(gate)
    running.wait_for("coach", status="pass", timeout_s=30)
    eventually(lambda: ask(project.port("coach")).text == "coach\n")
    assert not (project.folder / "coach" / ".flask-supervisor-swap").exists()
    events = project.command("events").stdout
    assert "the old version is back" in events


def test_a_stop_in_the_middle_of_it(project: Project, tmp_path: Path) -> None:
    """It ends at once, and the next start recovers."""
    gate = tmp_path / "gate"
    gate.touch()
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SLOW.format(gate=str(gate)))
    project.app("coach")
    interrupt_a_swap(project.folder / "coach")
    path = f"{site}:{project.environment()['PYTHONPATH']}"
    running = project.start(env={"PYTHONPATH": path})
    running.wait_for("coach", serving="stand-in", state="starting")
    running.stop()
    running = project.start()
    running.wait_for("coach", status="pass", timeout_s=30)
    assert ask(project.port("coach")).text == "coach\n"
