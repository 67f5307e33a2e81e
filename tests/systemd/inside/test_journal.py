"""What the journal has of apps: readable lines with fields and levels, never a secret."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from harness import ask, eventually
from machine import APPS, UNIT, Machine, health, run, systemctl, write_app, write_config

SECRET = "correct-horse-battery"
LOUD = """
import atexit, logging, os, time
from flask import Flask
app = Flask(__name__)
secret = os.environ["API_TOKEN"]
print("the import knows", secret)
atexit.register(print, "the end knows", secret)

@app.get("/")
def index():
    logging.getLogger("disk").warning("nearly full")
    print('{"level": "error", "event": "from JSON"}')
    return "ok"

@app.get("/boom")
def boom():
    raise RuntimeError(f"refused {secret}")

@app.get("/slow")
def slow():
    print("before the restart")
    time.sleep(2)
    print("after the restart:", secret)
    return "slow"
"""


def entries(*words: str) -> list[dict[str, Any]]:
    """Return the unit's entries that journalctl shows with these arguments."""
    shown = run("journalctl", "-q", "--no-pager", "-u", UNIT, "-o", "json", *words).stdout
    return [json.loads(line) for line in shown.splitlines()]


def start(machine: Machine, name: str, **supervisor: Any) -> None:
    """Start the service with one app, which knows a secret."""
    write_app(name, LOUD)
    (APPS / name / ".env").write_text(f"API_TOKEN={SECRET}\n")
    app = {"port": 5000, "env_file": str(APPS / name / ".env"), "stop_timeout_s": 5}
    write_config({name: app}, **supervisor)
    machine.start_anew()
    eventually(lambda: health()["status"] == "pass")


def test_apps_have_their_levels_and_fields(machine: Machine) -> None:
    """`journalctl -p warning` shows the warnings and errors of an app, as lines for people."""
    start(machine, "loud")
    assert ask(5000).text == "ok"
    assert ask(5000, "/boom").status == 500
    eventually(lambda: any("RuntimeError" in one["MESSAGE"] for one in entries("APP=loud")))
    found = {one["MESSAGE"]: one for one in entries("-p", "warning", "APP=loud")}
    assert found["loud | nearly full"]["PRIORITY"] == "4"
    assert found['loud | {"level": "error", "event": "from JSON"}']["PRIORITY"] == "3"
    assert found["loud | RuntimeError: refused (hidden)"]["PRIORITY"] == "3"
    assert "loud | Traceback (most recent call last):" in found
    assert "loud | the import knows (hidden)" not in found
    [ready] = entries("KIND=ready", "APP=loud")
    assert ready["MESSAGE"].startswith("loud: ready on http")
    assert (ready["PRIORITY"], ready["SYSLOG_IDENTIFIER"]) == ("6", "flask-supervisor")
    worker = {one["WORKER_PID"] for one in entries("APP=loud") if " | " in one["MESSAGE"]}
    assert worker == {str(health()["apps"]["loud"]["pid"])}


def test_a_hand_over_tells_no_secret(machine: Machine) -> None:
    """What a worker prints while no main process reads it is cut, hidden and named as before."""
    start(machine, "heir")
    with ThreadPoolExecutor(1) as executor:
        answer = executor.submit(ask, 5000, "/slow")
        eventually(lambda: entries("APP=heir", "--grep=before the restart"))
        systemctl("restart", UNIT)
        assert answer.result().text == "slow"
    found = eventually(lambda: entries("APP=heir", "--grep=the end knows"))
    assert [one["MESSAGE"] for one in found] == ["heir | the end knows (hidden)"]
    assert entries("APP=heir", "--grep=after the restart: .hidden.")
    assert not [one for one in entries() if SECRET in one["MESSAGE"]]


def test_those_who_want_json_get_it(machine: Machine) -> None:
    """`log_format = "json"`: each message is an object, and has its priority all the same."""
    start(machine, "data", log_format="json")
    assert ask(5000).text == "ok"
    [found] = eventually(lambda: entries('--grep="app": *"data".*nearly full'))
    fields = json.loads(found["MESSAGE"])
    assert (fields["event"], fields["level"]) == ("nearly full", "warning")
    assert found["PRIORITY"] == "4"
