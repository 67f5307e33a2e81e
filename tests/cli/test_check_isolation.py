"""``flask-supervisor check`` changes nothing, whatever the apps do while they are imported."""

import grp
import json
import os
import pwd
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import flask
import pytest
from grouping import REGISTRY, Field
from harness import GOOD_APP, Project, Running, ask, eventually
from operating_case import NOBODY, open_project, run_as

from supervisor.health.check_isolation import Isolation
from supervisor.process import private_mounts
from supervisor.process.throwaway import call_in_child

# Writes in every way: by Python, by C code, by a program that it starts, and beside its own folder.
WRITES = """
import os, shutil, sqlite3, subprocess, time
from pathlib import Path
here = Path(__file__).parent
database = sqlite3.connect(here / "data.db")
database.execute("create table if not exists starts (at)")
database.execute("insert into starts values (1)")
database.commit()
(here / "log").write_text("started")
(here / "config" / "settings").write_text("new")
subprocess.run(["sh", "-c", "echo new >> log2; chmod 777 config; rm -f old"], cwd=here, check=True)
subprocess.run(["sh", "-c", "echo new >> other.py"], cwd=here.parent / "neighbour", check=True)
shutil.copy(__file__, here / "copy.py")
(here / "unique").write_text("")
os.link(here / "unique", here / "lock")
os.unlink(here / "unique")
os.unlink(here / "lock")
if os.fork() == 0:  # a daemon
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
"""
# Is checked after the app above, and sees what is there.
NEIGHBOUR = """
import os
if "flask-supervisor-check" in os.environ["FLASK_SUPERVISOR_DATA_DIR"]:
    assert open(os.path.join(os.path.dirname(__file__), "other.py")).read().split() == ["new"]
"""
# Notes each of its imports, outside of all folders of apps.
COUNTED = """
import os
with open(os.environ["COUNT"], "a") as stream:
    stream.write("x")
"""


def state_of(folder: Path) -> dict[str, Any]:
    """Return everything below a folder: content, mode, owner and time of each file."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else None
        ids = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns)
        found[str(path)] = (content, *ids)
    return found


def can_mount(folder: Path) -> str | None:
    """Return why this user can't have mounts of its own, None if it can."""
    scratch = folder / "mounts"
    scratch.mkdir()
    shown = folder / "shown"
    shown.mkdir()
    found = call_in_child(private_mounts.why_not, [str(shown)], str(scratch), timeout_s=30)
    return None if found is None else str(found)


@pytest.mark.root
def test_a_running_system_is_not_changed() -> None:
    """Checked as root and as its user, not a byte, mode or owner in its apps' folders changes."""
    with open_project() as project:
        if reason := can_mount(project.folder):
            pytest.skip(f"this machine allows no mounts: {reason}")
        port = project.app("coach", WRITES + GOOD_APP.format(text="coach"))
        project.app("neighbour", NEIGHBOUR + GOOD_APP.format(text="neighbour"))
        project.file("coach", "config").mkdir()
        for name in ("config/settings", "old", "data.db"):
            project.file("coach", name).write_bytes(b"")
        running = project.start()
        running.worker("coach")
        running.worker("neighbour")
        folders = [project.folder / name for name in project.apps]
        before = [state_of(folder) for folder in folders]
        processes = project.processes()
        done = project.command("check")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == "", "it can promise that nothing is written"
        assert [state_of(folder) for folder in folders] == before
        assert set(project.processes()) <= set(processes), "no daemon of a check is left"
        running.stop()
        for path in (project.folder, *project.folder.rglob("*")):
            os.chown(path, NOBODY, pwd.getpwuid(NOBODY).pw_gid, follow_symlinks=False)
        before = [state_of(folder) for folder in folders]
        done = run_as(NOBODY, project.folder, "check")
        assert done.returncode == 0, done.stdout + done.stderr
        assert [state_of(folder) for folder in folders] == before
        assert port


@pytest.mark.root
def test_a_child_of_root_is_the_other_user() -> None:
    """With its groups, its home, and its own /proc; the parent stays root."""
    name = pwd.getpwuid(NOBODY).pw_name
    found = Isolation(name, groups=("daemon",)).call(who, timeout_s=30)
    entry = pwd.getpwuid(NOBODY)
    wanted = [[NOBODY] * 3, [entry.pw_gid] * 3, entry.pw_dir, entry.pw_name, NOBODY, True]
    assert found == wanted
    assert os.getuid() == 0


def who() -> list[Any]:
    """Return who this process is."""
    has_group = grp.getgrnam("daemon").gr_gid in os.getgroups()
    proc = os.stat("/proc/self/environ").st_uid
    return [os.getresuid(), os.getresgid(), os.environ["HOME"], os.environ["USER"], proc, has_group]


