"""Apps and what they start find the same environment as by hand."""

import json
import stat
import sys
from pathlib import Path

from harness import Project, ask

SOURCE = """
import json, os, subprocess
from flask import Flask
app = Flask(__name__)
NAMES = ("PORT", "HOST", "PATH", "VIRTUAL_ENV", "SHELL_SET")
open("written", "w").close()

@app.get("/")
def index():
    return {name: os.environ.get(name) for name in NAMES}
"""
PRINT = ["python", "-c", "import os, json; print('FOUND', json.dumps(dict(os.environ)))"]


def test_interpreter_and_port_are_in_the_environment(project: Project) -> None:
    """For the app, for `before_start` and for what it requires; `env` has the last word."""
    venv = Path(sys.prefix)
    requirement = {"kind": "env", "name": "PORT"}
    port = project.app("coach", SOURCE, before_start=[PRINT], requires=[requirement])
    other = project.app("other", SOURCE, env={"PORT": "1", "VIRTUAL_ENV": "mine"})
    running = project.start(env={"PATH": "/usr/bin:/bin", "VIRTUAL_ENV": "/elsewhere"})
    running.worker("coach")
    found = ask(port).json
    printed = next(line for line in running.log.splitlines() if "FOUND" in line)
    text = json.loads(printed)["event"].partition("FOUND ")[2]
    for variables in (found, json.loads(text)):
        assert variables["PATH"] == f"{Path(sys.executable).parent}:/usr/bin:/bin"
        assert variables["VIRTUAL_ENV"] == str(venv)
        assert (variables["PORT"], variables["HOST"]) == (str(port), "127.0.0.1")
    running.worker("other")
    found = ask(other).json
    assert (found["PORT"], found["VIRTUAL_ENV"]) == ("1", "mine")
    ended = project.command("check", "coach")
    assert "requires env PORT: ok" in ended.stdout, ended.stdout


def test_the_umask_is_that_of_the_configuration(project: Project) -> None:
    """By default others may read what an app writes, whatever the umask of the supervisor is."""
    project.app("usual", SOURCE)
    project.app("shared", SOURCE, umask="002")
    project.app("closed", SOURCE, umask="077")
    running = project.start(prefix=["sh", "-c", 'umask 077; exec "$@"', "sh"])
    modes = {}
    for name in project.apps:
        running.worker(name)
        modes[name] = stat.S_IMODE(project.file(name, "written").stat().st_mode)
    assert modes == {"usual": 0o644, "shared": 0o664, "closed": 0o600}
