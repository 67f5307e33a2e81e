"""Apps with a virtual environment of their own: real ones that pin Flask 2.3 and Flask 3.1."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Poller, Project, ask, eventually

from supervisor.worker.interpreter import InterpreterError, check_interpreter

PINS = {"old": ["flask==2.3.3", "werkzeug<3"], "new": ["flask==3.1.0"]}
INSTALL_TIMEOUT_S = 300

APP = """
import importlib.util, json, os, sys
from importlib.metadata import version
import flask

app = flask.Flask(__name__)

@app.get("/")
def index():
    return {
        "flask": version("flask"),
        "prefix": sys.prefix,
        "executable": sys.executable,
        "pid": os.getpid(),
        "found": [n for n in ("structlog", "prometheus_client") if importlib.util.find_spec(n)],
        "secret": os.environ.get("APP_SECRET"),
    }

@app.get("/slow")
def slow():
    import time
    time.sleep(2)
    return "slow"
"""


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Create the two virtual environments, once for all tests; yield their interpreters."""
    made = {}
    for name, pins in PINS.items():
        folder = tmp_path_factory.mktemp("environments") / name
        python = folder / "bin" / "python"
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", *pins],
        ):
            ended = subprocess.run(
                command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
            )
            assert ended.returncode == 0, ended.stderr
        made[name] = python
    yield made


def make_script(folder: Path, text: str) -> Path:
    """Write a program that claims to be a Python interpreter, and is none that works."""
    script = folder / "python"
    script.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    script.chmod(0o755)
    return script


def test_two_versions_side_by_side(project: Project, environments: dict[str, Path]) -> None:
    """Each app has the Flask of its own environment, and no package of the supervisor's."""
    for name, python in environments.items():
        project.app(name, APP, python=str(python))
    project.app("plain", APP)
    running = project.start()
    seen = {}
    for name in ("old", "new", "plain"):
        running.worker(name)
        seen[name] = ask(project.port(name)).json
    assert (seen["old"]["flask"], seen["new"]["flask"]) == ("2.3.3", "3.1.0")
    for name, python in environments.items():
        assert seen[name]["prefix"] == str(python.parent.parent)
        assert seen[name]["executable"] == str(python)
        assert seen[name]["found"] == []
        assert running.app(name)["pid"] == seen[name]["pid"]
    assert seen["plain"]["prefix"] == sys.prefix
    assert "structlog" in seen["plain"]["found"]


def test_a_reload_refuses_no_connection(project: Project, environments: dict[str, Path]) -> None:
    """The listener is kept, and requests in flight are answered, though a new program runs."""
    port = project.app("old", APP, python=str(environments["old"]))
    running = project.start()
    pid = running.worker("old")
    with Poller(port) as poller, Poller(port, rate=2, path="/slow") as slow:
        eventually(lambda: running.app("old")["requests"]["in_flight"] > 0)
        for _ in range(2):
            ended = project.command("reload", "old")
            assert ended.returncode == 0, ended.stderr
            new = running.worker("old")
            assert new != pid
            pid = new
    for one in (poller, slow):
        assert one.refused == 0 and not one.failed
        assert {answer.status for answer in one.answers} == {200}


def test_a_broken_import_names_file_and_line(
    project: Project, environments: dict[str, Path]
) -> None:
    """A reload of it is refused; at a start the port shows the reason until the repair."""
    port = project.app("old", APP, python=str(environments["old"]))
    running = project.start()
    pid = running.worker("old")
    project.file("old").write_text("\n\nraise RuntimeError('no antenna')\n")
    ended = project.command("reload", "old")
    assert ended.returncode == 1
    assert "RuntimeError: no antenna (old.py, line 3)" in ended.stderr
    assert ask(port).json["pid"] == pid
    os.kill(pid, signal.SIGKILL)
    running.wait_for("old", reason="RuntimeError: no antenna (old.py, line 3)", serving="stand-in")
    assert ask(port).status == 503
    project.file("old").write_text(APP)
    running.wait_for("old", state="ready", serving="app", timeout_s=30)