def test_the_temporary_folder_may_not_lie_in_the_app(tmp_path: Path) -> None:
    """A folder for temporary files in the app's own is refused, by its name."""
    found = call_in_child(private_mounts.why_not, [str(tmp_path)], str(tmp_path), timeout_s=30)
    assert str(tmp_path) in found


def counted(project: Project) -> int:
    """Return how often the app was imported."""
    return len((project.folder / "count").read_text())


@pytest.fixture
def counting(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose apps note each import of theirs."""
    monkeypatch.setenv("COUNT", str(project.folder / "count"))
    return project


def test_an_app_that_can_not_run_twice_is_read(counting: Project) -> None:
    """While it runs, its files are read, and what they lack is named; stopped, it is imported."""
    project = counting
    project.app("coach", COUNTED + GOOD_APP.format(text="coach"), reload="replace")
    running = project.start()
    running.worker("coach")
    assert counted(project) == 1
    found = project.command("check")
    assert found.returncode == 0, found.stdout
    assert "coach: ok, read but not imported, since it runs and can't run twice" in found.stdout
    project.file("coach").write_text("import gpio_zero\n" + COUNTED)
    document = json.loads(project.command("check", "--json").stdout)["apps"]["coach"]
    assert (document["ok"], document["only_read"]) == (False, True)
    assert [one["module"] for one in document["missing"]] == ["gpio_zero"]
    assert counted(project) == 1
    project.file("coach").write_text(COUNTED + GOOD_APP.format(text="coach"))
    assert project.command("stop", "coach").returncode == 0
    assert "coach: ok, imported in " in project.command("check").stdout
    assert counted(project) == 2


def test_an_app_that_binds_its_port_is_read(counting: Project) -> None:
    """With the apps that share its modules; whoever started it, the supervisor or a person."""
    project = counting
    field = Field.make(project)
    field.write("registry", COUNTED + REGISTRY)
    running = project.start()
    running.worker("devices")
    apps = json.loads(project.command("check", "--json").stdout)["apps"]
    assert {name: app["only_read"] for name, app in apps.items()} == dict.fromkeys(apps, True)
    assert len(apps) == 3
    running.stop()
    by_hand = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1"]
    with subprocess.Popen([*by_hand, str(field.devices_port)], stderr=subprocess.DEVNULL) as other:
        eventually(lambda: ask(field.devices_port).status == 200)
        found = project.command("check", "devices", "--json")
        other.kill()
    assert json.loads(found.stdout)["apps"]["devices"]["only_read"] is True
    assert counted(project) == 1


@pytest.fixture
def own_python(tmp_path: Path) -> Path:
    """An interpreter with a package that only it has, and the Flask of this one."""
    folder = tmp_path / "own"
    venv.create(folder, symlinks=True)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "gpio_zero.py").write_text("LED = 17\n")
    (packages / "flask.pth").write_text(f"{Path(flask.__file__).parents[1]}\n")
    return folder / "bin" / "python"


def health_of(running: Running, check: str) -> Any:
    """Wait until a check has run, and return its outcome."""
    return eventually(lambda: running.health()["checks"].get(check))


def test_an_app_with_its_own_interpreter_finds_its_modules(
    project: Project, own_python: Path
) -> None:
    """Reading, reloads, deploys and requirements look where that interpreter does."""
    source = "import gpio_zero\n" + GOOD_APP.format(text="coach")
    requires: list[dict[str, Any]] = [
        {"kind": "module", "name": name} for name in ("gpio_zero", "flask", "structlog.x")
    ]
    requires[2]["critical"] = False
    keys = {"python": str(own_python), "reload": "replace", "deploy_watch_s": 0.1}
    project.app("coach", source, requires=requires, **keys)
    running = project.start()
    worker = running.worker("coach")
    found = project.command("check")
    assert found.returncode == 0, found.stdout
    assert "read but not imported" in found.stdout
    assert "requires module gpio_zero: ok" in found.stdout
    assert "requires module structlog.x: there is no module structlog.x" in found.stdout
    assert health_of(running, "coach: module gpio_zero")["status"] == "pass"
    done = project.command("reload", "coach")
    assert done.returncode == 0, done.stderr
    assert running.worker("coach") != worker
    new = project.folder / "coach.py"
    for module, code in (("gpio_zero", 0), ("gpio_one", 1)):
        new.write_text(f"import {module}\n" + GOOD_APP.format(text="new"))
        done = project.command("deploy", "coach", str(new))
        assert done.returncode == code, done.stdout + done.stderr
    assert "no module named 'gpio_one'" in done.stderr
