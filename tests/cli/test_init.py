"""``flask-supervisor init``: what it finds in a folder, and the configuration that it writes."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from harness import free_ports
from hypothesis import given
from hypothesis import strategies as st
from operating_case import environment

from supervisor.cli.config_text import new_configuration, quoted
from supervisor.cli.project import read_project, usable_name
from supervisor.cli.source_module import module_of
from supervisor.config import reader
from supervisor.source.app_scan import scan

FLASK = "from flask import Flask\napp = Flask(__name__)\n"
FACTORY = "from flask import Flask\ndef create_app():\n    return Flask(__name__)\n"


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write files by their paths, and return the folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def init(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run ``init`` in ``folder``."""
    return subprocess.run(
        [sys.executable, "-m", "supervisor", "init", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=folder,
        env=environment(FLASK_SUPERVISOR__STATUS__PORT="26999"),
        timeout=60,
        check=False,
    )


def proposed(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the apps of the configuration that ``init`` would write; it has to be valid."""
    text = new_configuration(read_project(folder))
    raw = tomllib.loads(text)
    (folder / ".env").touch()
    reader.parse(tomllib.loads(text), folder / "supervisor.toml")
    apps: dict[str, dict[str, Any]] = raw["apps"]
    return apps


FIELD = {
    "field/coach_interface.py": "import hardware.bus\n"
    + FLASK
    + "if __name__ == '__main__':\n    app.run(port=25001)\n",
    "field/hardware/__init__.py": "",
    "field/hardware/bus.py": "try:\n    import serial\nexcept ImportError:\n    serial = None\n",
    "admin.py": FACTORY,
    "wsgi.py": "from admin import create_app\napplication = create_app()\n",
    "unused.py": "open('was-run', 'w').close()\nraise SystemExit\n",
    "requirements.txt": "flask\n",
    "field/requirements.txt": "flask\n",
    ".env": "TOKEN=abcdefgh\n",
}


def test_a_folder_with_two_apps(tmp_path: Path) -> None:
    """Apps, ports, devices, environment and requirements are found, and the apps can be served."""
    port = free_ports(1)[0]
    write(tmp_path, {name: text.replace("25001", str(port)) for name, text in FIELD.items()})
    done = init(tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert not (tmp_path / "was-run").exists()
    text = (tmp_path / "supervisor.toml").read_text()
    assert tomllib.loads(text)["apps"] == {
        "admin": {"target": "wsgi:application", "port": 5000, "env_file": ".env"},
        "coach_interface": {
            "target": "coach_interface:app",
            "port": port,
            "path": "field",
            "env_file": ".env",
            "reload": "replace",
        },
    }
    assert "# from field/coach_interface.py, line 5" in text
    assert "serial (field/hardware/bus.py, line 2) holds a serial port" in text
    assert f"read 6 Python files in {tmp_path}, and ran none:" in done.stdout
    assert "admin: Flask app wsgi:application" in done.stdout
    assert "  field/requirements.txt\n  requirements.txt\n" in done.stdout
    assert "coach_interface: ok, imported in" in done.stdout
    assert done.stdout.endswith("\nnext: flask-supervisor run\n")


def test_another_folder(tmp_path: Path) -> None:
    """The commands to go on with name the file."""
    write(tmp_path / "field", {"coach.py": FLASK})
    done = init(tmp_path, "field")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("next: flask-supervisor run -c field/supervisor.toml\n")


@pytest.mark.parametrize("dangling", [False, True])
def test_a_configuration_is_never_overwritten(tmp_path: Path, dangling: bool) -> None:
    """A file stays as it is, and a link that leads nowhere too."""
    write(tmp_path, {"coach.py": FLASK})
    file = tmp_path / "supervisor.toml"
    if dangling:
        file.symlink_to("gone.toml")
    else:
        file.write_text("# mine\n")
    done = init(tmp_path)
    assert done.returncode == 1
    assert "init never overwrites a configuration" in done.stderr
    assert not (tmp_path / "gone.toml").exists()
    assert dangling or file.read_text() == "# mine\n"


def test_an_app_that_cannot_be_imported(tmp_path: Path) -> None:
    """The configuration is written, the problem shown, and the next command named."""
    write(tmp_path, {"coach.py": "import nosuch_module\n" + FLASK})
    done = init(tmp_path)
    assert done.returncode == 1
    assert "No module named 'nosuch_module'" in done.stdout
    assert done.stdout.endswith("then: flask-supervisor check\n")
    assert (tmp_path / "supervisor.toml").exists()


def test_nothing_to_serve(tmp_path: Path) -> None:
    """Apps that can't be served are named with the reason, and nothing is written."""
    files = {
        "make.py": "from flask import Flask\ndef create_app(config):\n    return Flask('x')\n",
        "broken.py": "def f(:\n",
    }
    done = init(write(tmp_path, files))
    assert done.returncode == 1
    assert "make.py: create_app() is not served: the factory needs arguments" in done.stdout
    assert "broken.py is not valid: SyntaxError" in done.stdout
    assert f"found no app to serve in {tmp_path}" in done.stderr
    assert not (tmp_path / "supervisor.toml").exists()


def test_an_asgi_app_is_served_by_a_command(tmp_path: Path) -> None:
    """FastAPI, a factory too, gets uvicorn with our listener; Django's WSGI app comes first."""
    files = {
        "api.py": "import uvicorn\nfrom fastapi import FastAPI\napp = FastAPI()\n"
        "if __name__ == '__main__':\n    uvicorn.run('api:app', port=5011)\n",
        "site/make.py": "from quart import Quart\ndef create_app():\n    return Quart('x')\n",
        "shop/__init__.py": "",
        "shop/wsgi.py": "from django.core.wsgi import get_wsgi_application as get\napp = get()\n",
        "shop/asgi.py": "from django.core.asgi import get_asgi_application as get\napp = get()\n",
    }
    uvicorn = ["uvicorn", "--fd", "{fd}"]
    assert proposed(write(tmp_path, files)) == {
        "api": {"command": [*uvicorn, "api:app"], "port": 5011},
        "shop": {"target": "shop.wsgi:app", "port": 5000},
        "make": {
            "command": [*uvicorn, "--factory", "make:create_app"],
            "port": 5001,
            "path": "site",
        },
    }
    done = init(tmp_path)
    assert done.returncode == 1
    assert "served by uvicorn --fd {fd} api:app" in done.stdout


def test_every_app_gets_its_own_port(tmp_path: Path) -> None:
    """Ports that two apps have, and ports that are unknown, are replaced by free ones."""
    run = FLASK + "app.run(port={})\n"
    files = {
        "a.py": run.format(5000),
        "b.py": run.format(5000),
        "c.py": FLASK,
        "d.py": run.format(5001),
        "e.py": run.format(6000),
    }
    apps = proposed(write(tmp_path, files))
    ports = {name: app["port"] for name, app in apps.items()}
    assert ports == {"a": 5000, "b": 5002, "c": 5003, "d": 5001, "e": 6000}
    text = new_configuration(read_project(tmp_path))
    assert tomllib.loads(text)["status"] == {"port": 6001}


def test_apps_of_one_name_in_several_folders(tmp_path: Path) -> None:
    """Each gets its own port, factory and search path, though all their modules are ``app``."""
    run = "from app import create_app\napp = create_app()\napp.run(port={})\n"
    files: dict[str, str] = {}
    for name, port in (("garden", 5011), ("kitchen", 5012)):
        files |= {f"{name}/app.py": FACTORY, f"{name}/wsgi.py": run.format(port)}
    apps = proposed(write(tmp_path, files))
    assert apps == {
        name: {"target": "wsgi:app", "port": port, "path": name}
        for name, port in (("garden", 5011), ("kitchen", 5012))
    }


SKIPPED: dict[str, tuple[str, str, str]] = {
    "guarded": ("x.py", FLASK.replace("app =", "if __name__ == '__main__':\n    app ="), "above"),
    "local": ("x.py", "def main():\n    " + FLASK.replace("\n", "\n    ") + "app.run()", "main()"),
    "a copy": ("app_old2.py", FLASK, "it looks like a copy of app.py"),
    "a copy of a file manager": ("app (copy).py", FLASK, "it looks like a copy of app.py"),
    "a space": ("my app.py", FLASK, "rename the file"),
}


@pytest.mark.parametrize(("file", "text", "reason"), SKIPPED.values(), ids=SKIPPED)
def test_what_is_not_proposed(tmp_path: Path, file: str, text: str, reason: str) -> None:
    """An app that an import can't reach is named with the reason, and the file stays valid."""
    apps = proposed(write(tmp_path, {"app.py": FLASK, file: text}))
    assert list(apps.values()) == [{"target": "app:app", "port": 5000}]
    [(what, why)] = read_project(tmp_path).skipped
    assert what.startswith(file)
    assert reason in why


RUNS = {
    "a constant": ("app = Flask('x')\nPORT = 5011\napp.run(port=PORT)\n", 5011),
    "options": ("app = Flask('x')\napp.run(**{'port': 5011})\n", None),
    "two names": ("application = app = Flask('x')\napp.run('0.0.0.0', 5011)\n", 5011),
    "Dash": ("import dash\nd = dash.Dash()\napp = d.server\nd.run_server(port=5011)\n", 5011),
    "the port of Dash": ("import dash\nd = dash.Dash()\napp = d.server\nd.run()\n", 8050),
}


@pytest.mark.parametrize(("text", "port"), RUNS.values(), ids=RUNS)
def test_where_a_port_is_read(tmp_path: Path, text: str, port: int | None) -> None:
    """The port is that of the call that serves the app, and none is made up."""
    [found] = read_project(write(tmp_path, {"x.py": "from flask import Flask\n" + text})).proposals
    assert (found.target, found.port if found.port_from else None) == ("x:app", port)


def test_a_port_in_another_file(tmp_path: Path) -> None:
    """A script that imports an app, or its factory, and serves it, has its port."""
    files = {
        "coach.py": FLASK,
        "run_coach.py": "from coach import app as web\nweb.run(port=5011)\n",
        "admin/__init__.py": FACTORY,
        "serve.py": "import waitress, admin\nfrom admin import create_app\n"
        "waitress.serve(create_app(), port=5012)\n",
    }
    apps = proposed(write(tmp_path, files))
    assert {name: app["port"] for name, app in apps.items()} == {"coach": 5011, "admin": 5012}


def test_packages_environments_and_tests(tmp_path: Path) -> None:
    """A package is named from its folder on; environments and tests are not read."""
    files = {
        "src/field/__init__.py": "",
        "src/field/web/__init__.py": FACTORY,
        "src/.venv/pyvenv.cfg": "",
        "src/.venv/bin/python": "",
        "src/.venv/lib/x.py": FLASK,
        "other_env/pyvenv.cfg": "",
        "other_env/x.py": FLASK,
        "tests/test_web.py": FLASK,
        "test_app.py": FLASK,
    }
    apps = proposed(write(tmp_path, files))
    assert apps == {
        "web": {
            "target": "field.web:create_app()",
            "port": 5000,
            "path": "src",
            "python": "src/.venv/bin/python",
        }
    }


IS_INIT = {"field/__init__.py": ""}
MODULES: dict[str, tuple[str, dict[str, str], str, str]] = {
    "a script": ("coach.py", {}, ".", "coach"),
    "a script in a folder": ("field/coach.py", {}, "field", "coach"),
    "a package": ("field/coach.py", IS_INIT, ".", "field.coach"),
    "its own file": ("field/__init__.py", {}, ".", "field"),
    "a package in a folder": ("a/b/c.py", {"a/b/__init__.py": ""}, "a", "b.c"),
    "imports by the folder's name": ("web/app.py", {"web/db.py": "", "": "web.db"}, ".", "web.app"),
    "a dot": ("web/app.py", {"web/db.py": "", "": ".db"}, ".", "web.app"),
    "a folder like a library": ("flask/app.py", {"": "flask"}, "flask", "app"),
    "a script and an __init__": (
        "field/coach.py",
        {**IS_INIT, "field/bus.py": "", "": "bus"},
        "field",
        "coach",
    ),
}


@pytest.mark.parametrize(("file", "files", "path", "module"), MODULES.values(), ids=MODULES)
def test_the_module_of_a_file(
    tmp_path: Path, file: str, files: dict[str, str], path: str, module: str
) -> None:
    """A folder is a package by its ``__init__.py``, or by how its files import each other."""
    imported = files.get("", "flask")
    text = f"from {imported} import x\n"
    write(tmp_path, {**{name: t for name, t in files.items() if name}, file: text})
    found, name = module_of(tmp_path / file, tmp_path, scan(text.encode()))
    assert (found, name) == (tmp_path / path, module)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("coach", "coach"),
        ("Coach-2", "coach_2"),
        ("2nd", "nd"),
        ("status", None),
        ("_", None),
        ("ü", None),
    ],
)
def test_names_of_apps(word: str, name: str | None) -> None:
    """A name has a-z, 0-9 and _, begins with a letter, and is not reserved."""
    assert usable_name(word) == name


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_quoted_texts(text: str) -> None:
    """Every text is read back from TOML as it was."""
    assert tomllib.loads(f"x = {quoted(text)}") == {"x": text}
