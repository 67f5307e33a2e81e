"""``flask-supervisor add``: a further app in a configuration, whose comments stay."""

import os
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from supervisor.cli import main
from supervisor.cli.config_text import with_app
from supervisor.values.errors import SupervisorError

CONFIGURATION = """\
# The field's apps.
[supervisor]
host = "127.0.0.1"  # this machine only

[apps.admin]
target = "admin:app"
port = 25000   # people type it
# threads = 4

[status]
port = 26000
# the end
"""


def add(file: Path, *words: str) -> Result:
    """Run ``add`` on a configuration."""
    return CliRunner().invoke(main.cli, ["add", *words, "-c", str(file)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration with one app, and the sources of another."""
    (tmp_path / "supervisor.toml").write_text(CONFIGURATION)
    (tmp_path / "supervisor.toml").chmod(0o640)
    (tmp_path / "field").mkdir()
    (tmp_path / "field" / "coach.py").write_text("from flask import Flask\nweb = Flask('x')\n")
    return tmp_path / "supervisor.toml"


def test_an_app_is_added(file: Path) -> None:
    """The new section is there; every line that was there still is, and so is the file's mode."""
    done = add(file, "coach", "coach:app", "--port", "25001")
    assert (done.exit_code, done.output.splitlines()[0]) == (0, f"added app 'coach' to {file}")
    text = file.read_text()
    assert tomllib.loads(text)["apps"]["coach"] == {
        "target": "coach:app",
        "port": 25001,
        "path": os.path.relpath(Path.cwd(), file.parent),
    }
    lines = iter(text.splitlines())
    assert all(line in lines for line in CONFIGURATION.splitlines())
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_file_as_target(file: Path) -> None:
    """The app in a file is found without running it; its folder becomes the path."""
    done = add(file, "coach", str(file.parent / "field" / "coach.py"), "--port", "25001")
    assert done.exit_code == 0, done.output
    found = tomllib.loads(file.read_text())["apps"]["coach"]
    assert found == {"target": "coach:web", "port": 25001, "path": "field"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_a_file_of_a_windows_editor(file: Path, encoding: str) -> None:
    """An app is added to it, and its encoding and line ends stay."""
    file.write_bytes(CONFIGURATION.replace("\n", "\r\n").encode(encoding))
    done = add(file, "coach", "coach:app", "--port", "25001", "--path", ".")
    assert done.exit_code == 0, done.output
    text = file.read_bytes().decode(encoding)
    assert text.count("\r\n") == text.count("\n") > CONFIGURATION.count("\n")
    assert "coach" in tomllib.loads(text.replace("\r\n", "\n"))["apps"]


def test_the_first_app_of_a_configuration(tmp_path: Path) -> None:
    """A file without apps, as the installer leaves it, gets its first one."""
    file = tmp_path / "supervisor.toml"
    file.write_text("# The field.\n[supervisor]\nhost = '127.0.0.1'\n")
    done = add(file, "coach", "coach:app", "--port", "25001", "--path", "/srv/coach")
    assert done.exit_code == 0, done.output
    text = file.read_text()
    assert text.startswith("# The field.\n")
    assert tomllib.loads(text)["apps"]["coach"]["path"] == "/srv/coach"


def test_a_link_stays_a_link(file: Path) -> None:
    """The file that the link leads to is changed."""
    link = file.with_name("link.toml")
    link.symlink_to(file.name)
    assert add(link, "coach", "coach:app", "--port", "25001", "--path", ".").exit_code == 0
    assert link.is_symlink()
    assert "path" not in tomllib.loads(file.read_text())["apps"]["coach"]


REFUSED: dict[str, tuple[list[str], int, str]] = {
    "the name is taken": (["admin", "a:app", "--port", "25001"], 1, "there is an app 'admin'"),
    "the port is taken": (["coach", "a:app", "--port", "25000"], 1, "taken by app 'admin'"),
    "the status port": (["coach", "a:app", "--port", "26000"], 1, "taken by the status server"),
    "no name": (["Coach", "a:app", "--port", "25001"], 2, "'Coach' is no name for an app"),
    "a reserved name": (["all", "a:app", "--port", "25001"], 2, "must not be one of all, status"),
    "no target": (["coach", "a:", "--port", "25001"], 1, 'must be "module:app"'),
    "no port": (["coach", "a:app"], 2, "Missing option '--port'"),
}


@pytest.mark.parametrize(("words", "code", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(file: Path, words: list[str], code: int, message: str) -> None:
    """The reason, and the file stays as it was."""
    done = add(file, *words)
    assert (done.exit_code, message in " ".join(done.output.split())) == (code, True), done.output
    assert file.read_text() == CONFIGURATION


def test_an_invalid_configuration_is_left_alone(file: Path) -> None:
    """Its problems are reported; nothing is added."""
    file.write_text(CONFIGURATION + "[apps.coach]\nprot = 1\n")
    before = file.read_text()
    done = add(file, "more", "a:app", "--port", "25001")
    assert done.exit_code == 1
    assert "prot" in done.output
    assert file.read_text() == before


KEYS = {"target": "new:app", "port": 5}
TEXTS = {
    "empty": "",
    "a comment alone": "# nothing yet\n",
    "no line end": '[supervisor]\nhost = "x"',
    "out of order": "[apps.a]\nport = 1\n\n[status]\nport = 3\n\n[apps.b] # b\nport = 2\n",
    "tables below": '[apps.a]\nport = 1\n[[apps.a.requires]]\nkind = "e"\n[apps.a.env]\nK = "v"\n',
    "a table of all": "[apps]\n# why\n[apps.a]\nport = 1\n",
    "inline": "apps = { a = { port = 1 } } # i\n",
    "line ends of Windows": "[apps.a]\r\nport = 1 # p\r\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_forms_of_a_configuration(text: str) -> None:
    """The result is the same document with one app more; no comment is lost."""
    changed = with_app(text, "new", KEYS)
    wanted = tomllib.loads(text)
    wanted.setdefault("apps", {})["new"] = KEYS
    assert tomllib.loads(changed) == wanted
    for line in text.splitlines():
        assert "#" not in line or line.rpartition("#")[2] in changed


def test_a_form_that_cannot_be_extended() -> None:
    """Dotted keys are refused, with what to write by hand."""
    with pytest.raises(SupervisorError) as raised:
        with_app('apps.a.target = "a:app"\napps.a.port = 1\n[status]\nport = 3\n', "new", KEYS)
    assert raised.value.hint == 'add it by hand: [apps.new]; target = "new:app"; port = 5'
