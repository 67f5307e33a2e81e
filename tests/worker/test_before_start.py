"""The commands of before_start: in order, in the app's folder, within the time; else a report."""

import contextlib
import sys
from pathlib import Path

import pytest
from harness import GOOD_APP, Project, eventually
from observing import refused_with

from supervisor.worker.before_start import run_before_start

PYTHON = sys.executable


def run(folder: Path, *commands: list[str], timeout_s: float = 30) -> str | None:
    """Run commands and return the message of the report, or None; check its other fields."""
    report = run_before_start(list(commands), folder, timeout_s=timeout_s)
    if report is None:
        return None
    assert report.type == "BeforeStartFailed"
    assert report.hint
    assert (report.file, report.line, report.missing_module) == (None, None, None)
    assert report.traceback.startswith("$ ")
    return report.message


def test_commands_run_in_order_in_the_folder_of_the_app(tmp_path: Path) -> None:
    """Each command sees the results of those before; no shell is involved."""
    assert run(tmp_path) is None
    assert (
        run(tmp_path, ["sh", "-c", "echo $HOME > a"], ["cp", "a", "b"], ["test", "-s", "b"]) is None
    )
    assert (tmp_path / "b").exists()
    assert run(tmp_path, ["test", "$HOME", "=", "$HOME"]) is None


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["sh", "-c", "exit 3"], "sh ended with exit code 3"),
        (["sh", "-c", "kill -15 $$"], "sh was ended by signal 15"),
        (
            ["no-such-command"],
            "no-such-command is not installed, or not on the PATH of the service",
        ),
        (["/etc"], "etc could not be started: Permission denied"),
        (["/usr/bin/env", "no-such"], "env ended with exit code 127"),
    ],
)
def test_the_first_failing_command_is_the_last(
    tmp_path: Path, command: list[str], message: str
) -> None:
    """The report names it without its folder; the commands after it don't run."""
    assert run(tmp_path, ["true"], command, ["touch", "after"]) == message
    assert not (tmp_path / "after").exists()


def test_the_commands_share_the_time_limit(tmp_path: Path) -> None:
    """The limit is that of the import; standard input of a command is empty."""
    slow = [PYTHON, "-c", "import time; time.sleep(60)"]
    found = run(tmp_path, ["sleep", "0.2"], slow, timeout_s=0.6)
    assert found == f"{Path(PYTHON).name} took longer than 0.6 s (import_timeout_s)"
    assert run(tmp_path, ["cat"], timeout_s=5) is None


def test_the_report_has_the_whole_command_for_the_log_alone(tmp_path: Path) -> None:
    """Arguments may hold secrets: only the traceback, which the log shows, has them."""
    report = run_before_start([["sh", "-c", "exit 1", "hunter2"]], tmp_path, timeout_s=9)
    assert report is not None
    assert "hunter2" not in report.message
    assert "hunter2" in report.traceback


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """When the app's folder is missing the report names it, not the command."""
    assert run(tmp_path / "gone", ["true"]) == (
        "true could not be started: the app's `path` doesn't exist"
    )


# ---- in a worker

MIGRATED = GOOD_APP.format(text="coach") + "\nversion = open('version').read()\n"


def test_commands_run_before_each_import(project: Project) -> None:
    """They get the app's environment, and their output is the app's output."""
    say = ["sh", "-c", "echo migrating $WHAT; echo $WHAT >> version"]
    project.app("coach", MIGRATED, before_start=[say], env={"WHAT": "teams"})
    running = project.start()
    running.wait_for("coach", state="ready")
    assert "migrating teams" in running.log
    assert project.command("reload", "coach").returncode == 0
    assert project.file("coach", "version").read_text() == "teams\n" * 2


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["sh", "-c", "exit 3"], "BeforeStartFailed: sh ended with exit code 3"),
        (["no-such-command"], "BeforeStartFailed: no-such-command is not installed"),
        (["sleep", "600"], "BeforeStartFailed: sleep took longer than 1 s (import_timeout_s)"),
    ],
)
def test_a_command_that_fails_is_a_failed_start(
    project: Project, command: list[str], reason: str
) -> None:
    """The port shows the reason; a reload is refused, and the running worker serves on."""
    project.app("coach", before_start=[command], import_timeout_s=1)
    project.app("other")
    running = project.start()
    assert reason in refused_with(project.port("coach"), reason)["detail"]
    running.wait_for("other", state="ready")
    project.apps["other"] |= {"before_start": [command], "import_timeout_s": 1}
    result = project.command("reload")
    assert result.returncode == 1
    assert reason in result.stderr
    assert running.wait_for("other", state="ready", status="warn")["refusal"]["reason"].startswith(
        reason
    )
    eventually(lambda: b"sleep" not in b"".join(_commands(project)))


def _commands(project: Project) -> list[bytes]:
    found = []
    for pid in project.processes():
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{pid}/comm").read_bytes())
    return found
