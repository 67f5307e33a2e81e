"""``flask-supervisor check``: problems of an app, reported before anything is served."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from harness import GOOD_APP, Project, free_ports, process_in_test
from operating_case import HOLDER, wait_until_ready

BROKEN = {
    "syntax error": (
        "import os\ndef index(:\n    pass\n",
        "SyntaxError: invalid syntax (coach.py, line 2)",
    ),
    "missing module": (
        "import os\nfrom field_trainer.settings_manager import SettingsManager\n",
        "ModuleNotFoundError: No module named 'field_trainer' (coach.py, line 2)",
    ),
    "sys.exit()": (
        "import sys\nsys.exit('no sensor')\n",
        "SystemExit: sys.exit('no sensor') was called (coach.py, line 2)",
    ),
    "os._exit(3)": ("import os\nos._exit(3)\n", "exit code 3"),
    "os._exit(0)": ("import os\nos._exit(0)\n", "exit code 0"),
    "segmentation fault": ("import ctypes\nctypes.string_at(0)\n", "killed by SIGSEGV"),
    "endless loop": (
        "while True:\n    pass\n",
        "ImportTimeout: the import took longer than 0.4 s (coach.py, line ",
    ),
    "endless loop in C": ("sum(range(10**18))\n", "within 2.4 s"),
    "target attribute missing": (
        "from flask import Flask\napplication = Flask(__name__)\n",
        "TargetError: module coach has no attribute 'app'",
    ),
    "target not callable": ("app = 5001\n", "coach:app is an int, not a WSGI app"),
    "thread that never ends": (
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(3600,)).start()\n1 / 0\n",
        "ZeroDivisionError: division by zero (coach.py, line 3)",
    ),
}


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return what lies under ``folder``, with size, time of change and inode of each entry."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        found[str(path)] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return found


@pytest.mark.parametrize(("source", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_app_is_found_before_it_is_served(
    project: Project, source: str, reason: str
) -> None:
    """Exit code 1, the reason with file and line as a monitor would see it, and no process left."""
    project.app("neighbour")
    project.app("coach", source, import_timeout_s=0.4)
    found = project.command("check")
    assert found.returncode == 1, found.stderr
    lines = found.stdout.splitlines()
    assert lines[0].startswith("neighbour: ok, imported in ")
    assert lines[1].startswith("coach: ")
    assert reason in lines[1]
    assert "coach" in lines[-1]
    assert not project.processes()


def test_the_report_as_json(project: Project) -> None:
    """``--json`` prints one document with the whole report, whatever the app prints itself."""
    project.app("neighbour", "print('hello')\n" + GOOD_APP.format(text="neighbour"))
    project.app("coach", "import os\nprint('{')\nos.system('echo }')\nimport fild\n")
    project.file("coach", "field.py").write_text("")
    found = project.command("check", "--json")
    assert found.returncode == 1
    document = json.loads(found.stdout)
    assert document["ok"] is False
    assert document["problems"] == []
    assert document["apps"]["neighbour"]["ok"] is True
    assert document["apps"]["neighbour"]["seconds"] >= 0
    coach = document["apps"]["coach"]
    assert coach["ok"] is False
    assert coach["reason"] == "ModuleNotFoundError: No module named 'fild' (coach.py, line 4)"
    assert coach["hint"].startswith("did you mean field? Else ")
    report = coach["report"]
    assert report["type"] == "ModuleNotFoundError"
    assert report["message"] == "No module named 'fild'"
    assert (report["file"], report["line"]) == ("coach.py", 4)
    assert report["missing_module"] == "fild"
    assert "import fild" in report["traceback"]
    assert report["seconds"] >= 0


def test_all_is_well(project: Project) -> None:
    """Exit code 0 when every app can be imported; disabled ones aren't checked."""
    project.app("admin")
    project.app("coach")
    project.app("off", "1 / 0\n", enabled=False)
    found = project.command("check")
    assert found.returncode == 0, found.stderr
    for name in ("admin", "coach"):
        assert f"{name}: ok, imported in " in found.stdout
    assert "off" not in found.stdout.replace(str(project.folder), "")
    as_json = json.loads(project.command("check", "--json").stdout)
    assert as_json["ok"] is True
    assert list(as_json["apps"]) == ["admin", "coach"]


EIGHT = {
    "coach.py": "import no_one\nfrom field.settings import Settings\nfrom field import games\n",
    "field/__init__.py": "",
    "field/games.py": "import os, no_two\nfrom . import no_three\nimport field.registry\n",
    "field/registry.py": "from .no_four.deep import x\nfrom .mail import send\nimport no_five\n",
    "field/mail.py": "from .no_six import y\nfrom .no_seven import *\nimport os.path\n",
}


