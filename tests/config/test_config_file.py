"""The configuration as a whole: every mistake at once, clashes, files that can't be read."""

import dataclasses
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from harness import REPOSITORY

from supervisor.config import locate, reader, settings
from supervisor.process.throwaway import call_in_child
from supervisor.values.errors import ConfigError, SupervisorError

NOBODY = 65534
EXAMPLE = REPOSITORY / "config" / "supervisor.toml"
SECTIONS: dict[str, type[Any]] = {
    "supervisor": settings.SupervisorSettings,
    "bind": settings.BindSettings,
    "status": settings.StatusSettings,
    "host": settings.HostSettings,
    "apps": settings.AppSettings,
}


def app(name: str = "coach", keys: str = "port = 5001") -> str:
    """Give the text of an app's section."""
    return f'[apps.{name}]\ntarget = "coach:app"\n{keys}\n'


def problems(folder: Path, text: str | bytes) -> list[str]:
    """Give everything that is wrong with a file, without its name at the beginning."""
    file = folder / "supervisor.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as raised:
        reader.load(file)
    assert all(problem.startswith(f"{file}: ") for problem in raised.value.problems)
    return [problem.removeprefix(f"{file}: ") for problem in raised.value.problems]


# ---- all at once


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """One run shows all mistakes of a file, those inside of tables and those between them."""
    text = """
    [supervisor]
    host = "raspberrypi.local"
    log_format = "jason"
    log_levle = "info"
    [bind]
    attempts = 0
    [status]
    port = 70000
    [hosts]
    [apps.coach]
    target = "coach.py"
    port = "5001"
    threads = 0
    enabled = "no"
    [apps.Admin]
    target = "admin:app"
    port = 5000
    [apps.other]
    target = "other:app"
    port = 5000
    [apps.third]
    port = 5003
    """
    beginnings = [
        "apps.Admin: this name can't be used",
        'apps.coach.enabled = "no": must be ',
        'apps.coach.port = "5001": must be ',
        'apps.coach.target = "coach.py": must be ',
        "apps.coach.threads = 0: must be ",
        "apps.other.port = 5000: is taken by app 'Admin' already",
        "apps.third.target: this key is required",
        "bind.attempts = 0: must be ",
        "hosts: unknown key",
        'supervisor.host = "raspberrypi.local": must be ',
        'supervisor.log_format = "jason": must be ',
        'supervisor.log_levle: unknown key; did you mean "log_level"?',
        "status.port = 70000: must be ",
    ]
    found = problems(tmp_path, text)
    missing = [b for b in beginnings if not any(problem.startswith(b) for problem in found)]
    assert not missing
    assert len(found) == len(beginnings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (app(keys="port = 1\nprt = 1"), 'apps.coach.prt: unknown key; did you mean "port"?'),
        (app(keys="port = 1\ntread = 1"), 'apps.coach.tread: unknown key; did you mean "threads"?'),
        ("[bind]\natempts = 3\n" + app(), 'bind.atempts: unknown key; did you mean "attempts"?'),
        ("[aps.x]\n" + app(), 'aps: unknown key; did you mean "apps"?'),
        (
            "zzz = 1\n" + app(),
            "zzz: unknown key (known here: apps, bind, host, requires, status, supervisor)",
        ),
    ],
)
def test_an_unknown_key(tmp_path: Path, text: str, expected: str) -> None:
    """A key that doesn't exist is named with the one that was probably meant, or with all."""
    assert problems(tmp_path, text) == [expected]


def test_a_problem_is_one_short_line(tmp_path: Path) -> None:
    """However long a value is, and whatever is in it, its problem stays readable."""
    value = json.dumps("a\nb\t" + "x" * 5000)
    [problem] = problems(tmp_path, f"[apps.coach]\ntarget = {value}\nport = 1")
    assert problem.isprintable()
    assert len(problem) < 200
    assert "…" in problem


# ---- names and ports


