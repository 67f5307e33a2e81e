"""A broken configuration: the last one that worked replaces it, and commands restore it."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Project, Running, ask, eventually

from supervisor.config import last_good
from supervisor.config.history import ConfigHistory
from supervisor.values.errors import ConfigError

BROKEN: dict[str, Callable[[Path], object]] = {
    "syntax": lambda file: file.write_text(file.read_text() + "[apps.coach\n"),
    "value": lambda file: file.write_text(file.read_text().replace("port = ", 'port = "x"#')),
    "empty": lambda file: file.write_bytes(b""),
    "zeros": lambda file: file.write_bytes(bytes(500)),
    "no UTF-8": lambda file: file.write_bytes(b"\xff" * 500),
    "nested": lambda file: file.write_text("a = " + "[" * 100_000),
    "gone": lambda file: file.unlink(),
}


def make_history(project: Project) -> bytes:
    """Keep the project's configuration as one that came up; return its text."""
    text = project.write().read_bytes()
    state = project.supervisor.get("state_dir", ".flask-supervisor")
    ConfigHistory(project.folder / state / "config").keep(text)
    return text


@pytest.mark.parametrize("spoil", BROKEN.values(), ids=BROKEN)
def test_the_last_that_worked_is_found(project: Project, spoil: Callable[[Path], object]) -> None:
    """Whatever happened to the file, also if it no longer names its state folder."""
    project.app("coach")
    make_history(project)
    whole = last_good.load(project.config, {})
    assert whole.fallback is None
    spoil(project.config)
    found = last_good.load(project.config, {})
    assert found.fallback is not None
    assert found.fallback.reason.startswith("supervisor.toml can't be used (")
    assert str(project.folder) not in found.fallback.reason
    assert found.problems
    assert (found.apps, found.file, found.folder) == (whole.apps, whole.file, whole.folder)


@pytest.mark.parametrize("state_dir", ["state", "../elsewhere"])
def test_a_state_folder_of_its_own(project: Project, state_dir: str) -> None:
    """The history is found by the rest of the file, by a variable, or by systemd."""
    project.app("coach")
    project.supervisor["state_dir"] = state_dir
    make_history(project)
    folder = str(project.folder / state_dir)
    project.config.write_text(project.config.read_text() + "[apps.coach\n")
    assert last_good.load(project.config, {}).fallback
    project.config.write_text("")
    with pytest.raises(ConfigError):
        last_good.load(project.config, {})
    for name in ("FLASK_SUPERVISOR__SUPERVISOR__STATE_DIR", "STATE_DIRECTORY"):
        assert last_good.load(project.config, {name: folder}).fallback


def test_the_history_of_another_file_is_not_used(project: Project, tmp_path: Path) -> None:
    """A text that names another state folder than the one it was found in is ignored."""
    project.app("coach")
    text = project.write().read_text().replace("[supervisor]", '[supervisor]\nstate_dir = "other"')
    ConfigHistory(project.folder / ".flask-supervisor/config").keep(text.encode())
    project.config.write_text("")
    with pytest.raises(ConfigError):
        last_good.load(project.config, {})


def test_an_older_text_is_used_if_the_newest_is_invalid(project: Project) -> None:
    """The newest may need a variable or a file that is gone."""
    project.app("coach")
    first = make_history(project)
    newer = first.decode() + '\n[apps.coach.env]\nTOKEN = { file = "gone" }\n'
    ConfigHistory(project.folder / ".flask-supervisor/config").keep(newer.encode())
    project.config.write_text("broken")
    found = last_good.load(project.config, {})
    assert found.apps["coach"].env == {}
    assert found.text == first


def start_with_flag(project: Project) -> Running:
    """Start a supervisor with --last-good-config on the present file."""
    log = project.folder / f"log-{len(project.started)}"
    with log.open("wb") as stream:
        command = [sys.executable, "-m", "supervisor", "run", "--last-good-config"]
        process = subprocess.Popen(
            [*command, "--config", str(project.config)],
            stdout=stream,
            stderr=stream,
            stdin=subprocess.DEVNULL,
            env=project.environment(),
            cwd=project.folder,
        )
    running = Running(project, process, log)
    project.started.append(running)
    return running


