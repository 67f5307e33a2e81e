"""Planted secrets appear in no output that anybody can read."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Project, Running, ask, eventually
from operating_case import call, wait_until_ready

from supervisor.config import reader as configuration
from supervisor.config.reader import parse
from supervisor.config.show import settings
from supervisor.values.redaction import HIDDEN

SECRETS = {
    "BY_VARIABLE": "variable-Hunter2!",
    "BY_FILE": "file/Hunter3+'x\"y\\z",
    "BY_OVERRIDE_TOKEN": "override Hunter4",
    "BY_ENV_FILE": "https://pi:hunter5@db/field",
    "API_KEY": "name-Hunter6",
    "INHERITED_PASSWORD": "inherited-Hunter7",
    "BY_ADDRESS": "postgres://pi:address-Hunter8@db/games",
}
NAMES = json.dumps(list(SECRETS))
# prints each secret in several ways, then raises with all of them in the message
BROKEN = f"""
import json, os, sys
found = [os.environ[name] for name in {NAMES}]
print("plain", *found)
print(found, json.dumps(found), file=sys.stderr)
raise RuntimeError("cannot log in: " + " ".join(found) + f" or {{found}}")
"""
TALKS = f"""
import os
from flask import Flask
app = Flask(__name__)
found = [os.environ[name] for name in {NAMES}]

@app.get("/")
def index():
    return found

@app.get("/fail")
def fail():
    raise RuntimeError(f"at run time: {{found}}")