def test_all_that_is_missing_is_named_in_one_run(project: Project) -> None:
    """Eight modules in four files, each hidden by the one before: no second run is needed."""
    project.app("coach")
    for name, text in EIGHT.items():
        project.file("coach", name).parent.mkdir(exist_ok=True)
        project.file("coach", name).write_text(text, encoding="utf-8")
    found = project.command("check", "coach")
    assert (found.returncode, found.stderr) == (1, "")
    wanted = {
        "coach.py:1": "no_one",
        "coach.py:2": "field.settings",
        "field/games.py:1": "no_two",
        "field/games.py:2": "field.no_three",
        "field/registry.py:1": "field.no_four",
        "field/registry.py:3": "no_five",
        "field/mail.py:1": "field.no_six",
        "field/mail.py:2": "field.no_seven",
    }
    lines = found.stdout.splitlines()
    for place, module in wanted.items():
        name = module.rpartition(".")[2]
        assert any(f"{place}:" in line and name in line for line in lines), place
    missing = json.loads(project.command("check", "--json").stdout)["apps"]["coach"]["missing"]
    assert {f"{one['file']}:{one['line']}": one["module"] for one in missing} == wanted


def test_pip_is_that_of_the_supervisor(project: Project) -> None:
    """Where the shell would find another pip, or none, the hint has the path of the right one."""
    project.app("coach", "import no_one\n")
    own = Path(sys.executable).with_name("pip")
    for path, shown in ((f"{own.parent}:/usr/bin", "pip"), ("/usr/bin:/bin", str(own))):
        found = project.command("check", "coach", env={"PATH": path})
        assert f"or install the package: {shown} install no_one\n" in found.stdout


def test_ports_that_are_taken(project: Project) -> None:
    """A port with another holder is a problem, for the named apps only; our own ports pass."""
    project.app("admin")
    port = project.app("coach")
    with process_in_test(project, HOLDER, f"127.0.0.1:{port}") as holder:
        assert holder.stdout.readline() == "listening\n"
        found = project.command("check")
        assert found.returncode == 1
        assert f"port of coach: port {port} is in use by pid {holder.pid} (" in found.stdout
        assert f"kill {holder.pid}" in found.stdout
        assert project.command("check", "admin").returncode == 0
        document = json.loads(project.command("check", "coach", "--json").stdout)
        assert (document["ok"], document["apps"]["coach"]["ok"]) == (False, True)
        assert [one["status"] for one in document["ports"]] == ["fail"]
    wait_until_ready(project.start(), "admin", "coach")
    held = project.command("check")
    assert held.returncode == 0, held.stdout
    assert "no problems" in held.stdout


def test_the_named_apps_alone_are_checked(project: Project) -> None:
    """A check of one app doesn't report another broken one."""
    project.app("admin")
    project.app("coach", "1 / 0\n")
    assert project.command("check", "admin").returncode == 0
    found = project.command("check", "coach", "--json")
    assert found.returncode == 1
    assert list(json.loads(found.stdout)["apps"]) == ["coach"]


def test_an_unknown_app_is_wrong_usage(project: Project) -> None:
    """Exit code 2, and the names of the apps."""
    project.app("admin")
    project.app("coach")
    found = project.command("check", "couch")
    assert found.returncode == 2
    assert "couch" in found.stderr
    assert "admin, coach" in found.stderr
    assert not found.stdout


def test_an_invalid_configuration_shows_every_problem(project: Project) -> None:
    """Exit code 1 with all mistakes at once, as text and as JSON."""
    project.app("admin", threats=4)
    project.app("coach", threads="many", port=project.port("admin"))
    project.app("2nd", port=70000)
    project.bind["factor"] = 0
    wanted = ["apps.admin.threats", "apps.coach.threads", "apps.coach.port", "apps.2nd", "70000"]
    wanted += ["bind.factor", "threads"]
    found = project.command("check")
    assert found.returncode == 1
    assert not found.stdout
    for part in wanted:
        assert part in found.stderr
    as_json = project.command("check", "--json")
    assert as_json.returncode == 1
    document = json.loads(as_json.stdout)
    assert document["ok"] is False
    assert document["apps"] == {}
    for part in wanted:
        assert part in "\n".join(document["problems"])


