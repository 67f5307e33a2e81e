"""No port depends on the state folder: whatever is wrong with it, apps are served."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import GOOD_APP, Project, Running, ask, eventually
from operating_case import wait_until_ready

MOUNTS = {  # the options of a tmpfs, and what health says
    "read-only": ("size=1m,ro", "its disk is read-only"),
    "no-inodes": ("size=1m,nr_inodes=1", "its disk is full, or out of inodes"),
}


def check(running: Running) -> str | None:
    """Return what health says of the state folder."""
    found = running.health()["checks"].get("state_folder")
    return found and f"{found['status']}: {found['reason']}"


def refused_deploy(project: Project) -> "subprocess.CompletedProcess[str]":
    """Try a deploy, which has to be refused, and return what that printed."""
    new = project.folder / "new"
    new.mkdir()
    (new / "coach.py").write_text(GOOD_APP.format(text="new"))
    refused = project.command("deploy", "coach", str(new))
    assert refused.returncode == 1
    return refused


def mount(folder: Path, options: str) -> None:
    """Mount a small file system."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


@pytest.fixture
def disk(project: Project) -> Iterator[Path]:
    """A folder on which a test mounts a disk for the state folder; it is unmounted in the end."""
    folder = project.folder / "disk"
    folder.mkdir()
    project.supervisor["state_dir"] = str(folder / "state")
    yield folder
    for running in project.started:
        running.stop()
    while folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.root
@pytest.mark.parametrize("kind", MOUNTS)
def test_a_disk_that_can_not_be_written(project: Project, disk: Path, kind: str) -> None:
    """Every port is served, commands find the supervisor, health warns, deploy refuses, a second
    one doesn't start; when the disk can be written, the folder is used by itself."""
    options, reason = MOUNTS[kind]
    mount(disk, options)
    project.app("coach")
    project.app("broken", "1 / 0\n")
    running = project.start()
    wait_until_ready(running, "coach")
    assert ask(project.port("coach")).text == "coach\n"
    assert eventually(lambda: ask(project.port("broken"))).status == 503
    assert check(running) == f"warn: the state folder can't be used: {reason}"
    shown = project.command("status")
    assert "coach   ready" in shown.stdout
    assert f"check state_folder: the state folder can't be used: {reason}" in shown.stdout
    assert project.command("restart", "coach").returncode == 0
    refused = refused_deploy(project)
    assert f"error: the state folder can't be used: {reason}" in refused.stderr
    second = project.command("run")
    assert second.returncode == 1
    assert f"already running as pid {running.process.pid}" in second.stderr
    subprocess.run(["mount", "-o", "remount,rw,nr_inodes=0", str(disk)], check=True)
    eventually(lambda: check(running) is None, what="the folder is used again")
    assert (disk / "state/control.sock").is_socket()
    assert (disk / "state/data/coach").is_dir()
    assert str(project.command("status").returncode) in "01"


@pytest.mark.root
def test_a_full_disk(project: Project, disk: Path) -> None:
    """Every port is served, commands work, health warns, deploy refuses and says why."""
    mount(disk, "size=64k")
    (disk / "state").mkdir()
    with contextlib.suppress(OSError), (disk / "fill").open("wb", buffering=0) as stream:
        while stream.write(b"x" * 4096):
            pass
    project.app("coach")
    project.app("broken", "1 / 0\n")
    running = project.start()
    wait_until_ready(running, "coach")
    assert ask(project.port("coach")).text == "coach\n"
    assert eventually(lambda: ask(project.port("broken"))).status == 503
    eventually(lambda: running.health()["checks"]["host_disk"]["status"] == "warn")
    assert "coach   ready" in project.command("status").stdout
    refused = refused_deploy(project)
    assert "nothing has changed" in refused.stderr
    assert "No space left on device" in refused.stderr
    assert ask(project.port("coach")).text == "coach\n"


@pytest.mark.root
def test_a_disk_that_is_mounted_later(project: Project, disk: Path) -> None:
    """What was written below the mount point is not seen any more: the folder is made there."""
    project.app("coach")
    running = project.start()
    wait_until_ready(running, "coach")
    mount(disk, "size=1m")
    eventually(lambda: (disk / "state/control.sock").is_socket())
    assert project.command("status").returncode == 0
    assert f"pid {running.process.pid}" in project.command("run").stderr


def test_a_folder_that_is_removed(project: Project) -> None:
    """Commands work at once, no second supervisor starts beside, and the folder is made again,
    with a release of what serves."""
    project.app("coach", known_good_after_s=1)
    running = project.start()
    wait_until_ready(running, "coach")
    state = project.folder / ".flask-supervisor"
    eventually(lambda: "it is known to be good" in running.log)
    shutil.rmtree(state)
    assert project.command("status").returncode == 0
    assert f"already running as pid {running.process.pid}" in project.command("run").stderr
    eventually(lambda: list(state.glob("releases/coach/0*")))
    assert {"control.sock", "lock", "data"} <= {entry.name for entry in state.iterdir()}
    (state / "control.sock").unlink()
    eventually((state / "control.sock").is_socket)
    assert running.stop() == 0
    assert project.command("status").returncode == 1
