"""Fifty apps where open files or tasks don't suffice: every port answers."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Answer, Project, Running, ask, eventually

COUNT = 50
PIDS = Path("/sys/fs/cgroup/pids")  # of cgroup v1; v2 has one tree for everything
WITHOUT_RIGHTS = "exec setpriv --bounding-set=-sys_resource --inh-caps=-sys_resource"
REASON = "no worker could be started: the limit of {} is reached"


def start(project: Project, command: str) -> Running:
    """Start fifty apps by a shell command that ends in `exec` and what it executes."""
    for number in range(COUNT):
        project.app(f"app_{number:02}")
    return project.start(prefix=("sh", "-c", command, "sh"))


def check_every_port(project: Project, running: Running, what: str) -> None:
    """Check that each app answers, or 503 with the reason; and that some answer."""

    def answers() -> list[Answer]:
        found = [ask(project.port(name), timeout_s=3) for name in project.apps]
        assert all(one.status == 200 or one.json["detail"] == REASON.format(what) for one in found)
        return found

    found = eventually(answers, timeout_s=60)
    assert {one.status for one in found} == {200, 503}
    health = running.health()
    assert health["checks"]["limits"]["status"] == "warn"
    assert health["checks"]["limits"]["reason"] in running.log
    assert project.command("status").returncode == 1


@pytest.mark.debian("util-linux", program="setpriv")
def test_too_few_open_files(project: Project) -> None:
    """128 for fifty apps: those that can't be started answer with the reason."""
    command = f'ulimit -n 128; {WITHOUT_RIGHTS if os.geteuid() == 0 else "exec"} "$@"'
    running = start(project, command)
    check_every_port(project, running, "open files")
    assert (
        "FAIL limits          128 open files (of the supervisor" in project.command("doctor").stdout
    )


@pytest.fixture
def group() -> Iterator[Path]:
    """A cgroup for a limit of tasks."""
    folder = PIDS / f"test-{uuid.uuid4().hex}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"needs {PIDS} that can be written: {error.strerror}")
    yield folder
    eventually(lambda: folder.rmdir() or True)


@pytest.mark.root
def test_too_few_tasks(group: Path, project: Project) -> None:
    """A cgroup with 120 tasks for fifty apps of five each: the same."""
    (group / "pids.max").write_text("120")
    running = start(project, f'echo $$ > {group}/cgroup.procs; exec "$@"')
    check_every_port(project, running, "processes and threads")
    for one in project.started:
        one.stop()
