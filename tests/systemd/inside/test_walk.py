"""The recipe for a Raspberry Pi, typed as it stands in docs/, on a machine without us."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from console_blocks import blocks, differences
from harness import REPOSITORY, ask, eventually
from machine import CONFIG, PYTHON, ROOT, STATE, SYSTEM, UNIT, run

PAGE = REPOSITORY / "docs" / "raspberry-pi.md"
TYPED = "tests/systemd/inside/test_walk.py types it"
APP = "from flask import Flask\napp = Flask(__name__)\n@app.get('/')\ndef index(): return 'teams'\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of somebody with an app, on a machine where nothing of ours is installed."""
    if (SYSTEM / UNIT).exists():
        run("/usr/local/bin/flask-supervisor", "service", "uninstall", "--delete-data")
    for path in (ROOT, STATE, CONFIG.parent):
        shutil.rmtree(path, ignore_errors=True)
    (tmp_path / "field").mkdir()
    (tmp_path / "field" / "coach_interface.py").write_text(APP)
    (tmp_path / "field" / "requirements.txt").write_text("flask\n")
    sudo = tmp_path / "bin" / "sudo"
    sudo.parent.mkdir()
    sudo.write_text('#!/bin/sh\nexec env "$@"\n')
    sudo.chmod(sudo.stat().st_mode | stat.S_IXUSR)
    return tmp_path


def test_the_recipe_works_as_it_stands(home: Path) -> None:
    """Each command shows what the page says; the app answers, and is gone in the end."""
    typed = [block for block in blocks(PAGE) if block.reason == TYPED]
    assert len(typed) == 3
    for block in typed:
        for step in block.steps:
            if "apt-get" in step.command:
                continue
            if "uninstall" in step.command:
                eventually(lambda: ask(5001).text == "teams")
            if step.command == "git clone REPOSITORY flask-supervisor":
                ignored = shutil.ignore_patterns(".*", "tests", "docs", "__pycache__", "*.egg-info")
                shutil.copytree(REPOSITORY, home / "flask-supervisor", ignore=ignored)
                continue
            shown = type_in(home, step.command)
            assert not differences(step.shown, shown), "\n".join(shown)
    assert not (SYSTEM / UNIT).exists()
    assert not ROOT.exists()


def type_in(home: Path, command: str) -> list[str]:
    """Run a command line in the home, and return the lines that it shows."""
    path = f"{home}/bin:/usr/local/bin:{os.environ['PATH']}"
    environment = {**os.environ, "HOME": str(home), "PATH": path, "PYTHON": PYTHON}
    environment.pop("PYTHONPATH", None)  # it would find this checkout
    done = subprocess.run(
        ["bash", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=home,
        env=environment,
        timeout=180,
        check=False,
    )
    return done.stdout.splitlines()
