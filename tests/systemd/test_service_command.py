"""What `service` refuses before it does anything; tests/systemd/inside has what it does."""

import os
import pwd
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from harness import REPOSITORY, Project
from operating_case import NOBODY, open_folder, run_as

from supervisor.config import reader as configuration
from supervisor.files.state_dir import StateDir
from supervisor.systemd import preflight, unit_file
from supervisor.systemd.unit_file import Machine
from supervisor.values.errors import SupervisorError

MACHINE = Machine(
    user=pwd.getpwuid(NOBODY).pw_name,
    group="nogroup",
    login=False,
    command=("/bin/true",),
    code=(Path("/opt"),),
    systemd_version=252,
)


def test_show_prints_what_would_be_written(project: Project) -> None:
    """The unit and its drop-in, each below the name of its file."""
    project.app("coach", writable=["/srv/photos"])
    done = project.command("service", "show")
    assert done.returncode == 0, done.stderr
    assert f"# {unit_file.FOLDER / unit_file.UNIT}" in done.stdout
    assert unit_file.shipped() in done.stdout
    assert f"# {unit_file.INSTALLATION}" in done.stdout
    assert "ReadWritePaths=-/srv/photos" in done.stdout
    assert f"run --last-good-config --config {project.config}" in done.stdout


def test_show_for_an_unknown_user(project: Project) -> None:
    """There is no unit for a user who isn't there."""
    project.app("coach")
    done = project.command("service", "show", "--user", "nobody-here")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no user nobody-here" in done.stderr


@pytest.mark.root
@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_only_root_may(command: str) -> None:
    """Other users get the command to repeat; nothing is done."""
    with open_folder() as folder:
        project = Project(folder)
        project.app("coach")
        project.write()
        done = run_as(NOBODY, folder, "service", command, "-c", "my apps.toml")
    assert done.returncode == 1
    assert f"cannot {command} the service: only root may" in done.stderr
    assert "repeat it as: sudo " in done.stderr
    assert f"service {command} -c 'my apps.toml'" in done.stderr


@pytest.mark.root
def test_without_systemd_there_is_no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container, or under another init, the hint is to run in the foreground."""
    monkeypatch.setattr(preflight, "is_available", lambda: False)
    with pytest.raises(SupervisorError) as caught:
        preflight.require_root_and_systemd("install the service")
    assert "systemd does not run this machine" in caught.value.message
    assert "flask-supervisor run" in str(caught.value.hint)


def look(folder: Path, machine: Machine = MACHINE) -> list[str]:
    """Check the project in ``folder`` as the service's user."""
    return preflight.check_folders(configuration.load(folder / "supervisor.toml"), machine)


@pytest.fixture
def open_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the interpreter and the code by ones that every user may read."""
    monkeypatch.setattr("sys.executable", "/usr/bin/python3")
    monkeypatch.setattr(preflight, "__file__", "/usr/lib/x/preflight.py")


@pytest.mark.root
def test_a_folder_that_the_user_cannot_read(open_interpreter: None) -> None:
    """The error names the closed folder, its owner, and the app that needs it."""
    with open_folder() as folder:
        project = Project(folder)
        project.app("coach")
        project.write()
        (folder / "coach").chmod(0o700)
        with pytest.raises(SupervisorError) as caught:
            look(folder)
    assert (
        f"its user nobody may not read {folder}/coach, which belongs to root and which app coach "
        "needs" in caught.value.message
    )
    assert "--user root" in str(caught.value.hint)


@pytest.mark.root
def test_a_configuration_that_the_user_cannot_read(open_interpreter: None) -> None:
    """A configuration that only root may read is refused for another user."""
    with open_folder() as folder:
        project = Project(folder)
        project.app("coach")
        project.write().chmod(0o600)
        with pytest.raises(SupervisorError) as caught:
            look(folder)
    assert "which the service needs" in caught.value.message


@pytest.mark.root
def test_code_that_the_user_cannot_replace(open_interpreter: None) -> None:
    """Another user's code is served; a note says that deploys can't change it."""
    with open_folder() as folder:
        project = Project(folder)
        project.app("coach")
        project.app("own")
        project.write()
        shutil.chown(folder / "own", NOBODY)
        notes = look(folder)
        assert len(notes) == 1
        assert f"nobody may read {folder}/coach, but not replace files there" in notes[0]
        assert f"sudo chown -R nobody: {folder}/coach" in notes[0]


@pytest.mark.root
def test_a_missing_folder_is_no_barrier(open_interpreter: None) -> None:
    """The check of the configuration reports a missing folder, not this one."""
    with open_folder() as folder:
        project = Project(folder)
        project.app("coach", path="not-there-yet")
        project.write()
        assert look(folder) == []


@pytest.mark.root
def test_a_state_folder_of_somebody_else(open_interpreter: None) -> None:
    """Another user's state folder is refused, with both remedies."""
    with open_folder() as folder:
        project = Project(folder)
        project.app("coach")
        project.write()
        (folder / ".flask-supervisor").mkdir()
        with pytest.raises(SupervisorError) as caught:
            look(folder)
        assert "belongs to root, and the service runs as nobody" in caught.value.message
        assert f"chown -R nobody: {folder}/.flask-supervisor" in str(caught.value.hint)
        assert look(folder, replace(MACHINE, user="root", group="root")) == []


def test_data_is_deleted_by_name(tmp_path: Path) -> None:
    """Only the supervisor's own entries of the state folder are deleted."""
    for name in ("lock", "data", "photos"):
        (tmp_path / name).touch()
    assert [path.name for path in StateDir(tmp_path).entries()] == ["lock", "data"]


def test_the_script_of_the_readme_is_there() -> None:
    """The script is executable, and the README and the guide name it."""
    assert os.access(REPOSITORY / "install.sh", os.X_OK)
    for page in ("README.md", "docs/raspberry-pi.md"):
        assert "/install.sh" in (REPOSITORY / page).read_text(encoding="utf-8")


@pytest.mark.root
def test_an_interpreter_in_a_closed_home(
    open_interpreter: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the interpreter and the closed folder, also behind a link, as in a venv."""
    with open_folder() as folder:
        project = Project(folder)
        project.app("coach")
        project.write()
        home = folder / "pi"
        (home / "bin").mkdir(parents=True)
        (home / "bin" / "python3").write_text("")
        home.chmod(0o700)
        (folder / "venv").mkdir()
        (folder / "venv" / "python3").symlink_to(home / "bin" / "python3")
        for interpreter in (home / "bin" / "python3", folder / "venv" / "python3"):
            monkeypatch.setattr("sys.executable", str(interpreter))
            with pytest.raises(SupervisorError) as caught:
                look(folder)
            assert f"may not read {home}, which belongs to root" in caught.value.message
            assert f"the service's interpreter {interpreter} needs" in caught.value.message
