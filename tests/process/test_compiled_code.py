"""Compiled files that a power cut has truncated: removed and told, and the start goes on."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import flask
import pytest
from harness import REPOSITORY, Project, ask

SCRIPT = REPOSITORY / "bin" / "flask-supervisor"


def truncate(folder: Path) -> list[Path]:
    """Truncate every compiled file below a folder, in the middle of its code."""
    found = sorted(folder.rglob("*.pyc"))
    assert found
    for file in found:
        os.truncate(file, 16 + (file.stat().st_size - 16) // 2)  # its header is whole
    return found


@pytest.fixture
def compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes of a test write compiled files, whatever this shell says."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)


@pytest.mark.usefixtures("compiling")
def test_the_supervisor_and_flask(project: Project) -> None:
    """Every compiled file of ours and of Flask is damaged: commands work, the app is served."""
    site = project.folder / "site"
    shutil.copytree(REPOSITORY / "supervisor", site / "supervisor")
    shutil.copytree(Path(flask.__file__).parent, site / "flask")
    port = project.app("coach")
    environment = {"PYTHONPATH": str(site)}
    command = [sys.executable, str(SCRIPT), "check", "--config", str(project.write())]
    compiling = [sys.executable, "-m", "compileall", "-q", "-f", str(site)]
    subprocess.run(compiling, check=True)
    damaged = truncate(site)
    shown = subprocess.run(
        command,
        env=project.environment(**environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0
    package = site / "supervisor/__pycache__" / f"__init__.{sys.implementation.cache_tag}.pyc"
    assert f"the compiled file {package} is damaged (" in shown.stderr
    assert "): removed\n" in shown.stderr
    assert package in damaged
    subprocess.run(compiling, check=True)
    truncate(site)
    by_script = f'shift 2; exec "$0" {SCRIPT} "$@"'  # in place of `python -m supervisor`
    running = project.start(env=environment, prefix=["sh", "-c", by_script])
    running.wait_for("coach", state="ready")
    assert ask(port).text == "coach\n"
    assert f"{site}/flask" in running.log


@pytest.mark.usefixtures("compiling")
@pytest.mark.parametrize("own_interpreter", [False, True])
def test_an_app(project: Project, own_interpreter: bool) -> None:
    """A module of the app is damaged, also where it can't be removed; a source that is broken is
    told as that."""
    keys = {}
    if own_interpreter:
        folder = project.folder / "venv"
        venv.create(folder, symlinks=True)
        link = next(folder.glob("lib/python3*/site-packages")) / "all.pth"
        link.write_text(str(Path(flask.__file__).parents[1]))
        keys["python"] = str(folder / "bin/python")
    source = "from flask import Flask\nimport helper\napp = Flask(__name__)\n"
    source += "@app.get('/')\ndef index():\n    return helper.TEXT\n"
    port = project.app("coach", source, **keys)
    project.file("coach", "helper.py").write_text("TEXT = 'helped'\n")
    for file in project.file("coach").parent.iterdir():
        os.utime(file, (1e9, 1e9))  # an app that has just been written is not compiled
    running = project.start()
    running.wait_for("coach", state="ready")
    truncate(project.file("coach", "__pycache__"))
    assert project.command("restart", "coach").returncode == 0
    assert ask(port).text == "helped"
    compiled = f"coach/__pycache__/helper.{sys.implementation.cache_tag}.pyc is damaged"
    assert compiled in running.log
    project.file("coach", "helper.py").write_text("TEXT = 'helped\n")
    os.utime(project.file("coach", "helper.py"), (1e9, 1e9))
    refused = project.command("reload", "coach")
    assert refused.returncode == 1
    assert "SyntaxError" in refused.stderr
