"""Every console block of README and docs does, and shows, what it says: paths and times apart."""

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from console_blocks import Block, Stage, Step, blocks, differences, normal
from harness import REPOSITORY, eventually

PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *(REPOSITORY / "docs").glob("*.md"),
]
BLOCKS = [block for page in sorted(PAGES) for block in blocks(page)]
RUN = [block for block in BLOCKS if block.scenario is not None]

OURS = ("flask-supervisor ", ".venv/bin/flask-supervisor ")
POLLED = ("curl", *(f"{ours}{word}" for ours in OURS for word in ("status", "health")))  # no change

Scenario = Callable[[Stage], None]
SCENARIOS: dict[str, Scenario] = {}

APP = "from flask import Flask\n\napp = Flask(__name__)\n"
ROOT = APP + '@app.get("/")\ndef index():\n    return "teams"\n'
CONFIG = """\
[apps.admin]
target = "admin:app"
port = 5000

[apps.coach]
target = "coach_interface:app"
port = 5001
"""
COACH = '[apps.coach]\ntarget = "coach:app"\nport = 5001\ndeploy_watch_s = 1\n'


def scenario(function: Scenario) -> Scenario:
    """Add a function, which prepares a stage, to the scenarios by its name."""
    SCENARIOS[function.__name__] = function
    return function


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A folder of somebody, on a machine whose ports are all free."""
    with Stage(tmp_path / "home", uuid.uuid4().hex, dict(os.environ)) as made:
        yield made


def test_every_block_has_a_scenario_or_a_reason() -> None:
    """A block without a test says why, or names the test; no scenario is left over."""
    assert [block.title for block in BLOCKS if block.scenario == block.reason] == []
    assert {block.scenario for block in RUN} == set(SCENARIOS)
    named = [
        found for block in BLOCKS for found in re.findall(r"tests/[\w/]+\.py", block.reason or "")
    ]
    assert [name for name in named if not (REPOSITORY / name).exists()] == []
    assert len(RUN) + len(named) >= 0.8 * len(BLOCKS)


@pytest.mark.root
@pytest.mark.debian("util-linux", program="unshare")
@pytest.mark.debian("iproute2", program="ip")
@pytest.mark.parametrize("block", RUN, ids=lambda block: block.title)
def test_a_block(stage: Stage, block: Block) -> None:
    """Each command shows what stands below it."""
    assert block.scenario is not None
    SCENARIOS[block.scenario](stage)
    for step in block.steps:
        if step.command.startswith(POLLED):
            eventually(partial(compare, stage, step), timeout_s=60)
        else:
            compare(stage, step)


def compare(stage: Stage, step: Step) -> bool:
    """Run a command; fail unless it shows what it has to."""
    shown = stage.run(step.command).splitlines()
    assert not differences(step.shown, shown), "\n".join(shown)
    return True


def test_what_varies_is_left_out() -> None:
    """Lines are compared without paths, times and ids, and with everything else."""
    table = "coach  ready     app              5001   7132     5 s"
    assert normal(table) == normal("coach ready app 5001 28936 3 min")
    assert normal(table) != normal("coach ready app 5002 28936 3 min")
    assert differences(["a 1 s", "...", "z"], ["a 2 s", "b", "c", "z"]) == []
    assert differences(["a", "z"], ["a", "b", "z"]) != []
    assert differences(["a"], ["a", "b"]) == ["(nothing)   <- shown: b"]


# ---- scenarios


def serve(stage: Stage, config: str | None, *, until: str = "ready for monitors") -> Path:
    """Start a supervisor in the folder."""
    if config is not None:
        stage.write("supervisor.toml", config)
    return stage.begin("flask-supervisor run", until=until)


def stopped(stage: Stage) -> None:
    """Two apps whose supervisor doesn't run."""
    stage.write("supervisor.toml", CONFIG)
    stage.write("admin.py", ROOT)
    stage.write("coach_interface.py", ROOT)