"""


def plant(project: Project) -> dict[str, str]:
    """Configure two apps that get all secrets and one that gets none; return the environment."""
    (project.folder / "secret").write_text(SECRETS["BY_FILE"] + "\n", encoding="utf-8")
    text = f"BY_ENV_FILE={SECRETS['BY_ENV_FILE']}\nLEVEL=debug\n"
    (project.folder / "more.env").write_text(text, encoding="utf-8")
    env = {
        "BY_VARIABLE": {"env": "PLANTED"},
        "BY_FILE": {"file": "secret"},
        "API_KEY": SECRETS["API_KEY"],
        "BY_ADDRESS": SECRETS["BY_ADDRESS"],
    }
    project.app("broken", BROKEN, env=env, env_file="more.env")
    project.app("talks", TALKS, env=env, env_file="more.env")
    project.app("neighbour")
    override = "FLASK_SUPERVISOR__APPS__{}__ENV__BY_OVERRIDE_TOKEN"
    return {
        "PLANTED": SECRETS["BY_VARIABLE"],
        "INHERITED_PASSWORD": SECRETS["INHERITED_PASSWORD"],
        **{override.format(app): SECRETS["BY_OVERRIDE_TOKEN"] for app in ("BROKEN", "TALKS")},
    }


def assert_hidden(text: str, *, where: str, hidden: bool = True) -> None:
    """Fail if ``text`` contains a secret; with ``hidden`` also if it says nothing is hidden."""
    found = [name for name in SECRETS if f"unter{'2345678'[list(SECRETS).index(name)]}" in text]
    assert not found, f"{where} shows {found}"
    assert not hidden or HIDDEN in text, f"{where} does not contain {HIDDEN}: {text}"


@pytest.fixture(params=["json", "console"])
def running(project: Project, request: pytest.FixtureRequest) -> Iterator[Running]:
    """Run the three apps until they have reached their states and logged their errors."""
    project.supervisor["log_format"] = request.param
    started = project.start(env=plant(project))
    wait_until_ready(started, "talks", "neighbour")
    assert ask(project.port("talks"), "/").json == list(SECRETS.values())  # the app gets all
    assert ask(project.port("talks"), "/fail").status == 500
    eventually(lambda: ask(project.port("broken")).status == 503)
    eventually(lambda: "at run time" in started.log)
    yield started


def test_no_output_shows_a_secret(project: Project, running: Running) -> None:
    """Neither a port, the log, a command nor the control socket does."""
    page = ask(project.port("broken"), accept="text/html")
    for where, text in {
        "the app's port": ask(project.port("broken")).text,
        "the app's page": page.text,
        "/health": ask(project.status_port, "/health").text,
        "/health/broken": ask(project.status_port, "/health/broken").text,
        "/readyz": ask(project.status_port, "/readyz").text,
        "the log": running.log,
        "snapshot": json.dumps(call(running, "snapshot"), ensure_ascii=False),
        "logs": json.dumps(call(running, "logs"), ensure_ascii=False),
        "events": json.dumps(call(running, "events"), ensure_ascii=False),
    }.items():
        assert_hidden(text, where=where)
    environment = plant(project)
    for words in (
        *[(name, *json_) for name in ("status", "logs", "events") for json_ in ((), ("--json",))],
        ("reload", "broken"),
        ("restart", "broken"),
        ("config", "show"),
        ("config", "show", "--json"),
        ("check", "broken", "--json"),
    ):
        result = project.command(*words, env=environment)
        # an app that is being checked prints to the terminal of whoever checks it, unfiltered
        text = result.stdout + (result.stderr if words[0] != "check" else "")
        assert_hidden(text, where=" ".join(words))
    assert_hidden(running.log, where="the log afterwards")


def test_no_process_of_others_shows_a_secret(project: Project, running: Running) -> None:
    """Command lines and environments of other processes don't contain an app's secrets."""
    found = {}
    for pid in project.processes():
        for name in ("environ", "cmdline"):
            content = Path(f"/proc/{pid}/{name}").read_bytes().decode("utf-8", "replace")
            # all processes inherit this one, as they would without a supervisor
            found[f"{name} of {pid}"] = content.replace(SECRETS["INHERITED_PASSWORD"], "")
    assert len(found) >= 2 * 4  # main, status, talks, neighbour; perhaps stand-in and broken
    for where, content in found.items():
        assert_hidden(content, where=where, hidden=False)


def test_a_report_holds_no_secret(project: Project, running: Running) -> None:
    """The archive for a bug report is free of secrets, and its files are valid JSON."""
    file = project.folder / "report.tar.gz"
    result = project.command("doctor", "--report", str(file), env=plant(project))
    assert_hidden(result.stdout + result.stderr, where="doctor", hidden=False)
    with tarfile.open(file) as archive:
        for name in archive.getnames():
            part = archive.extractfile(name)
            assert part is not None
            with part:
                text = part.read().decode()
            assert_hidden(text, where=name, hidden=name.split("/")[-1] not in PLAIN)
            json.loads(text)


PLAIN = ("doctor.json", "version.json")


def test_repr_shows_no_secret(project: Project) -> None:
    """Tracebacks and debuggers show a configuration without secrets, which it still has."""
    environment = plant(project)
    config = configuration.load(project.write(), environment)
    assert_hidden(repr(config), where="repr", hidden=False)
    assert_hidden(repr(config.apps), where="repr of the apps", hidden=False)
    assert config.origins.environment == environment
    assert config.origins.variables == {name for name in environment if "PASSW" not in name}
    assert config.app_secrets("neighbour") == {SECRETS["INHERITED_PASSWORD"]}
    assert config.app_secrets("talks") == {
        *(value for name, value in SECRETS.items() if name != "BY_ADDRESS"),
        "hunter5",
        "address-Hunter8",
    }


def test_ports_and_paths_are_not_secret(project: Project) -> None:
    """A port or a folder that comes from a variable is shown in the log."""
    project.app("coach")
    folder, project.apps["coach"]["path"] = project.folder / "coach", {"env": "COACH_FOLDER"}
    port, project.apps["coach"]["port"] = project.port("coach"), {"env": "COACH_PORT"}
    environment = {"COACH_FOLDER": str(folder), "COACH_PORT": str(port)}
    running = project.start(env=environment)
    wait_until_ready(running, "coach")
    assert f"ready on http://127.0.0.1:{port}" in running.log
    assert HIDDEN not in running.log
    shown = project.command("config", "show", env=environment).stdout
    assert f"apps.coach.port = {HIDDEN}" in " ".join(shown.split())


def test_a_token_of_a_requirement_is_a_secret(tmp_path: Path) -> None:
    """Also when it stands in the file itself: never printed, hidden in every text."""
    requirement = {"kind": "http", "url": "http://x", "token": "k3-secret-token"}
    raw = {"requires": [requirement], "apps": {"a": {"target": "a:b", "port": 1}}}
    config = parse(raw, tmp_path / "s.toml")
    assert "k3-secret-token" in config.secret_values()
    assert "k3-secret-token" not in f"{list(settings(config))} {config!r}"