def command(project: Project, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command on the present file."""
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *arguments, "--config", str(project.config)],
        capture_output=True,
        text=True,
        timeout=60,
        env=project.environment(),
        cwd=project.folder,
        check=False,
    )


def test_apps_are_served_with_the_last_good_configuration(project: Project) -> None:
    """With the flag the last good one is used; the log has all mistakes; commands work."""
    port = project.app("coach")
    make_history(project)
    project.config.write_text("[apps.coach]\nport = 70000\n")
    running = start_with_flag(project)
    running.wait_until_up()
    running.wait_for("coach", state="ready")
    assert ask(port).text == "coach\n"
    assert "apps.coach.port = 70000: must be a port number" in running.log
    assert "supervisor.toml can't be used (2 problems): the last configuration" in running.log
    status = command(project, "status")
    assert status.returncode == 0, status.stderr
    assert "check configuration: supervisor.toml can't be used (2 problems)" in status.stdout
    check = running.health()["checks"]["configuration"]
    assert (check["status"], check["critical"]) == ("warn", False)
    assert command(project, "restart", "coach").returncode == 0
    assert running.stop() == 0


def test_a_configuration_is_kept_before_anything_can_end_its_supervisor(project: Project) -> None:
    """At the start before a port answers, and at a reload before the command returns."""
    history = ConfigHistory(project.folder / ".flask-supervisor" / "config")
    project.app("coach")
    running = project.start()
    running.kill()
    assert history.is_newest(project.config.read_bytes())
    running = project.start()
    project.app("more")
    assert project.command("reload").returncode == 0
    running.kill()
    assert history.is_newest(project.config.read_bytes())
    assert len(history.entries()) == 2


def test_without_the_flag_a_broken_configuration_is_refused(project: Project) -> None:
    """An operator who starts it by hand sees the mistakes."""
    project.app("coach")
    make_history(project)
    project.config.write_text("broken")
    found = command(project, "run")
    assert found.returncode == 1
    assert "is not valid TOML" in found.stderr


def test_with_the_flag_and_no_history(project: Project) -> None:
    """The mistakes are reported as without the flag."""
    project.app("coach")
    project.config.write_text("broken")
    found = command(project, "run", "--last-good-config")
    assert found.returncode == 1
    assert "is not valid TOML" in found.stderr


# ---- commands


def test_the_history_is_listed(project: Project) -> None:
    """Newest first, with a mark at the one in the file; also as JSON; each can be printed."""
    project.app("coach")
    project.write()
    found = command(project, "config", "history")
    assert found.returncode == 0
    assert "the history is empty" in found.stdout
    first = make_history(project)
    project.app("admin")
    make_history(project)
    lines = command(project, "config", "history").stdout.splitlines()
    assert [line.split("-")[0] for line in lines] == ["2", "1"]
    assert lines[0].endswith("in supervisor.toml now")
    listed = json.loads(command(project, "config", "history", "--json").stdout)["configurations"]
    assert [(c["number"], c["came_up"], c["in_file"]) for c in listed] == [
        (2, True, True),
        (1, True, False),
    ]
    shown = command(project, "config", "history", "--show", "1")
    assert shown.stdout.encode() == first
    assert command(project, "config", "history", "--show", "9").returncode == 1
    assert command(project, "config", "history", "--show", "1", "--json").returncode == 2


def test_a_broken_file_is_repaired_by_one_command(project: Project) -> None:
    """Without a number the last one that came up is restored; no supervisor has to run."""
    port = project.app("coach")
    good = make_history(project)
    project.config.write_text("broken [")
    found = command(project, "config", "restore")
    assert found.returncode == 0, found.stderr
    assert project.config.read_bytes() == good
    assert tomllib.loads(good.decode())["apps"]["coach"]["port"] == port
    lines = command(project, "config", "history").stdout.splitlines()
    assert "replaced, never came up" in lines[0]
    assert "in supervisor.toml now" in lines[1]
    again = command(project, "config", "restore", "2")  # the broken one
    assert again.returncode == 1
    assert "the restored configuration is not valid" in again.stderr
    assert project.config.read_text() == "broken ["


def test_nothing_to_restore(project: Project) -> None:
    """The only configuration that came up is in the file already."""
    project.app("coach")
    make_history(project)
    found = command(project, "config", "restore")
    assert found.returncode == 1
    assert "the history has no other configuration that came up" in found.stderr
    eventually(lambda: not project.processes())