@scenario
def running(stage: Stage) -> None:
    """One app that serves."""
    stage.write("admin.py", ROOT)
    serve(stage, CONFIG.partition("\n\n")[0])


@scenario
def missing_file(stage: Stage) -> None:
    """A file of the coach app was not copied."""
    stage.write("admin.py", ROOT)
    stage.write("field_trainer/__init__.py", "")
    imports = "from field_trainer.settings_manager import Settings\n"
    stage.write("coach_interface.py", "\n" * 22 + imports + ROOT)
    serve(stage, CONFIG, until="ModuleNotFoundError")


@scenario
def last_known_good(stage: Stage) -> None:
    """The code on disk is broken, and there is a release that has served."""
    folder = "field_trainer"
    stage.write(f"{folder}.py", "")
    stage.write("coach_interface.py", "\n" * 5 + f"import {folder}\n" + ROOT)
    config = '[apps.coach]\ntarget = "coach_interface:app"\nport = 5001\nknown_good_after_s = 0.2\n'
    log = serve(stage, config)
    stage.run(
        "until ls .flask-supervisor/releases/coach/*/ >/dev/null 2>&1; do sleep 0.05; done;"
        f"rm {folder}.py; rm -rf __pycache__; flask-supervisor restart coach"
    )
    assert "last known good" in log.read_text()


@scenario
def secrets(stage: Stage) -> None:
    """An app whose exception contains a secret."""
    call = "token = os.environ['API_TOKEN']\n"
    message = "f'cannot log in with {token!r} at http://registry/?t={token}'"
    stage.write("coach.py", f"import os; {call}raise RuntimeError({message})\n")
    config = COACH + 'env = { API_TOKEN = "8f2c-11d0" }\n'
    serve(stage, config, until="RuntimeError")


@scenario
def thirteen_mistakes(stage: Stage) -> None:
    """A configuration with a mistake in nearly every line."""
    stage.write(
        "supervisor.toml",
        '[supervisor]\nhost = "pi.local"\nlog_format = "xml"\nshutdown_timeout_s = "2"\n'
        "[bind]\nattempts = 0\n[status]\nport = 5001\n"
        '[apps.admin]\ntarget = "apps.admin"\nport = 5000\ncontrol = "yes"\nprot = 1\n'
        '[apps.coach]\ntarget = "a:b"\nport = 5001\nthreads = 4.5\nenv_file = "missing.env"\n'
        'env = { DEBUG = true }\n[apps.Display]\ntarget = "a:b"\nport = 70000\n',
    )


@scenario
def a_mistake_in_the_syntax(stage: Stage) -> None:
    """A string without quotes."""
    stage.write("supervisor.toml", "# the field\n[supervisor]\nhost = localhost\n" + CONFIG)


@scenario
def overridden(stage: Stage) -> None:
    """Values from variables beside those of the file."""
    state = '[supervisor]\nstate_dir = "/var/lib/flask-supervisor"\n'
    app = '[apps.coach]\ntarget = "coach_interface:app"\nport = 5001\n'
    env = '[apps.coach.env]\nAPI_TOKEN = { env = "COACH_TOKEN" }\nLEVEL = "2"\n'
    stage.write("supervisor.toml", state + app + env)
    stage.environment |= {"FLASK_SUPERVISOR__APPS__COACH__PORT": "5051", "COACH_TOKEN": "8f2c"}


@scenario
def apps_of_a_folder(stage: Stage) -> None:
    """A folder with two apps and no configuration."""
    serial = "import serial\n"
    stage.write("hardware/__init__.py", "")
    stage.write("hardware/bus.py", "\n" + serial)
    stage.write("serial.py", "")
    stage.write(
        "coach_interface.py",
        f"import hardware.bus\n{APP}if __name__ == '__main__':\n    app.run(port=5001)\n",
    )
    stage.write("wsgi.py", "from admin import create_app\napplication = create_app()\n")
    stage.write(
        "admin/__init__.py",
        "from flask import Flask\ndef create_app():\n    return Flask(__name__)\n",
    )
    stage.write("requirements.txt", "flask\n")
    stage.write(".env", "A=1\n")


