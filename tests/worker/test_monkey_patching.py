"""Apps that replace parts of Python when they are imported: served, or refused with what to do."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import Project, ask, eventually
from packages import install
from peer import plain_waitress

APP = """
import sys, warnings
sys.path.append({folder!r})
warnings.simplefilter("ignore")
{patch}
import threading, time
from flask import Flask

app = Flask(__name__)
turns = []


def background():
    while True:
        turns.append(1)
        time.sleep(0.05)


threading.Thread(target=background, daemon=True).start()


@app.get("/")
def index():
    return "served"


@app.get("/turns")
def count():
    return str(len(turns))


@app.get("/slow")
def slow():
    time.sleep(1)
    return "slow"
"""
GREEN = {
    "gevent": ("from gevent import monkey; monkey.patch_all()", "gevent.monkey.patch_all()"),
    "eventlet": ("import eventlet; eventlet.monkey_patch()", "eventlet.monkey_patch()"),
}
PARTLY = {
    "gevent": "from gevent import monkey; monkey.patch_all(thread=False)",
    "eventlet": "import eventlet; eventlet.monkey_patch(thread=False)",
}
WITHOUT_THREADS = """
import threading
from flask import Flask
app = Flask(__name__)
threading.Thread.start = lambda self: None
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with gevent and eventlet, which are no dependencies of the tests."""
    return install(tmp_path_factory.mktemp("libraries"), "gevent", "eventlet")


def source(libraries: Path, patch: str) -> str:
    """Return an app that patches Python first."""
    return APP.format(folder=str(libraries), patch=patch)


@pytest.mark.parametrize("python", [None, sys.executable], ids=["forked", "python"])
@pytest.mark.parametrize("library", GREEN)
def test_green_threads_are_refused(
    project: Project, libraries: Path, library: str, python: str | None
) -> None:
    """The port says what to remove, `check` too; without it the app starts."""
    patch, call = GREEN[library]
    keys = {} if python is None else {"python": python}
    port = project.app("coach", source(libraries, patch), **keys)
    running = project.start()
    failed = running.wait_for("coach", serving="stand-in", says=call)
    assert "thread=False" in failed["hint"]
    assert ask(port).status == 503
    done = project.command("check", "coach")
    assert done.returncode == 1
    assert call in done.stdout
    project.file("coach").write_text(source(libraries, ""))
    running.wait_for("coach", state="ready")
    assert ask(port).text == "served"


@pytest.mark.parametrize("library", PARTLY)
def test_other_patches_are_served(project: Project, libraries: Path, library: str) -> None:
    """An app that patches sockets, select and sleep, but not threads, is served as by hand."""
    port = project.app("coach", source(libraries, PARTLY[library]), threads=4)
    running = project.start()
    pid = running.worker("coach")
    before = int(ask(port, "/turns").text)
    eventually(lambda: int(ask(port, "/turns").text) > before + 40)  # two seconds of heartbeats
    with ThreadPoolExecutor(8) as executor:
        answers = list(executor.map(lambda _: ask(port, "/slow"), range(8)))
    assert {answer.text for answer in answers} == {"slow"}
    assert max(answer.seconds for answer in answers) < 5
    assert running.worker("coach") == pid
    assert running.stop() == 0
    assert "Traceback" not in running.log


def test_green_threads_of_one_app_fail_its_whole_process(project: Project, libraries: Path) -> None:
    """The apps beside it could not be served: their ports name the app's call too."""
    patch, call = GREEN["gevent"]
    green = source(libraries, patch)
    ports = {
        "first": project.app("first", path=".", target="first.first:app", process="both"),
        "green": project.app("green", green, path=".", target="green.green:app", process="both"),
    }
    running = project.start()
    for name, port in ports.items():
        running.wait_for(name, serving="stand-in", says=call)
        assert ask(port).status == 503


SERVERS = {
    "gevent": (
        "from gevent.pywsgi import WSGIServer; WSGIServer(('127.0.0.1', 0), app).serve_forever()",
        "serve_forever() of gevent",
    ),
    "eventlet": (
        "import eventlet.wsgi; eventlet.wsgi.server(eventlet.listen(('127.0.0.1', 0)), app)",
        "eventlet.wsgi.server()",
    ),
}


@pytest.mark.parametrize("library", SERVERS)
def test_a_server_of_green_threads_at_the_import(
    project: Project, libraries: Path, library: str
) -> None:
    """It is named within seconds, although another greenlet runs then."""
    serve, call = SERVERS[library]
    project.app("coach", source(libraries, "") + serve + "\n")
    running = project.start()
    running.wait_for("coach", serving="stand-in", says=f"ServesAtImport: {call} serves by itself")


def test_plain_waitress_serves_green_threads(libraries: Path, tmp_path: Path) -> None:
    """So the app is no broken one: what keeps it from being served here is said, not hidden."""
    (tmp_path / "green.py").write_text(source(libraries, GREEN["gevent"][0]))
    with plain_waitress("green:app", folder=tmp_path) as port:
        assert ask(port).text == "served"


def test_an_app_whose_threads_do_not_run_is_never_ready(project: Project) -> None:
    """A worker that can't answer a request doesn't say that it is ready."""
    port = project.app("coach", WITHOUT_THREADS)
    running = project.start()
    eventually(lambda: "threads" in (running.app("coach")["reason"] or ""), timeout_s=30)
    assert ask(port).status == 503
    assert "ready on http://127.0.0.1:%d" % port not in running.log  # noqa: UP031