def test_what_it_prints_is_captured(project: Project, environments: dict[str, Path]) -> None:
    """Both streams are captured line by line, under the name of the app."""
    source = APP + "\nprint('to out ü')\nprint('to err', file=sys.stderr)\n"
    project.app("old", source, python=str(environments["old"]))
    running = project.start(env={"LC_ALL": "C"})
    running.worker("old")
    shown = project.command("logs", "old").stdout
    assert "to out ü" in shown and "to err" in shown


def test_its_end_is_like_any_other(project: Project, environments: dict[str, Path]) -> None:
    """A killed worker is replaced; a stop and a shutdown drain it and leave no process."""
    port = project.app("old", APP, python=str(environments["old"]))
    running = project.start()
    pid = running.worker("old")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: ask(port).json.get("pid", pid) != pid, timeout_s=30)
    running.worker("old")
    assert project.command("stop", "old").returncode == 0
    assert ask(port).status == 503
    assert project.command("start", "old").returncode == 0
    assert ask(port).status == 200
    assert running.stop() == 0


def test_it_dies_with_the_main_process(project: Project, environments: dict[str, Path]) -> None:
    """`SIGKILL` of the main process ends it, although it executed another program."""
    project.app("old", APP, python=str(environments["old"]))
    running = project.start()
    running.worker("old")
    running.kill()
    eventually(lambda: not project.processes(), what="no process is left")


def test_its_secrets_are_not_in_proc(project: Project, environments: dict[str, Path]) -> None:
    """Neither arguments nor environment of its process show the app's secrets."""
    port = project.app(
        "old", APP, python=str(environments["old"]), env={"APP_SECRET": "swordfish-99"}
    )
    running = project.start()
    pid = running.worker("old")
    assert ask(port).json["secret"] == "swordfish-99"
    for name in ("cmdline", "environ"):
        assert b"swordfish-99" not in Path(f"/proc/{pid}/{name}").read_bytes()
    assert Path(f"/proc/{pid}/comm").read_text().strip() == "fs-old"


def test_it_inherits_nothing_but_its_own(project: Project, environments: dict[str, Path]) -> None:
    """Of the supervisor's descriptors it has only its listener and its channel."""
    project.app("plain")
    project.app("old", APP, python=str(environments["old"]))
    running = project.start()
    running.worker("plain")
    pid = running.worker("old")
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    held = [link for link in links if link.startswith("socket:")]
    main = {
        os.readlink(f"/proc/{running.process.pid}/fd/{fd}")
        for fd in os.listdir(f"/proc/{running.process.pid}/fd")
    }
    assert len(set(held) & main) == 1, (held, main)
    assert not [link for link in links if link.startswith("/memfd")]


def test_apps_of_one_process_share_an_interpreter(
    project: Project, environments: dict[str, Path]
) -> None:
    """Apps of a group run on one interpreter; different ones are a configuration error."""
    for name in ("one", "two"):
        project.app(name, APP, python=str(environments["old"]), path="both", process="both")
        (project.folder / "both").mkdir(exist_ok=True)
        (project.folder / "both" / f"{name}.py").write_text(APP)
    running = project.start()
    pids = {running.worker(name) for name in ("one", "two")}
    assert len(pids) == 1
    for name in ("one", "two"):
        assert ask(project.port(name)).json["flask"] == "2.3.3"
    project.apps["two"]["python"] = str(environments["new"])
    ended = project.command("config", "check")
    assert ended.returncode == 1
    assert "apps.two.python" in ended.stdout + ended.stderr