@scenario
def an_app_to_add(stage: Stage) -> None:
    """A configuration, and another app in a folder."""
    stage.write("supervisor.toml", CONFIG.partition("\n\n")[0])
    stage.write("field/coach_interface.py", APP)


@scenario
def eight_missing(stage: Stage) -> None:
    """An app that was copied in a hurry."""
    stage.write("supervisor.toml", COACH)
    files = {
        "coach.py": "import no_one\nfrom field.settings import Settings\nfrom field import games\n"
        "from field import mail, registry\n",
        "field/__init__.py": "",
        "field/games.py": "import no_two\nfrom field import no_three\n",
        "field/mail.py": "import field.no_six\nimport field.no_seven\n",
        "field/registry.py": "import field.no_four\n\nimport no_five\n",
    }
    for name, text in files.items():
        stage.write(name, text + (APP if name == "coach.py" else ""))


@scenario
def unmet_requirements(stage: Stage) -> None:
    """An app that runs, and doesn't have what it requires."""
    stage.write("coach.py", ROOT)
    stage.write("smbus2.py", "")
    (stage.folder / "tftpboot").mkdir()
    tables = [
        f'kind = "directory"\npath = "{stage.folder}/tftpboot"\nmounted = true\n',
        'kind = "env"\nname = "COACH_TOKEN"\ndefault = "changeme"\n',
        'kind = "module"\nname = "smbus2"\n',
    ]
    needs = "".join(f"[[apps.coach.requires]]\n{table}" for table in tables)
    stage.write("supervisor.toml", COACH + 'env = { COACH_TOKEN = "changeme" }\n' + needs)


@scenario
def three_configurations(stage: Stage) -> None:
    """A supervisor that has run with two configurations, and somebody has broken the file."""
    stage.write("coach.py", ROOT)
    kept = "ls .flask-supervisor/config/*.toml | wc -l"
    serve(stage, COACH)
    stage.run(f"until [ $({kept}) = 1 ]; do sleep 0.1; done")
    stage.write("supervisor.toml", COACH + "threads = 5\n")
    stage.run(f"flask-supervisor reload; until [ $({kept}) = 2 ]; do sleep 0.1; done")
    stage.write("supervisor.toml", "[apps\n")


def serving(stage: Stage) -> None:
    """The app coach serves."""
    stage.write("coach.py", ROOT + "\n\n" + '@app.get("/smoke")\ndef smoke():\n    return "well"\n')
    serve(stage, COACH + 'health_path = "/"\nsmoke = ["/smoke"]\n')


@scenario
def reload_that_fails(stage: Stage) -> None:
    """New code that can't be imported."""
    serving(stage)
    stage.write("coach.py", "\n" * 4 + "import nosuch\n" + ROOT)


@scenario
def new_version(stage: Stage) -> None:
    """A new version in an archive."""
    serving(stage)
    stage.run(
        "mkdir new; sed s/teams/games/ coach.py >new/coach.py; tar czf coach-1.3.tar.gz -C new ."
    )


@scenario
def version_that_lacks_a_file(stage: Stage) -> None:
    """A new version that can't be imported."""
    serving(stage)
    stage.write("coach-1.4/coach.py", "\n" * 4 + "import field\n" + ROOT)


@scenario
def version_that_fails(stage: Stage) -> None:
    """A new version whose page fails."""
    serving(stage)
    fails = "mkdir new; sed 's#return \"well\"#1 / 0#' coach.py >new/coach.py"
    stage.run(f"{fails}; python3 -m zipfile -c coach-1.5.zip new/coach.py")