@pytest.mark.parametrize("name", ["status", "all", "Coach", "1st", "my-app", '"my app"', '""', "é"])
def test_a_name_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    """Names that commands and paths couldn't use are refused, with the rule."""
    text = app(json.dumps(name) if name == "é" else name)
    [problem] = problems(tmp_path, text)
    bare = name.strip('"')
    assert problem.startswith(f"apps.{bare}: this name can't be used; a name starts with a letter")


@pytest.mark.parametrize("text", ["", "[apps]\n", "[supervisor]\n"])
def test_a_file_without_apps(tmp_path: Path, text: str) -> None:
    """A supervisor of nothing is a mistake; the message shows how to begin."""
    [problem] = problems(tmp_path, text)
    assert problem.startswith("apps: no app is configured; add a table [apps.NAME]")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (app() + app("b"), "apps.b.port = 5001: is taken by app 'coach' already"),
        (app(keys="port = 6000"), "apps.coach.port = 6000: is taken by the status server already"),
        (
            "[status]\nport = 7000\n" + app(keys="port = 7000"),
            "apps.coach.port = 7000: is taken by the status server already",
        ),
        (
            app(keys='host = "unix:a.sock"') + app("b", 'host = "unix:a.sock"'),
            "apps.b.host = \"unix:a.sock\": is taken by app 'coach' already",
        ),
        (
            app(keys='host = "unix:a.sock"') + app("b", 'host = "unix:./x/../a.sock"'),
            "apps.b.host = \"unix:./x/../a.sock\": is taken by app 'coach' already",
        ),
        (
            '[status]\nhost = "unix:a.sock"\n' + app(keys='host = "unix:a.sock"'),
            'apps.coach.host = "unix:a.sock": is taken by the status server already',
        ),
    ],
)
def test_two_on_one_port(tmp_path: Path, text: str, expected: str) -> None:
    """Two apps, or an app and the status server, can't listen at the same place."""
    assert problems(tmp_path, text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        app() + app("b", "port = 5001\nenabled = false"),
        app() + app("b", "enabled = false"),
        app() + app("b", "port = 6000\nenabled = false"),
        app(keys='port = 6000\nhost = "unix:a.sock"'),
        '[status]\nhost = "unix:s.sock"\n' + app(keys="port = 6000"),
        app(keys='host = "unix:a.sock"') + app("b", 'host = "unix:b.sock"'),
    ],
)
def test_no_clash(tmp_path: Path, text: str) -> None:
    """Apps that are disabled, and Unix sockets, take no port."""
    file = tmp_path / "supervisor.toml"
    file.write_text(text)
    assert reader.load(file).apps


# ---- files


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"[apps.coach\n", r"is not valid TOML: .*at line 1"),
        (b"a = 1\nb = \n", r"is not valid TOML: .*at line 2"),
        (b"a = 1\na = 2\n", r"is not valid TOML: "),
        (b"# caf\xe9\n", r"is not UTF-8 text \(byte 5\)"),
        (b"\0\0\0\0", r"is not valid TOML: "),
    ],
)
def test_a_file_that_is_no_toml(tmp_path: Path, content: bytes, text: str) -> None:
    """What isn't TOML is refused with its place."""
    [problem] = problems(tmp_path, content)
    assert re.match(text, problem)


@pytest.mark.parametrize(
    ("name", "text"), [("nowhere.toml", "there is no such file"), ("", "Is a directory")]
)
def test_a_file_that_is_none(tmp_path: Path, name: str, text: str) -> None:
    """A missing file and a folder are named, with what is the matter."""
    with pytest.raises(ConfigError, match=text) as raised:
        reader.load(tmp_path / name)
    assert str(tmp_path / name) in raised.value.message


