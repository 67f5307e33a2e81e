"""What a person sees in a terminal: logs, events, a status that goes on, completion, help."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from harness import Project, Running, ask, eventually
from operating_case import ESCAPES, Following, call, environment, wait_until_ready

from supervisor.cli import main

TALKING_APP = """
import sys
from flask import Flask, request
app = Flask(__name__)
print("imported \\U0001f680 déjà vu")

@app.get("/")
def index():
    print(request.args["text"], file=sys.stderr)
    return "said\\n"
"""


def say(project: Project, text: str, *, app: str = "coach") -> None:
    """Let an app print a line."""
    assert ask(project.port(app), f"/?text={text}").status == 200


def said(project: Project, *arguments: str) -> list[dict[str, Any]]:
    """Give what ``logs`` prints for programs."""
    result = project.command("logs", *arguments, "--json")
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def running(project: Project) -> Running:
    """Run two apps that print what they are told to."""
    for name in ("admin", "coach"):
        project.app(name, TALKING_APP)
    started = project.start()
    wait_until_ready(started, "admin", "coach")
    return started


def wait_until_logged(running: Running, text: str) -> None:
    """Wait until the supervisor has read a line."""

    def logged() -> bool:
        return any(line["text"] == text for line in call(running, "logs")["lines"])

    eventually(logged, what=f"{text} is logged")


# ---- logs


def test_logs_of_all_and_of_one(project: Project, running: Running) -> None:
    """An app's own lines stand behind a bar, the supervisor's don't; emoji stay."""
    everything = project.command("logs")
    assert everything.returncode == 0, everything.stderr
    assert "coach      | imported 🚀 déjà vu" in everything.stdout
    assert "coach        ready on http://" in everything.stdout
    assert "admin      | imported" in everything.stdout
    assert "-            flask-supervisor 0" in everything.stdout
    one = project.command("logs", "coach").stdout
    assert {line.split()[2] for line in one.splitlines()} == {"coach"}
    assert "\x1b" not in everything.stdout
    assert running.process.poll() is None


def test_logs_for_programs(project: Project, running: Running) -> None:
    """One object a line, numbered over all apps, with what is needed to tell lines apart."""
    lines = said(project)
    assert [line["number"] for line in lines] == sorted(line["number"] for line in lines)
    [printed] = [line for line in said(project, "coach") if line["output"]]
    assert set(printed) == {"number", "app", "pid", "output", "text", "time", "age_s"}
    assert printed["pid"] == running.worker("coach")
    assert (printed["app"], printed["text"]) == ("coach", "imported 🚀 déjà vu")
    own = [line for line in lines if not line["output"]]
    assert all(line["pid"] is None for line in own)


def test_the_newest_lines(project: Project, running: Running) -> None:
    """``-n`` counts from the end, ``--since`` leaves out what is older; both together do both."""
    for number in range(5):
        say(project, f"line-{number}")
    wait_until_logged(running, "line-4")
    assert [line["text"] for line in said(project, "coach", "-n", "2")] == ["line-3", "line-4"]
    assert said(project, "-n", "0") == []
    assert len(said(project, "--since", "1h")) == len(said(project, "-n", "500"))
    eventually(lambda: call(running, "logs")["lines"][-1]["age_s"] > 2)
    assert said(project, "--since", "1.5s") == []
    say(project, "new")
    wait_until_logged(running, "new")
    assert [line["text"] for line in said(project, "--since", "10m", "-n", "1")] == ["new"]


@pytest.mark.parametrize("words", [("--since", "soon"), ("--since", "-1"), ("-n", "-1")])
def test_wrong_usage_of_logs(project: Project, words: tuple[str, str]) -> None:
    """Exit code 2, before anything is asked for."""
    project.app("coach")
    assert project.command("logs", *words).returncode == 2


def test_logs_of_an_unknown_app(project: Project, running: Running) -> None:
    """The known ones are named."""
    result = project.command("logs", "nosuch")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "error: there is no app 'nosuch'; known: admin, coach\n"
    assert running.process.poll() is None


