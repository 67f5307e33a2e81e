"""Apps that print without end: memory stays flat, neighbours notice nothing, `logs` is usable."""

import contextlib
import http.client
import json
import signal
import statistics
import time
import unicodedata

from harness import Poller, Project, Running, ask, eventually
from observing import cpu_s, rss_mib
from operating_case import Following, call, wait_until_ready

MEGABYTES = 100
# Whoever asks for /flood starts it: lines of 1 MB of what is no text, cut in the middle of letters.
FLOODS = f"""
import os, threading
from flask import Flask
app = Flask(__name__)
letters = "é✓".encode() * 200_000
LINES = [
    bytes(range(256)).replace(b"\\n", b"") * 4_000,  # every byte there is, escape and zero too
    letters[1:1_000_000],  # begins and ends within a letter
    b"\\x1b[31m" + b"x" * 1_000_000,
]

def write(data):
    while data:
        data = data[os.write(1, data[:99_991]):]

def flood():
    for number in range({MEGABYTES}):
        write(b"line %d " % number + LINES[number % len(LINES)] + b"\\n")
    write(b"the flood is over\\n")

@app.get("/flood")
def start():
    threading.Thread(target=flood).start()
    return "started"

@app.get("/")
def index():
    return "flooder"
"""
ENDS = """
import os
from flask import Flask
app = Flask(__name__)

@app.get("/end")
def end():
    for number in range(100_000):
        print("noise", number)
    print("the last words: the disk is full", flush=True)
    os._exit(3)
"""


def texts(running: Running, app: str) -> list[str]:
    """Return the lines that are kept of an app."""
    return [line["text"] for line in call(running, "logs", app=app)["lines"]]


def test_a_hundred_megabytes(project: Project) -> None:
    """Lines of 1 MB, no text, half letters: nobody but their reader notices."""
    project.app("flooder", FLOODS)
    project.app("neighbour")
    running = project.start()
    wait_until_ready(running, "flooder", "neighbour")
    main = running.process.pid
    with Poller(project.port("neighbour"), rate=50) as before:
        eventually(lambda: len(before.answers) >= 50)
    rss_before, cpu_before = rss_mib(main), cpu_s(main)
    most, logs_s = 0.0, []
    assert ask(project.port("flooder"), "/flood").text == "started"
    with Poller(project.port("neighbour"), rate=50) as during:
        while "the flood is over" not in texts(running, "flooder"):
            most = max(most, rss_mib(main))
            started = time.monotonic()
            shown = project.command("logs", "flooder", "-n", "20")
            logs_s.append(time.monotonic() - started)
            assert shown.returncode == 0
            assert len(shown.stdout.splitlines()) <= 20
            assert len(logs_s) < 100, "the flood has no end"
    most = max(most, rss_mib(main))
    assert most - rss_before < 12
    assert cpu_s(main) - cpu_before < 10
    assert (during.refused, during.failed) == (0, [])
    usual = statistics.median(answer.seconds for answer in before.answers)
    now = statistics.median(answer.seconds for answer in during.answers)
    assert now < 5 * usual + 0.05
    assert during.worst_s < 2
    assert ask(project.port("flooder")).text == "flooder"
    lines = texts(running, "flooder")
    assert sum(map(len, lines)) < 300_000
    flood = [line for line in lines if line.startswith("line ")]
    assert flood
    assert all(line.endswith(" bytes more)") for line in flood)
    strange = {c for line in lines for c in line if unicodedata.category(c) in ("Cc", "Cs")}
    assert strange <= {"\t"}


def test_the_last_words_of_an_app_that_ends_in_a_flood(project: Project) -> None:
    """They say why it ended: they are logged, after the number of those that were not."""
    project.app("coach", ENDS)
    running = project.start()
    wait_until_ready(running, "coach")
    with contextlib.suppress(OSError, http.client.HTTPException):  # it ends without an answer
        ask(project.port("coach"), "/end", timeout_s=60)
    eventually(lambda: "exit code 3" in running.log, timeout_s=60)
    lines = texts(running, "coach")
    last = lines.index("the last words: the disk is full")
    assert lines[last - 1] == "noise 99999"
    assert "exit code 3" in lines[last + 1]
    assert any("lines left out: more than 1000 a second" in line for line in lines[:last])
    assert "the last words: the disk is full" in running.log
    shown = project.command("logs", "coach", "-n", "500").stdout
    assert "the last words: the disk is full" in shown


def test_following_a_flood(project: Project) -> None:
    """``logs -f`` goes on, stays JSON, and ends with Ctrl-C."""
    project.app("flooder", FLOODS)
    running = project.start()
    wait_until_ready(running, "flooder")
    with Following(project, "logs", "flooder", "-f", "--json") as following:
        following.wait_for("ready on")
        ask(project.port("flooder"), "/flood")
        following.wait_for("the flood is over", timeout_s=60)
        assert all(json.loads(line)["app"] == "flooder" for line in following.lines)
        assert following.end(signal.SIGINT)[0] == 0
