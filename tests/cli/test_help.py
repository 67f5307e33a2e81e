"""Help and completion: of every command, with and without a configuration."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from harness import Project
from operating_case import environment

from supervisor.cli import main

# ---- completion


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return a folder for the PATH, with the command under its own name."""
    folder = tmp_path / "bin"
    folder.mkdir()
    file = folder / "flask-supervisor"
    file.write_text(f"#!{sys.executable}\nfrom supervisor.cli.main import main\nmain()\n")
    file.chmod(0o755)
    return folder


def completed(project: Project, program: Path, *words: str) -> set[str]:
    """Return the completions of the last word."""
    env = environment(
        _FLASK_SUPERVISOR_COMPLETE="bash_complete",
        COMP_WORDS=" ".join(["flask-supervisor", *words]),
        COMP_CWORD=str(len(words)),
    )
    result = subprocess.run(
        [program / "flask-supervisor"],
        capture_output=True,
        text=True,
        env=env,
        cwd=project.folder,
        check=False,
    )
    assert result.stderr == ""
    return {line.partition(",")[2] for line in result.stdout.splitlines() if line}


def test_completion_knows_commands_and_apps(project: Project, program: Path) -> None:
    """It completes commands, options, and the names of apps in the effective configuration."""
    for name in ("admin", "coach", "camera"):
        project.app(name)
    project.write()
    assert completed(project, program, "sta") == {"start", "status"}
    assert completed(project, program, "config", "") == {
        "check",
        "edit",
        "history",
        "restore",
        "show",
    }
    assert "--since" in completed(project, program, "logs", "--")
    for command in ("start", "stop", "restart", "reload", "logs", "check"):
        assert completed(project, program, command, "c") == {"coach", "camera"}, command
    other = project.folder / "other.toml"
    other.write_text('[apps.clock]\ntarget = "a:b"\nport = 7000\n', encoding="utf-8")
    assert completed(project, program, "start", "--config", str(other), "c") == {"clock"}
    assert completed(project, program, "-c", str(other), "start", "c") == {"clock"}


def test_completion_without_a_configuration(project: Project, program: Path) -> None:
    """There are no completions, and no error text in the command line."""
    assert completed(project, program, "start", "c") == set()
    project.config.write_text("[broken\n", encoding="utf-8")
    assert completed(project, program, "start", "c") == set()


def test_completion_in_a_shell(project: Project, program: Path) -> None:
    """The line in the guide works in bash."""
    project.app("coach")
    project.write()
    script = (
        'eval "$(_FLASK_SUPERVISOR_COMPLETE=bash_source flask-supervisor)"\n'
        "COMP_WORDS=(flask-supervisor stop c) COMP_CWORD=2\n"
        "_flask_supervisor_completion flask-supervisor\n"
        'echo "${COMPREPLY[@]}"\n'
    )
    result = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        env=environment(PATH=f"{program}:{os.environ['PATH']}"),
        cwd=project.folder,
        check=False,
    )
    assert (result.stdout, result.stderr) == ("coach\n", "")


# ---- help


def commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command and group."""
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, (*words, name))


@pytest.mark.parametrize("words", list(commands(main.cli)), ids=" ".join)
def test_every_command_helps(words: tuple[str, ...]) -> None:
    """Exit code 0, an example that begins like the command, and a line for each option."""
    for option in ("--help", "-h"):
        result = CliRunner().invoke(main.cli, [*words, option], prog_name="flask-supervisor")
        assert result.exit_code == 0
        assert re.search(
            f"Example: (sudo )?{' '.join(['flask-supervisor', *words])}", result.output
        )
        assert "Usage: flask-supervisor" in result.output


def test_help_works_without_a_configuration(tmp_path: Path) -> None:
    """Help needs no configuration; an unknown command exits with code 2."""
    for words, code in ((["--help"], 0), (["logs", "--help"], 0), (["--version"], 0), (["x"], 2)):
        result = subprocess.run(
            [sys.executable, "-m", "supervisor", *words],
            capture_output=True,
            env=environment(),
            cwd=tmp_path,
            check=False,
        )
        assert result.returncode == code, result.stderr


@pytest.mark.parametrize("words", list(commands(main.cli)), ids=" ".join)
def test_the_help_command_shows_the_same(words: tuple[str, ...]) -> None:
    """``help COMMAND`` prints what ``COMMAND --help`` prints."""
    runner = CliRunner()
    asked = runner.invoke(main.cli, [*words, "--help"], prog_name="flask-supervisor")
    shown = runner.invoke(main.cli, ["help", *words], prog_name="flask-supervisor")
    assert (shown.exit_code, shown.output) == (0, asked.output)


@pytest.mark.parametrize("words", [("nosuch",), ("config", "nosuch"), ("logs", "nosuch")])
def test_help_for_an_unknown_command(words: tuple[str, ...]) -> None:
    """Exit code 2, and the words that name no command."""
    shown = CliRunner().invoke(main.cli, ["help", *words])
    assert shown.exit_code == 2
    assert f"there is no command '{' '.join(words)}'" in shown.output


@pytest.mark.parametrize("words", [(), ("config",), ("service",)], ids=" ".join)
def test_summaries_fit_80_columns(words: tuple[str, ...]) -> None:
    """The list of commands cuts no summary, and no help is wider than 80 columns."""
    shown = CliRunner().invoke(main.cli, [*words, "--help"], terminal_width=80)
    listed = shown.output.partition("Commands:\n")[2]
    assert listed
    assert "..." not in listed
    assert max(map(len, shown.output.splitlines())) <= 80


# ---- the configuration, before or after the command


@pytest.mark.parametrize(
    "words",
    [
        ("config", "check", "-c", "{file}"),
        ("config", "check", "--config", "{file}"),
        ("config", "-c", "{file}", "check"),
        ("-c", "{file}", "config", "check"),
        ("--config", "nowhere.toml", "config", "check", "--config", "{file}"),
    ],
    ids=" ".join,
)
def test_the_configuration_may_stand_anywhere(project: Project, words: tuple[str, ...]) -> None:
    """``-c`` works before and after the command; the last one counts."""
    project.app("coach")
    file = str(project.write())
    found = CliRunner().invoke(main.cli, [word.format(file=file) for word in words])
    assert (found.exit_code, found.output) == (0, f"{file} is valid\n")