def test_a_missing_package_is_not_taken_from_the_supervisor(
    project: Project, environments: dict[str, Path], tmp_path: Path
) -> None:
    """An environment without Flask has no Flask; once it is installed, the app starts."""
    folder = tmp_path / "empty"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(folder)],
        check=True,
        timeout=INSTALL_TIMEOUT_S,
    )
    port = project.app("bare", APP, python=str(folder / "bin" / "python"))
    running = project.start()
    says = "No module named 'flask'"
    found = running.wait_for("bare", says=says, serving="stand-in", timeout_s=30)
    assert "where its `python` is: bin/pip install flask" in found["hint"]
    assert ask(port).status == 503
    ended = project.command("check", "bare")
    assert ended.returncode == 1
    assert "flask" in ended.stdout
    packages = next(folder.glob("lib/python3*/site-packages"))
    source = next(environments["new"].parent.parent.glob("lib/python3*/site-packages"))
    (packages / "flask.pth").write_text(f"{source}\n")
    running.wait_for("bare", state="ready", timeout_s=40)
    assert ask(port).json["flask"] == "3.1.0"


def test_check_uses_its_interpreter(project: Project, environments: dict[str, Path]) -> None:
    """`check` finds what only that environment has, and names all that is missing there."""
    packages = next(environments["old"].parent.parent.glob("lib/python3*/site-packages"))
    (packages / "only_here.py").write_text("X = 1\n")
    project.app("old", "import only_here\n" + APP, python=str(environments["old"]))
    project.app("plain", "import only_here\n" + APP)
    project.app("new", "import structlog, nowhere_at_all\n" + APP, python=str(environments["new"]))
    assert project.command("check", "old").returncode == 0
    ended = project.command("check", "plain")
    assert ended.returncode == 1 and "only_here" in ended.stdout
    ended = project.command("check", "new")
    assert ended.returncode == 1
    assert "structlog" in ended.stdout and "nowhere_at_all" in ended.stdout


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("exit 3", "is no Python interpreter that works (exit code 3)"),
        ("echo hello", "is no Python interpreter that works (exit code 0)"),
        ("echo False 3.9.2 '(default)'", "is 3.9.2: 3.11 or newer is needed"),
    ],
)
def test_a_wrong_interpreter_has_its_own_reason(tmp_path: Path, text: str, reason: str) -> None:
    """An old one, one that fails, and one that is another program have different reasons."""
    with pytest.raises(InterpreterError) as caught:
        check_interpreter(make_script(tmp_path, text))
    assert reason in caught.value.message
    assert caught.value.hint is not None
    assert "virtual environment again" in caught.value.hint


def test_a_good_python_is_accepted() -> None:
    """The interpreter that runs the tests is accepted."""
    check_interpreter(Path(sys.executable))


@pytest.mark.parametrize("kind", ["missing", "folder", "not executable", "damaged"])
def test_a_wrong_interpreter_is_reported(project: Project, tmp_path: Path, kind: str) -> None:
    """The port shows the reason, others serve; once the interpreter works the app starts."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    if kind == "folder":
        python.mkdir()
    elif kind == "not executable":
        python.write_text("#!/bin/sh\n")
        python.chmod(0o644)
    elif kind == "damaged":  # its base is gone, as after an upgrade of the system
        python.symlink_to("/nowhere/python3.9")
    port = project.app("wrong", python=str(python))
    project.app("good")
    running = project.start()
    running.worker("good")
    found = running.wait_for("wrong", serving="stand-in", timeout_s=30)
    assert "cannot start the interpreter python of the app" in found["reason"]
    assert "`python`" in found["hint"]
    assert str(tmp_path) not in str(found)
    assert ask(port).status == 503
    ended = project.command("check", "wrong")
    assert ended.returncode == 1
    assert "cannot start the interpreter" in ended.stdout
    if kind == "missing":
        python.parent.rmdir()
        python.parent.parent.rmdir()
        python.parent.parent.symlink_to(sys.prefix)  # with its packages
        running.wait_for("wrong", state="ready", timeout_s=40)
