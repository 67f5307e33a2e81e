"""Modules that serve by themselves when they are imported, and imports that take long."""

import os
from pathlib import Path

import pytest
from harness import Project, ask, eventually, free_ports
from importing_case import run_import

from supervisor.worker.import_failure import GUARD

FLASK = """
import os
from flask import Flask
app = Flask(__name__)

@app.get("/")
def index():
    return "served"
"""
[PORT] = free_ports(1)
IGNORED = {
    "plain": "app.run()",
    "debug": "app.run(debug=True)",
    "not_last": f"app.run('127.0.0.1', {PORT})\nassert not os.environ.get('WERKZEUG_RUN_MAIN')",
    "indirect": "def main():\n    app.run(threaded=True)\nmain()",
}
SERVERS = {
    "waitress": ("import waitress\nwaitress.serve(print, port={port})", "waitress.serve()", 2),
    "wsgiref": (
        "from wsgiref.simple_server import make_server\n"
        "def main():\n    make_server('127.0.0.1', {port}, None).serve_forever()\nmain()",
        "serve_forever()",
        3,
    ),
    "http.server": (
        "from http.server import *\n"
        "HTTPServer(('127.0.0.1', {port}), SimpleHTTPRequestHandler).serve_forever()",
        "serve_forever()",
        2,
    ),
    "werkzeug": (
        "from werkzeug.serving import run_simple\nrun_simple('127.0.0.1', {port}, None)",
        "run_simple() of werkzeug",
        2,
    ),
    "reloader": (
        "from werkzeug.serving import run_simple\n"
        "run_simple('127.0.0.1', {port}, None, use_reloader=True)",
        "run_simple() of werkzeug",
        2,
    ),
    "in vain": (
        "import waitress\ntry:\n    waitress.serve(print, port={port})\n"
        "except Exception:\n    pass",
        "waitress.serve()",
        3,
    ),
}


def test_app_run_is_ignored(project: Project) -> None:
    """An ``app.run()`` without a guard does nothing, and is noted; the app is served as it is."""
    ports = {name: project.app(name, FLASK + end + "\n") for name, end in IGNORED.items()}
    running = project.start()
    for name, port in ports.items():
        running.wait_for(name, state="ready", status="pass")
        assert ask(port).text == "served"
        line = len((FLASK + IGNORED[name]).splitlines())
        line -= {"not_last": 1, "indirect": 1}.get(name, 0)
        note = f"app.run() in {name}.py, line {line}, is ignored while the app is imported: "
        [found] = [one for one in running.log.splitlines() if note in one]
        assert '"level": "warning"' in found
    with pytest.raises(ConnectionRefusedError):
        ask(PORT)
    assert "CLI command" not in running.log
    found = project.command("check")
    assert found.returncode == 0, found.stdout
    assert found.stderr.count("is ignored while the app is imported") == len(IGNORED)


def test_a_server_beside_the_app_serves(project: Project) -> None:
    """What runs in a thread or in a process of the app isn't ignored, nor what it starts."""
    thread, process, program = free_ports(3)
    port = project.app(
        "coach",
        FLASK
        + f"""
import multiprocessing, subprocess, sys, threading
other = multiprocessing.get_context("fork").Process(
    target=app.run, kwargs={{"port": {process}}}, daemon=True)
other.start()
threading.Thread(target=app.run, kwargs={{"port": {thread}}}, daemon=True).start()
code = "import flask; flask.Flask('program', static_folder=None).run(port={program})"
subprocess.Popen([sys.executable, "-c", code], env={{**os.environ}})
app.run()
""",
    )
    running = project.start()
    running.wait_for("coach", state="ready")
    assert ask(port).text == "served"
    for one, status in ((thread, 200), (process, 200), (program, 404)):
        assert eventually(lambda one=one: ask(one)).status == status


@pytest.mark.parametrize(("source", "call", "line"), SERVERS.values(), ids=SERVERS)
def test_a_server_is_named_within_seconds(
    tmp_path: Path, source: str, call: str, line: int
) -> None:
    """Not after ``import_timeout_s``: the call, its place, and what to do."""
    [port] = free_ports(1)
    found = run_import(tmp_path, source.format(port=port), timeout_s=60)
    assert found["reason"] == (
        f"ServesAtImport: {call} serves by itself, and does not return (coaching.py, line {line})"
    )
    assert found["hint"] == GUARD
    assert found["seconds"] < 20


def test_a_server_on_the_port_of_the_app(tmp_path: Path) -> None:
    """The supervisor has bound that port already: not this is the mistake."""
    source = (
        "import socket, waitress\nheld = socket.create_server(('127.0.0.1', 0))\n"
        "waitress.serve(print, host='127.0.0.1', port=held.getsockname()[1])"
    )
    found = run_import(tmp_path, source)
    assert found["type"] == "OSError"
    assert found["hint"] == f"waitress.serve() serves by itself: {GUARD}"


SLOW = """
import os, time
while not os.path.exists("go"):
    time.sleep(0.05)
"""


def test_an_import_that_takes_long_says_where_it_is(project: Project) -> None:
    """The page, health and `status` name the file and the line of the app, as long as it lasts."""
    port = project.app("coach", "import driver\n" + FLASK)
    project.file("coach", "driver.py").write_text(SLOW)
    running = project.start()
    place = "its import takes long; it is at driver.py, line 4"
    running.wait_for("coach", state="starting", serving="stand-in", says=place)
    assert place in ask(port, accept="text/html").text
    assert place in project.command("status").stdout
    os.close(os.open(project.file("coach", "go"), os.O_CREAT))
    running.wait_for("coach", state="ready", reason=None)
    assert ask(port).text == "served"