@scenario
def two_deploys(stage: Stage) -> None:
    """An app after a deploy, and another that was undone."""
    serving(stage)
    stage.write("new/field/mail.py", "")
    stage.run("sed '1i import field.mail' coach.py >new/coach.py")
    stage.run("tar czf coach-1.3.tar.gz -C new . && flask-supervisor deploy coach coach-1.3.tar.gz")
    stage.run("sed -i 's#return \"well\"#1 / 0#' new/coach.py; tar czf coach-1.5.tar.gz -C new .")
    stage.run("flask-supervisor deploy coach coach-1.5.tar.gz")


@scenario
def port_in_use(stage: Stage) -> None:
    """Somebody has started an app by hand."""
    stage.write("admin.py", ROOT)
    stage.write("coach_interface.py", ROOT)
    stage.write(
        "main.py", "import http.server as h\nh.test(h.SimpleHTTPRequestHandler, port=5001)\n"
    )
    stage.begin("python3 main.py")
    stage.run("until (echo >/dev/tcp/127.0.0.1/5001) 2>/dev/null; do sleep 0.05; done")
    serve(stage, CONFIG)


@scenario
def doctor(stage: Stage) -> None:
    """Somebody else's server has the port of an app."""
    stopped(stage)
    stage.begin("python3 -m http.server 5001")
    stage.run("until (echo >/dev/tcp/127.0.0.1/5001) 2>/dev/null; do sleep 0.05; done")


@scenario
def already_running(stage: Stage) -> None:
    """The supervisor runs."""
    running(stage)


@scenario
def new_file(stage: Stage) -> None:
    """One file in a new version."""
    stage.write("coach_interface.py", ROOT)
    serve(stage, COACH.replace("coach:app", "coach_interface:app"))
    stage.run("mkdir new && sed s/teams/games/ coach_interface.py >new/coach_interface.py")


@scenario
def with_metrics(stage: Stage) -> None:
    """An app that has been used."""
    stage.write("coach.py", ROOT)
    serve(stage, COACH)
    stage.run("for n in $(seq 9); do curl -s localhost:5001/; done")
    stage.run("until curl -s localhost:6000/metrics | grep '\"2xx\"} 9.0'; do sleep 0.1; done")


@scenario
def for_a_monitor(stage: Stage) -> None:
    """One of two apps can't be imported."""
    stage.write("admin.py", ROOT)
    stage.write("coach.py", "\n\nimport x\n" + ROOT)
    serve(stage, CONFIG.replace("coach_interface:app", "coach:app"), until="ModuleNotFoundError")


@scenario
def one_app(stage: Stage) -> None:
    """One app, and the configuration for it."""
    stage.write("coach_interface.py", ROOT)
    stage.write("supervisor.toml", COACH.replace("coach:app", "coach_interface:app"))


@scenario
def fresh_clone(stage: Stage) -> None:
    """What `make run` has started in a fresh clone; its log shows what the block before says."""
    for name in ("apps", "config"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, stage.folder / name, ignore=ignore)
    (stage.folder / ".venv").symlink_to(stage.home)
    recipe = re.search(r"^run: .*\n\t\$\(BIN\)/(.*)$", (REPOSITORY / "Makefile").read_text(), re.M)
    assert recipe
    stage.environment |= {
        "FLASK_SUPERVISOR__SUPERVISOR__LOG_FORMAT": "console",
        "PYTHONPATH": f"{stage.folder}:{REPOSITORY}",
    }
    log = stage.begin(recipe[1])
    [made] = [
        block for block in BLOCKS if block.steps[-1].command == "make run" and block.line < 50
    ]
    wanted = {normal(line) for line in made.steps[-1].shown} - {"..."}

    def is_shown() -> bool:
        lacking = wanted - {normal(line) for line in log.read_text().splitlines()}
        assert not lacking, log.read_text()
        return True

    eventually(is_shown, timeout_s=60)
