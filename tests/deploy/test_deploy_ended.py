"""Deploys that somebody, or something, ends in the middle: the old version is back."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Project, Running, ask, eventually
from operating_case import Following, call, wait_until_ready
from test_deploy import CHECKED, is_as_before, make_source, only_old, source_of, start

HELD_IMPORT = """
import time
if {where}:
    time.sleep(600)
"""
SLOW_GIT = "#!/bin/sh\necho $$ >> {log}\nexec sleep 600\n"


def staging(project: Project) -> Path:
    """Return a source that takes seconds to copy: as many files as are allowed."""
    source = make_source(project, "new")
    (source / "static").mkdir(exist_ok=True)
    (source / "static/0").write_text("x")
    for number in range(1, 19_000):
        os.link(source / "static/0", source / f"static/{number}")
    return source


def checking(project: Project) -> Path:
    """Return a version whose import beside the app takes for ever."""
    return make_source(project, "new", HELD_IMPORT.format(where=CHECKED))


def reloading(project: Project) -> Path:
    """Return a version whose import in its place takes for ever."""
    return make_source(project, "new", HELD_IMPORT.format(where=f"not {CHECKED}"))


def watching(project: Project) -> Path:
    """Return a good version: it is watched for long."""
    return make_source(project, "new")


PHASES: dict[str, tuple[Callable[[Project], Path], str]] = {
    "staging": (staging, "unpacking it"),
    "checking": (checking, "importing it there"),
    "reloading": (reloading, "starting the app with them"),
    "watching": (watching, "watching it"),
}
ENDS = {
    "staging": "was refused, nothing has changed: ",
    "checking": "was refused, nothing has changed: ",
    "reloading": "was undone, the old version is back: ",
    "watching": "was undone, the old version is back: ",
}


def held(project: Project, phase: str, *, watch_s: float = 60) -> tuple[Running, Following]:
    """Start a deploy that stays in ``phase``; the command is to be ended by the caller."""
    running = start(project, deploy_watch_s=watch_s)
    source, line = PHASES[phase]
    deploying = Following(project, "deploy", "coach", str(source(project)), terminal=True)
    try:
        deploying.wait_for(line)
        if phase == "reloading":
            eventually(lambda: len(running.app("coach")["workers"]) == 2)
    except BaseException:
        deploying.__exit__(None, None, None)
        raise
    return running, deploying


@pytest.mark.parametrize("phase", PHASES)
def test_an_interrupt_undoes_it(project: Project, phase: str) -> None:
    """Ctrl-C at any time: the command waits until the old version is back, and says so."""
    running, deploying = held(project, phase)
    with deploying:
        code, errors = deploying.end(signal.SIGINT, timeout_s=30)
    assert code == 1
    assert errors.startswith("interrupted: undoing it\n")
    assert f"{ENDS[phase]}interrupted by the operator" in errors
    is_as_before(project)
    eventually(lambda: running.app("coach")["status"] == "pass")
    assert not call(running, "release.progress")["running"]


@pytest.mark.parametrize("phase", ["staging", "watching"])
def test_a_lost_command_undoes_it(project: Project, phase: str) -> None:
    """Nobody waits for it any more, as after a broken ssh connection: it is undone all the same."""
    running, deploying = held(project, phase)
    with deploying:
        deploying.end(signal.SIGKILL)
    eventually(lambda: not call(running, "release.progress")["running"])
    is_as_before(project)
    recorded = call(running, "events")["events"]
    expected = f"{ENDS[phase]}the command that waited for it has ended"
    assert any(expected in event["text"] for event in recorded)


@pytest.mark.parametrize("phase", PHASES)
def test_the_supervisor_is_stopped(project: Project, phase: str) -> None:
    """It puts the old files back before it ends, and the command hears why."""
    running, deploying = held(project, phase)
    with deploying:
        assert running.stop(timeout_s=20) == 0
        code, errors = deploying.end(None)
    assert code == 1
    assert f"{ENDS[phase]}the supervisor was stopped" in errors
    assert project.file("coach").read_text() == source_of("old")
    assert not (project.folder / "coach" / ".flask-supervisor-swap").exists()
    wait_until_ready(project.start(), "coach")
    is_as_before(project)


@pytest.mark.parametrize("phase", PHASES)
def test_everything_is_killed(project: Project, phase: str) -> None:
    """After a power cut in any phase the next start brings the old version, and tidies up."""
    running, deploying = held(project, phase)
    with deploying:
        running.kill()
        code, errors = deploying.end(None)
    assert code == 1
    assert "the supervisor exited before this was complete" in errors
    again = project.start()
    wait_until_ready(again, "coach")
    is_as_before(project)
    assert again.app("coach")["status"] == "pass"
    texts = " ".join(event["text"] for event in call(again, "events")["events"])
    is_swapped = phase in ("reloading", "watching")
    assert ("in the middle of a deploy: the old version is back" in texts) is is_swapped
    assert str(project.folder) not in texts


def test_it_is_killed_while_files_change_places(project: Project) -> None:
    """Whichever rename was the last one: the old version or the new one, and never a mixture."""
    names = [f"part_{number}.py" for number in range(120)]
    imports = "\n".join(f"import part_{number}" for number in range(120))
    folder = project.folder / "coach"
    project.app("coach", source_of("old", imports), deploy_watch_s=60)
    for name in names:
        (folder / name).write_text("VERSION = 'old'\n")
    source = make_source(project, "new", imports, **dict.fromkeys(names, "VERSION = 'new'\n"))
    journal = folder / ".flask-supervisor-swap" / "journal.json"
    mixed = 0
    for _round in range(2):
        running = project.start()
        wait_until_ready(running, "coach")
        deploying = Following(project, "deploy", "coach", str(source))
        with deploying:
            while not journal.exists():
                assert deploying.process.poll() is None, deploying.text
            running.kill()
            deploying.end(None)
        found = {(folder / name).read_text() for name in names if (folder / name).exists()}
        mixed += len(found) == 2
        eventually(lambda: not project.processes())
        again = project.start()
        wait_until_ready(again, "coach")
        assert {(folder / name).read_text() for name in names} == {"VERSION = 'old'\n"}
        assert ask(project.port("coach")).text == "old\n"
        assert not journal.parent.exists()
        again.stop()
    print(f"killed in the middle of the renames {mixed} times of 2")


def test_an_interrupt_while_the_present_version_is_kept(project: Project) -> None:
    """A git that hangs holds it up there; no release of half of it is left."""
    tools = project.folder / "tools"
    tools.mkdir()
    log = project.folder / "git-log"
    (tools / "git").write_text(SLOW_GIT.format(log=log))
    (tools / "git").chmod(0o755)
    git = project.folder / ".git"
    (git / "refs").mkdir(parents=True)
    (git / "objects").mkdir()
    (git / "HEAD").write_text("a" * 40 + "\n")
    project.app("coach", source_of("old"))
    running = project.start(env={"PATH": f"{tools}:{os.environ['PATH']}"})
    wait_until_ready(running, "coach")
    source = make_source(project, "new")
    with (
        only_old(project),
        Following(project, "deploy", "coach", str(source), terminal=True) as deploying,
    ):
        deploying.wait_for("keeping the present version")
        eventually(log.exists)
        code, errors = deploying.end(signal.SIGINT, timeout_s=30)
    assert code == 1
    assert "was refused, nothing has changed: interrupted by the operator" in errors
    is_as_before(project)
    assert call(running, "release.list", app="coach")["releases"] == []
    eventually(lambda: all(not _lives(int(pid)) for pid in log.read_text().split()))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
