"""The architecture of a Raspberry Pi: everything installs from wheels, and runs there."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import REPOSITORY, Project, Running, ask, eventually, free_ports

SCRIPT = REPOSITORY / "tests" / "arm64" / "run-on-arm64"
PREPARE_S = 400  # 20 s, and a slow network
_PLATFORM = "cpython-311-aarch64-linux-gnu.so"
START_S = 120  # emulated, on a busy machine

pytestmark = [
    pytest.mark.root,
    pytest.mark.debian("qemu-user-static", program="qemu-aarch64-static"),
    pytest.mark.debian("mmdebstrap"),
    pytest.mark.timeout(PREPARE_S + 2 * START_S),
]


@pytest.fixture(scope="module")
def pi() -> Iterator[Path]:
    """The folder of an arm64 Debian with this project installed; removed in any case."""
    folder = Path(tempfile.mkdtemp(prefix="arm64-"))
    try:
        _prepare(folder)
        yield folder
    finally:
        shutil.rmtree(folder)


def _prepare(folder: Path) -> None:
    process = subprocess.Popen(
        [SCRIPT, folder],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHON": sys.executable},
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=PREPARE_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == 0, output


def _run(pi: Path, project: Project, *arguments: str) -> "subprocess.Popen[bytes]":
    log = (project.folder / "log").open("wb")
    with log:
        return subprocess.Popen(
            [SCRIPT, pi, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=project.environment(),
            cwd=project.folder,
        )


def _example_apps(project: Project) -> None:
    """Configure the two apps that come with the project, on free ports."""
    ports = free_ports(3)
    project.status_port = ports[0]
    for name, port in zip(("admin", "coach"), ports[1:], strict=True):
        project.apps[name] = {"target": f"apps.{name}:create_app()", "port": port}
    project.apps["admin"]["control"] = True
    project.write()


def test_there_is_a_wheel_of_everything(pi: Path) -> None:
    """Nothing has to be compiled on a Raspberry Pi OS 12 or 13, which come without a compiler."""
    compiled = [file.name for file in (pi / "site").rglob("*.so")]
    assert compiled
    foreign = [name for name in compiled if not name.endswith((".abi3.so", _PLATFORM))]
    assert foreign == []
    wheels = [file.name for file in (pi / "wheels-3.13").iterdir()]
    for needed in ("flask_supervisor", "markupsafe", "prometheus_client", "apprise"):
        assert any(name.startswith(f"{needed}-") for name in wheels), needed
    assert [name for name in wheels if not name.endswith(("none-any.whl", "aarch64.whl"))] == []


def test_the_example_apps_can_be_imported(pi: Path, project: Project) -> None:
    """`check` finds no problems."""
    _example_apps(project)
    process = _run(pi, project, "check", "--config", str(project.config))
    code = process.wait(START_S)
    assert code == 0, (project.folder / "log").read_text()


def test_the_example_apps_are_served(pi: Path, project: Project) -> None:
    """Three ports answer, a worker that is killed is replaced, and a stop leaves nothing."""
    _example_apps(project)
    process = _run(pi, project, "run", "--config", str(project.config))
    running = Running(project, process, project.folder / "log")
    project.started.append(running)

    def status(port: int) -> int:
        if process.poll() is not None:
            pytest.fail(f"it has ended: {running.log}")
        path = "/login" if port == project.port("admin") else "/"
        return ask(port, path, timeout_s=30).status

    ports = [project.port("admin"), project.port("coach"), project.status_port]
    for port in ports:
        eventually(lambda port=port: status(port) == 200, timeout_s=START_S)
    eventually(lambda: running.health()["status"] == "pass", timeout_s=START_S)
    assert "first password" in running.log

    worker = running.worker("coach")
    assert b"qemu-aarch64" in Path(f"/proc/{worker}/cmdline").read_bytes()
    os.kill(worker, signal.SIGKILL)
    running.wait_for("coach", state="ready", restarts=1, timeout_s=START_S)
    assert status(project.port("coach")) == 200

    assert running.stop(timeout_s=30) == 0
    eventually(lambda: not project.processes(), timeout_s=5)
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            ask(port)
