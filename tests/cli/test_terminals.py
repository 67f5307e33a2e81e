"""Terminals and pipes of every kind: without colours, without Unicode, closed at the other end."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from harness import Project, Running, ask, eventually
from operating_case import call, wait_until_ready
from terminal_case import shown_on_terminal

# It prints, and is named, what no encoding but UTF has.
APP = """
from flask import Flask
app = Flask(__name__)
print("imported \\U0001f680 déjà vu")
raise RuntimeError("kein Sensor für \\U0001f680")
"""
COMMANDS = [
    ("status",),
    ("logs",),
    ("events",),
    ("check",),
    ("doctor",),
    ("config", "show"),
    ("status", "--json"),
    ("logs", "--json"),
]
# With Python's own ways to get to UTF-8 switched off.
ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "POSIX locale": {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.fixture
def running(project: Project) -> Iterator[Running]:
    """Run an app that fails with a text beyond ASCII."""
    project.app("coach", APP)
    started = project.start()
    started.wait_for("coach", serving="stand-in", says="Sensor")
    yield started
    assert started.process.poll() is None


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
def test_output_that_cannot_be_encoded(
    project: Project, running: Running, encoding: dict[str, str]
) -> None:
    """Characters that the terminal can't show are replaced; JSON stays valid; nothing raises."""
    for words in COMMANDS:
        result = subprocess.run(
            [sys.executable, "-m", "supervisor", *words, "--config", str(project.config)],
            capture_output=True,
            env=project.environment(PYTHONUTF8="0", **encoding),
            cwd=project.folder,
            check=False,
        )
        assert b"Traceback" not in result.stderr, words
        assert result.stdout, words
        if words == ("status", "--json"):
            reason = json.loads(result.stdout)["apps"]["coach"]["reason"]
            assert "kein Sensor für \U0001f680" in reason
        elif words == ("logs", "--json"):
            texts = [json.loads(line)["text"] for line in result.stdout.splitlines()]
            assert "imported \U0001f680 déjà vu" in texts


def test_nobody_reads_the_output(project: Project, running: Running) -> None:
    """When the reader of a pipe has exited, a command exits silently."""
    for words in COMMANDS:
        read_end, write_end = os.pipe()
        os.close(read_end)
        try:
            result = subprocess.run(
                [sys.executable, "-m", "supervisor", *words, "--config", str(project.config)],
                stdout=write_end,
                stderr=subprocess.PIPE,
                env=project.environment(),
                cwd=project.folder,
                timeout=60,
                check=False,
            )
        finally:
            os.close(write_end)
        assert result.returncode == 1, words
        assert b"Traceback" not in result.stderr, words
        assert b"Broken pipe" not in result.stderr, words  # as the app's own output


def test_the_output_is_on_a_full_disk(project: Project, running: Running) -> None:
    """A command exits with an error in a line; one that can't report it, with its code."""
    command = [sys.executable, "-m", "supervisor"]
    rest = {"env": project.environment(), "cwd": project.folder, "check": False, "text": True}
    for words in (*COMMANDS, ("help", "logs")):
        with open("/dev/full", "w") as full:
            done = subprocess.run([*command, *words], stdout=full, stderr=subprocess.PIPE, **rest)
        assert done.returncode == 1, words
        assert "error: cannot write the output: No space left on device\n" in done.stderr, words
        assert "click" not in done.stderr, words  # a traceback that is not the app's own
    with open("/dev/full", "w") as full:
        silent = subprocess.run([*command, "status", "couch"], stderr=full, **rest)
    assert silent.returncode == 1


def test_no_color(project: Project, running: Running) -> None:
    """NO_COLOR keeps colours out of output and errors; an empty one doesn't count."""
    for words in (*COMMANDS, ("stop", "couch")):
        assert "\x1b" not in shown_on_terminal(project, *words, NO_COLOR="1"), words
        if "--json" not in words and words[0] != "config":
            assert "\x1b" in shown_on_terminal(project, *words, NO_COLOR=""), words
    assert "\x1b" not in shown_on_terminal(project, "status", TERM="dumb")


def test_the_bar_of_a_deploy(project: Project) -> None:
    """A terminal shows how much of the time of watching has passed; nothing else gets a bar."""
    project.app("coach", deploy_watch_s=1)
    source = project.folder / "new" / "coach.py"
    source.parent.mkdir()
    source.write_text((project.folder / "coach" / "coach.py").read_text() + "# new\n")
    wait_until_ready(project.start(), "coach")
    shown = shown_on_terminal(project, "deploy", "coach", str(source))
    bars = re.findall(r" {10}\[([#-]+)\]", shown)
    filled = [bar.count("#") for bar in bars]
    assert filled == sorted(filled)
    assert filled[0] == 0
    assert len(set(filled)) > 3
    _, comes_back, after = shown.rpartition("\x1b[?25h")  # the cursor, hidden meanwhile, comes back
    assert comes_back
    assert "\x1b[?25l" not in after
    assert "is done" in after
    source.write_text(source.read_text() + "# newer\n")
    shown = project.command("deploy", "coach", str(source)).stdout
    assert "watching it for 1 s" in shown
    assert "[" not in shown


def test_an_app_named_beyond_ascii(project: Project, running: Running) -> None:
    """An argument that no encoding has is reported, not raised."""
    found = project.command("status", "c\udcffch")
    assert found.returncode == 1
    assert "there is no app" in found.stderr


def test_logs_of_several_apps(project: Project) -> None:
    """They come in order of time, each once, without those of other apps."""
    source = "import sys\nfrom flask import Flask, request\napp = Flask(__name__)\n"
    source += '@app.get("/")\ndef index():\n    print(request.args["text"])\n    return ""\n'
    for name in ("admin", "coach", "camera"):
        project.app(name, source)
    started = project.start()
    wait_until_ready(started, "admin", "coach", "camera")
    for number in range(6):
        name = ("admin", "coach", "camera")[number % 3]
        assert ask(project.port(name), f"/?text=line-{number}").status == 200
        lines = eventually(
            lambda number=number: [
                line["text"]
                for line in call(started, "logs")["lines"]
                if line["text"] == f"line-{number}"
            ]
        )
        assert lines == [f"line-{number}"]
    shown = project.command("logs", "camera", "admin", "-n", "3").stdout.splitlines()
    assert [line.split()[-1] for line in shown] == ["line-2", "line-3", "line-5"]
    twice = project.command("logs", "admin", "admin").stdout
    assert twice == project.command("logs", "admin").stdout


def test_the_newest_events(project: Project, running: Running) -> None:
    """``events -n N`` prints the last N."""
    everything = project.command("events").stdout.splitlines()
    assert len(everything) > 3
    newest = project.command("events", "-n", "2").stdout.splitlines()
    assert len(newest) == 2
    assert project.command("events", "-n", "0").stdout == ""
    assert project.command("events", "-n", "-1").returncode == 2