def test_a_terminal_without_unicode(project: Project, running: Running) -> None:
    """What it can't show is written in another way; nothing ends in a traceback."""
    for words in (("logs",), ("events",), ("status",)):
        result = project.command(*words, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
        assert (result.returncode, result.stderr) == (0, "")
    assert running.process.poll() is None


# ---- following


FOLLOWED = {"logs": ("logs", "-f"), "events": ("events", "-f"), "json": ("logs", "-f", "--json")}


@pytest.mark.parametrize("words", FOLLOWED.values(), ids=FOLLOWED)
def test_following_until_ctrl_c(project: Project, running: Running, words: tuple[str, ...]) -> None:
    """New lines come while it runs, each once; Ctrl-C is a good end."""
    with Following(project, *words) as following:
        following.wait_for("ready on")
        pid = running.worker("coach")
        os.kill(pid, signal.SIGKILL)
        following.wait_for("killed by SIGKILL")
        eventually(lambda: following.text.count("coach") > 2)
        assert following.end(signal.SIGINT) == (0, "")
    assert following.said.count("killed by SIGKILL") == 1
    if "--json" in words:
        assert all(json.loads(line) for line in following.said.splitlines())


@pytest.mark.parametrize("command", ["logs", "events"])
def test_following_until_the_supervisor_ends(
    project: Project, running: Running, command: str
) -> None:
    """It says so, and ends."""
    with Following(project, command, "-f") as following:
        following.wait_for("ready on")
        running.stop()
        assert following.end(None) == (1, "error: the supervisor has ended\n")


def test_following_one_app_from_now_on(project: Project, running: Running) -> None:
    """``-n 0 -f`` shows nothing old, and of other apps nothing at all."""
    with Following(project, "logs", "coach", "-f", "-n", "0") as following:
        # one of these comes after it has begun
        eventually(lambda: say(project, "tick") or following.text)
        say(project, "other", app="admin")
        say(project, "last")
        following.wait_for("last")
    assert "imported" not in following.said
    assert "other" not in following.said


def test_nobody_reads_the_lines_any_more(project: Project, running: Running) -> None:
    """When the reader of a pipe has gone, as with ``| head``, the command ends without a word."""
    project.write()
    process = subprocess.Popen(
        [sys.executable, "-m", "supervisor", "logs", "-f", "--config", str(project.config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=project.environment(),
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert process.stdout.readline()
        process.stdout.close()
        eventually(lambda: say(project, "more") or process.poll() is not None)
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    assert running.process.poll() is None


# ---- a status that goes on


def test_status_goes_on_on_a_terminal(project: Project, running: Running) -> None:
    """It is drawn anew every second, in colours, until Ctrl-C."""
    with Following(project, "status", "--watch", terminal=True) as following:
        following.wait_for("\x1b[32mready")
        assert project.command("stop", "coach").returncode == 0
        following.wait_for("\x1b[33mstopped")
        following.wait_for("stopped by an operator")
        assert "\x1b[2J" in following.text  # the screen is cleared
        last = ESCAPES.sub("", following.text.rpartition("\x1b[2J")[2])
        assert last.count("flask-supervisor 0") <= 1
        assert following.end(signal.SIGINT) == (1, "")  # as `status`: one app is not ready
    assert running.process.poll() is None


def test_status_goes_on_in_a_pipe(project: Project, running: Running) -> None:
    """Without a terminal there are no colours; a program is told to choose."""
    with Following(project, "status", "--watch") as following:
        eventually(lambda: following.text.count("flask-supervisor 0") >= 2)
        assert "\x1b" not in following.text
        assert following.end(signal.SIGINT) == (0, "")
    assert project.command("status", "--watch", "--json").returncode == 2
    assert running.process.poll() is None


# ---- completion


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Give a folder to put first on the PATH, with the command under its own name."""
    folder = tmp_path / "bin"
    folder.mkdir()
    file = folder / "flask-supervisor"
    file.write_text(f"#!{sys.executable}\nfrom supervisor.cli.main import main\nmain()\n")
    file.chmod(0o755)
    return folder


def completed(project: Project, program: Path, *words: str) -> set[str]:
    """Give what is proposed for the last word."""
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
    """Commands, options, and the names of the apps in the configuration that would be used."""
    for name in ("admin", "coach", "camera"):
        project.app(name)
    project.write()
    assert completed(project, program, "sta") == {"start", "status"}
    assert completed(project, program, "config", "") == {"check", "history", "restore", "show"}
    assert "--since" in completed(project, program, "logs", "--")
    for command in ("start", "stop", "restart", "reload", "logs", "check"):
        assert completed(project, program, command, "c") == {"coach", "camera"}, command
    elsewhere = project.folder / "elsewhere.toml"
    elsewhere.write_text('[apps.clock]\ntarget = "a:b"\nport = 7000\n', encoding="utf-8")
    assert completed(project, program, "start", "--config", str(elsewhere), "c") == {"clock"}


def test_completion_without_a_configuration(project: Project, program: Path) -> None:
    """Nothing is proposed, and nothing is written into the command line."""
    assert completed(project, program, "start", "c") == set()
    project.config.write_text("[broken\n", encoding="utf-8")
    assert completed(project, program, "start", "c") == set()


def test_completion_in_a_shell(project: Project, program: Path) -> None:
    """What the guide says works in bash."""
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
    """Give the words of every command, the groups too."""
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
    """Who has nothing yet gets it as well; so does a wrong command, with exit code 2."""
    for words, code in ((["--help"], 0), (["logs", "--help"], 0), (["--version"], 0), (["x"], 2)):
        result = subprocess.run(
            [sys.executable, "-m", "supervisor", *words],
            capture_output=True,
            env=environment(),
            cwd=tmp_path,
            check=False,
        )
        assert result.returncode == code, result.stderr
