"""The last known good release: kept in time, served when the live code is broken, then given up."""

import os
import signal

from harness import GOOD_APP, Poller, Project, Running, ask, eventually
from operating_case import wait_until_ready

BROKEN = "import sys\n\nimport gone_module\n"
WHY = "ModuleNotFoundError: No module named 'gone_module' (coach.py, line 3)"
FALLEN_BACK = f"the last known good release serves: {WHY}"


def kept(project: Project, *names: str) -> Running:
    """Start the apps, which serve until all of them have a release."""
    for name in names:
        project.app(name, known_good_after_s=1)
    running = project.start()
    wait_until_ready(running, *names)

    def have_one() -> bool:
        lists = [project.command("releases", name).stdout for name in names]
        return all(text.startswith("RELEASE") for text in lists)

    eventually(have_one, timeout_s=30, what="all apps are kept")
    return running


def test_a_restart_with_broken_code_falls_back_and_says_so(project: Project) -> None:
    """No request is lost to the broken file; its repair is taken up without a command."""
    running = kept(project, "coach", "other")
    port = project.port("coach")
    project.file("coach").write_text(BROKEN)
    result = project.command("restart", "coach")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("coach: ready, as pid ")
    assert FALLEN_BACK in result.stdout
    assert ask(port).text == "coach\n"
    health = running.wait_for("coach", serving="last-known-good", status="warn")
    assert health["reason"] == FALLEN_BACK
    assert running.app("other")["status"] == "pass"
    repaired = GOOD_APP.format(text="repaired")
    with Poller(port) as poller:
        project.file("coach").write_text(repaired)
        running.wait_for("coach", serving="app", status="pass", timeout_s=30)
        eventually(lambda: ask(port).text == "repaired\n", timeout_s=5)
    assert poller.answers
    assert (poller.refused, poller.failed) == (0, [])
    assert {answer.status for answer in poller.answers} == {200}


def test_a_crash_with_broken_code_falls_back(project: Project) -> None:
    """A worker that is gone is replaced by the release when the live code can't be."""
    running = kept(project, "coach")
    project.file("coach").write_text(BROKEN)
    assert running.app("coach")["serving"] == "app"
    os.kill(running.worker("coach"), signal.SIGKILL)
    health = running.wait_for("coach", serving="last-known-good", timeout_s=30)
    assert health["reason"] == FALLEN_BACK
    assert ask(project.port("coach")).text == "coach\n"


def test_a_new_supervisor_falls_back(project: Project) -> None:
    """A machine that is switched on with a broken file serves what was good."""
    running = kept(project, "coach")
    running.stop()
    project.file("coach").write_text(BROKEN)
    running = project.start()
    health = running.wait_for("coach", serving="last-known-good", timeout_s=30)
    assert health["reason"] == FALLEN_BACK
    assert ask(project.port("coach")).text == "coach\n"


def test_without_a_release_the_stand_in_answers(project: Project) -> None:
    """An app that never was good has nothing to fall back on."""
    port = project.app("coach", BROKEN, known_good_after_s=1)
    running = project.start()
    running.wait_for("coach", serving="stand-in", status="fail", reason=WHY)
    assert ask(port).status == 503


def test_apps_beside_the_state_folder_are_kept(project: Project) -> None:
    """What the supervisor and apps write in a state folder in an app's path is no change of it."""
    project.supervisor["state_dir"] = "shared/state"
    for name in ("coach", "other"):
        project.app(name, path="shared", known_good_after_s=1)
        (project.folder / "shared").mkdir(exist_ok=True)
        project.file(name).rename(project.folder / "shared" / f"{name}.py")
    running = project.start()
    wait_until_ready(running, "coach", "other")
    (project.folder / "shared" / "state" / "data" / "coach" / "photos").mkdir()
    for name in ("coach", "other"):
        eventually(
            lambda name=name: project.command("releases", name).stdout.startswith("RELEASE"),
            timeout_s=30,
            what=f"{name} is kept",
        )
        assert running.app(name)["stale"] is False