@pytest.mark.parametrize("text", ["[apps", "", "[apps.coach]\n", b"\xff\xfd"])
def test_a_file_that_is_no_configuration(project: Project, text: str | bytes) -> None:
    """Exit code 1 and the file's name, whatever it holds; no traceback.

    `status` needs only its state folder: a supervisor may run on an earlier configuration.
    """
    file = project.folder / "other.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    for command in ("check", "run", "status"):
        found = subprocess.run(
            [sys.executable, "-m", "supervisor", command, "--config", str(file)],
            capture_output=True,
            text=True,
            timeout=30,
            env=project.environment(),
            check=False,
        )
        assert found.returncode == 1
        readable = command == "status" and text in ("", "[apps.coach]\n")
        wanted = f"{project.folder}/.flask-supervisor" if readable else f"{file}: "
        assert wanted in found.stderr
        assert "Traceback" not in found.stderr


def test_a_check_changes_nothing(project: Project) -> None:
    """An app that writes its data while it is imported writes none of the real data in a check."""
    writes = """
import os, pathlib
folder = pathlib.Path(os.environ["FLASK_SUPERVISOR_DATA_DIR"])
assert folder.is_dir()
for old in folder.iterdir():
    old.unlink()
(folder / "database").write_text("new")
"""
    project.app("coach", writes + GOOD_APP.format(text="coach"))
    state = project.folder / ".flask-supervisor"
    assert project.command("check").returncode == 0
    assert not state.exists()
    data = state / "data" / "coach"
    data.mkdir(parents=True)
    (data / "database").write_text("old")
    before = tree(state)
    temporary = project.folder / "tmp"
    temporary.mkdir()
    assert project.command("check", env={"TMPDIR": str(temporary)}).returncode == 0
    assert tree(state) == before
    assert (data / "database").read_text() == "old"
    assert not list(temporary.iterdir())


def test_a_check_beside_a_running_supervisor_disturbs_nobody(project: Project) -> None:
    """The apps go on serving, and ports and control socket stay the supervisor's."""
    project.app("coach", control=True)
    running = project.start()
    worker = running.worker("coach")
    assert project.command("check").returncode == 0
    assert running.worker("coach") == worker
    assert project.command("status").returncode == 0


def test_a_child_of_the_checked_app_does_not_outlive_the_check(project: Project) -> None:
    """A process that the import starts is killed with it, even if it keeps the pipes open."""
    starts = "import subprocess\nsubprocess.Popen(['sleep', '3600'])\n"
    project.app("coach", starts + GOOD_APP.format(text="coach"))
    project.app("broken", starts + "1 / 0\n", port=free_ports(1)[0])
    assert project.command("check", timeout_s=20).returncode == 1
    assert not project.processes()


@pytest.mark.parametrize("own_python", [False, True])
def test_what_an_app_prints_is_shown_without_secrets(project: Project, own_python: bool) -> None:
    """Its output comes line by line, cut and without secrets, before its outcome."""
    source = """
import os, subprocess, sys
secret = os.environ["API_TOKEN"]
print("the import says", secret, "é")
sys.stderr.write("half a line ")
sys.stderr.flush()
subprocess.run([sys.executable, "-c", "print('a child says', " + repr(secret) + ")"])
print("x" * 300_000)
raise RuntimeError("refused " + secret)
"""
    python = {"python": sys.executable} if own_python else {}
    project.app("coach", source, env={"API_TOKEN": "correct-horse-battery"}, **python)
    found = project.command("check", env={"PYTHONIOENCODING": "ascii:strict"})
    assert found.returncode == 1
    lines = found.stderr.splitlines()
    assert lines[0] == "the import says (hidden) \\xe9"
    assert lines[1] == "half a line a child says (hidden)"
    assert lines[2].endswith(f"({300_000 - 8192} bytes more)")
    assert len(lines) == 3
    assert "coach: RuntimeError: refused (hidden)" in found.stdout
    assert "battery" not in found.stdout + found.stderr


SIGNED = GOOD_APP + "app.config.update(SECRET_KEY={key!r}, SESSION_COOKIE_NAME={cookie!r})\n"


def test_session_cookies_that_overwrite_each_other_are_noted(project: Project) -> None:
    """Apps with the same cookie and different keys are named; no key is shown."""
    cookies = {
        "admin": ("one-key", "session"),
        "coach": ("other-key", "session"),
        "twin": ("one-key", "session"),
        "own": ("third-key", "own_session"),
    }
    for name, (key, cookie) in cookies.items():
        project.app(name, SIGNED.format(text=name, key=key, cookie=cookie))
    found = project.command("check", "--json")
    document = json.loads(found.stdout)
    assert found.returncode == 0
    [note] = document["notes"]
    assert note.startswith("admin and coach both use the cookie 'session', which browsers send to")
    assert "session_cookie" not in document["apps"]["admin"]