def find_without_rights(folder: Path) -> str:
    """Load the default configuration as a user who may not look into ``folder``/config."""
    os.chdir(folder)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        reader.load(locate.find(None, {}))
    except SupervisorError as error:
        return f"message: {error}"
    return "loaded"


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    """A configuration that belongs to another user gives a message, wherever it lies."""
    tmp_path.chmod(0o755)
    (tmp_path / "supervisor.toml").write_text(app())
    (tmp_path / "supervisor.toml").chmod(0)
    answer = call_in_child(find_without_rights, tmp_path, timeout_s=30)
    assert answer.startswith("message: supervisor.toml: cannot read it: Permission denied")


def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    """A folder of the search that this user may not enter ends in a message too."""
    tmp_path.chmod(0o755)
    (tmp_path / "config").mkdir(mode=0)
    try:
        answer = call_in_child(find_without_rights, tmp_path, timeout_s=30)
    finally:
        (tmp_path / "config").chmod(0o755)
    assert answer.startswith("message: ")


# ---- where the file is looked for


def test_where_the_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option wins, then the variable, ./supervisor.toml, ./config/supervisor.toml."""
    monkeypatch.chdir(tmp_path)
    places = [Path("given.toml"), tmp_path / "variable.toml", *locate.SEARCHED[:2]]
    (tmp_path / "config").mkdir()
    for place in places:
        place.write_text(app())
    environment = {"FLASK_SUPERVISOR_CONFIG": str(places[1])}
    assert locate.find("given.toml", environment) == places[0]
    assert locate.find(None, environment) == places[1]
    assert locate.find(None, {}) == Path("supervisor.toml")
    assert locate.find(None, {"FLASK_SUPERVISOR_CONFIG": ""}) == Path("supervisor.toml")
    Path("supervisor.toml").unlink()
    assert locate.find(None, {}) == Path("config/supervisor.toml")
    assert locate.SEARCHED[2] == Path("/etc/flask-supervisor/supervisor.toml")


@pytest.mark.skipif(
    os.path.exists(locate.SEARCHED[2]), reason="this machine has a configuration in /etc"
)
def test_no_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names every place that was looked at, and the option."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as raised:
        locate.find(None, {})
    for place in ("$FLASK_SUPERVISOR_CONFIG", *map(str, locate.SEARCHED)):
        assert place in raised.value.message
    assert raised.value.hint == "name one with --config FILE"


# ---- the example


def example_section(name: str) -> str:
    """Give the text of the example's tables ``name`` and below, without headers."""
    parts = re.split(r"^\[([\w.]+)\].*$", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    titled = zip(parts[1::2], parts[2::2], strict=True)
    return "".join(body for title, body in titled if title.split(".")[0] == name)


def test_the_example_is_right() -> None:
    """The example configuration loads, with the two example apps at their ports."""
    loaded = reader.load(EXAMPLE)
    assert {name: loaded.address(name)[1] for name in loaded.apps} == {"admin": 5000, "coach": 5001}
    assert loaded.status_address == ("0.0.0.0", 6000)
    assert loaded.app_path("coach") == REPOSITORY


@pytest.mark.parametrize("section", SECTIONS)
def test_the_example_mentions_every_key(section: str) -> None:
    """Every key of every table is in the example, set or as a comment, and no other key is."""
    mentioned = re.findall(r"^(?:# )?([a-z_]+) = ", example_section(section), re.MULTILINE)
    assert set(mentioned) == {field.name for field in dataclasses.fields(SECTIONS[section])}


@pytest.mark.parametrize("section", ["supervisor", "bind", "host", "apps"])
def test_the_example_comments_show_the_defaults(section: str) -> None:
    """A key that is commented out shows its default; hosts and `env` show what else there is."""
    commented = re.findall(r"^# ([a-z_]+ = .*)$", example_section(section), re.MULTILINE)
    shown = tomllib.loads("\n".join(dict.fromkeys(commented)))
    fields = {field.name: field for field in dataclasses.fields(SECTIONS[section])}
    for name, value in shown.items():
        default = fields[name].default
        if default is not None and default is not dataclasses.MISSING:  # else an example
            assert value == default, f"{section}.{name}"
