"""``flask-supervisor logs`` and ``events``: what is printed, for people and programs."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from harness import Project, Running, ask, eventually
from operating_case import Following, call, wait_until_ready

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
    """Return what ``logs`` prints for programs."""
    result = project.command("logs", *arguments, "--json")
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def running(project: Project) -> Running:
    """Run two apps that print what a request asks for."""
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
    """What an app printed stands behind a bar, the supervisor's lines don't; emoji stay."""
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
    """One object a line, numbered over all apps, with all that distinguishes lines."""
    lines = said(project)
    assert [line["number"] for line in lines] == sorted(line["number"] for line in lines)
    [printed] = [line for line in said(project, "coach") if line["output"]]
    assert set(printed) == {
        *("number", "app", "pid", "output", "level", "text", "time", "age_s"),
    }
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
    """The error names the apps that exist."""
    result = project.command("logs", "nosuch")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "error: there is no app 'nosuch'; known: admin, coach\n"
    assert running.process.poll() is None


# ---- following


FOLLOWED = {"logs": ("logs", "-f"), "events": ("events", "-f"), "json": ("logs", "-f", "--json")}


@pytest.mark.parametrize("words", FOLLOWED.values(), ids=FOLLOWED)
def test_following_until_ctrl_c(project: Project, running: Running, words: tuple[str, ...]) -> None:
    """New lines are printed as they come, each once; Ctrl-C exits with code 0."""
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
    """The command reports it, and exits with code 1."""
    with Following(project, command, "-f") as following:
        following.wait_for("ready on")
        running.stop()
        assert following.end(None) == (1, "error: the supervisor has ended\n")


def test_following_one_app_from_now_on(project: Project, running: Running) -> None:
    """``-n 0 -f`` prints new lines only, of the named app only."""
    with Following(project, "logs", "coach", "-f", "-n", "0") as following:
        # one of these comes after the command has begun
        eventually(lambda: say(project, "tick") or following.text)
        say(project, "other", app="admin")
        say(project, "last")
        following.wait_for("last")
    assert "imported" not in following.said
    assert "other" not in following.said


def test_nobody_reads_the_lines_any_more(project: Project, running: Running) -> None:
    """When the reader of a pipe has exited, as with ``| head``, the command exits silently."""
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
