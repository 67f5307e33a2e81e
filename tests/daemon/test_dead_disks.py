"""Disks that don't answer at the start: what doesn't need them is served."""

import time

import pytest
from dead_disk import dead_disk
from harness import Project, ask, eventually

pytestmark = pytest.mark.root


def test_a_configuration_whose_disk_hangs(project: Project) -> None:
    """It is said within seconds; with --last-good-config, the last one that worked runs."""
    project.supervisor["state_dir"] = str(project.folder / "state")
    project.app("coach")
    running = project.start()
    running.wait_for("coach", state="ready")
    eventually(lambda: list(project.folder.glob("state/config/0*.toml")))
    running.stop()
    disk = project.folder / "disk"
    disk.mkdir()
    config = disk / "supervisor.toml"
    environment = {"STATE_DIRECTORY": str(project.folder / "state")}
    real = project.config
    real.rename(config)
    real.symlink_to(config)
    project.write = lambda: config  # type: ignore[method-assign]
    with dead_disk(disk):
        began = time.monotonic()
        alone = project.command("run", env=environment)
        assert time.monotonic() - began < 20
        assert alone.returncode == 1
        assert "cannot read it: its disk does not answer" in alone.stderr
        running = project.start(env=environment, arguments=["--last-good-config"])
        running.wait_for("coach", state="ready")
        assert ask(project.port("coach")).text == "coach\n"
        check = running.health()["checks"]["configuration"]
        assert "can't be used" in check["reason"]
        running.stop()


def test_an_app_and_a_state_folder_whose_disk_hangs(project: Project) -> None:
    """The other apps are served, the app's port answers 503, and commands find the supervisor."""
    disk = project.folder / "disk"
    disk.mkdir()
    project.supervisor["state_dir"] = str(disk / "state")
    project.app("coach")
    project.app("lost", import_timeout_s=1)
    (project.folder / "lost").rename(disk / "lost")
    project.apps["lost"]["path"] = "disk/lost"
    with dead_disk(disk):
        running = project.start(wait=False)
        eventually(lambda: ask(project.port("coach")).text == "coach\n", timeout_s=30)
        assert eventually(lambda: ask(project.port("lost"))).status == 503
        running.wait_until_up()
        check = running.health()["checks"]["state_folder"]
        assert check["reason"] == "the state folder can't be used: its disk does not answer"
        assert "coach  ready" in project.command("status").stdout
    eventually(lambda: "state_folder" not in running.health()["checks"], timeout_s=40)
    running.wait_for("lost", state="ready", timeout_s=60)
