"""Modules of an app have the names that they like: its own ones win, as by hand."""

import sys
from pathlib import Path

import pytest
from harness import Project, ask
from importing_case import run_import

# loaded by the supervisor, by Flask, or by Python's own modules
NAMES = [
    *("resource", "calendar", "click", "supervisor", "secrets", "flask", "waitress", "queue"),
    *("json", "logging", "types", "email", "http", "threading", "select", "socket"),
    *("ctypes", "structlog", "selectors", "signal", "test", "code"),
]
OWN = "def own():\n    return 'own {name}'\n"
APP = """
import {name}
{more}
def app(environ, start_response):
    environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/boom":
        raise RuntimeError("boom")
    text = {name}.own().encode()
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return [text]
"""


@pytest.mark.parametrize("own_python", [False, True])
def test_own_modules_win(project: Project, own_python: bool) -> None:
    """Whatever is loaded in the worker, an app gets its own module; it is served and reloaded."""
    names = [name for name in NAMES if name not in sys.builtin_module_names]
    if own_python:  # such a worker takes longer to start
        names = ["supervisor", "waitress", "calendar"]
    python = {"python": sys.executable} if own_python else {}
    ports = {}
    for name in names:
        app = f"app_{name}"
        ports[name] = project.app(app, APP.format(name=name, more=""), **python)
        project.file(app, f"{name}.py").write_text(OWN.format(name=name))
    found = project.command("check")
    assert found.returncode == 0, found.stdout
    running = project.start()
    for name, port in ports.items():
        running.wait_for(f"app_{name}", state="ready", timeout_s=60)
        assert ask(port).text == f"own {name}"
        body = b"x" * 600_000  # waitress writes it into a file
        assert ask(port, method="POST", body=body).text == f"own {name}"
        assert ask(port, "/boom").status == 500
    done = project.command("reload", "all")
    assert done.returncode == 0, done.stderr
    assert [ask(port).text for port in ports.values()] == [f"own {name}" for name in names]
    assert "Fatal" not in running.log


def test_an_own_package_beside_flask(project: Project) -> None:
    """A package with the name of ours, and a module with that of a library which Flask uses."""
    source = """
from flask import Flask, jsonify
import click
from supervisor.config import NAME
app = Flask(__name__)
app.add_url_rule("/", view_func=lambda: jsonify([NAME, click.NAME]))
"""
    port = project.app("coach", source)
    for file in ("click.py", "supervisor/__init__.py", "supervisor/config.py"):
        path = project.file("coach", file)
        path.parent.mkdir(exist_ok=True)
        path.write_text("NAME = 'own'\n")
    assert project.command("check").returncode == 0
    running = project.start()
    running.wait_for("coach", state="ready")
    assert ask(port).json == ["own", "own"]


def test_what_no_file_can_replace_is_named(project: Project) -> None:
    """A module that Python has in itself hides the app's own file; `check` says so."""
    project.app("coach", "import time\n\ndef app(environ, start_response):\n    time.own()\n")
    project.file("coach", "time.py").write_text(OWN.format(name="time"))
    found = project.command("check")
    assert found.returncode == 0
    text = "your time.py is hidden by Python's own module of that name: rename it"
    assert f"note: coach.py:1: {text}" in found.stdout


@pytest.mark.parametrize(
    ("name", "line", "hint"),
    [
        ("time", "from time import own", "your time.py is hidden by Python's own module"),
        ("time", "import time; time.own()", "your time.py is hidden by Python's own module"),
        ("http", "import http.client", "your own file http.py hides the package http: rename it"),
        ("random", "import tempfile", "your own file random.py hides the package random"),
        ("calendar", "import time; time.strptime('1', '%d')", "your own file calendar.py hides"),
    ],
)
def test_the_hint_names_the_file_to_rename(tmp_path: Path, name: str, line: str, hint: str) -> None:
    """An own file that is hidden, or that hides what others need, is named where it matters."""
    forget = "import sys; [sys.modules.pop(one, 0) for one in ('tempfile', '_strptime')]\n"
    answer = run_import(tmp_path, forget + line, {f"{name}.py": OWN.format(name=name)})
    assert hint in answer["hint"]
