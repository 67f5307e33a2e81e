"""Overrides, values from variables and files, their origins, and what no message shows."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from supervisor.config import reader, settings
from supervisor.config import show as effective
from supervisor.config.settings import Config
from supervisor.values.errors import ConfigError

SECRET = "planted-7f3a91c5"
APP = '[apps.coach]\ntarget = "coach:app"\nport = 5001\n'
OVERRIDE = "FLASK_SUPERVISOR__"


def load(folder: Path, text: str = APP, **variables: str) -> Config:
    """Return the configuration in a file with ``text``, in an environment of ``variables``."""
    file = folder / "supervisor.toml"
    file.write_text(text, encoding="utf-8")
    return reader.load(file, variables)


def problems(folder: Path, text: str = APP, **variables: str) -> list[str]:
    """Return the mistakes, without the name of the folder."""
    with pytest.raises(ConfigError) as raised:
        load(folder, text, **variables)
    return [problem.replace(f"{folder}/", "") for problem in raised.value.problems]


def show(folder: Path, text: str = APP, **variables: str) -> dict[str, tuple[Any, str]]:
    """Return value and origin by key path, as ``config show`` does."""
    found = effective.settings(load(folder, text, **variables))
    return {setting.path: (setting.value, setting.origin) for setting in found}


# ---- overrides


@pytest.mark.parametrize(
    ("key", "text", "path", "value"),
    [
        ("APPS__COACH__PORT", "5051", "apps.coach.port", 5051),
        ("APPS__COACH__ENABLED", "false", "apps.coach.enabled", False),
        ("APPS__COACH__TARGET", "other:app", "apps.coach.target", "other:app"),
        ("APPS__COACH__TARGET", '"other:app"', "apps.coach.target", "other:app"),
        ("APPS__COACH__SMOKE", '["/", "/a"]', "apps.coach.smoke", ["/", "/a"]),
        ("BIND__FIRST_DELAY_S", "0.5", "bind.first_delay_s", 0.5),
        ("SUPERVISOR__HOST", "::", "supervisor.host", "::"),
        ("STATUS__PORT", "6001", "status.port", 6001),
    ],
)
def test_a_variable_overrides_a_key(
    tmp_path: Path, key: str, text: str, path: str, value: Any
) -> None:
    """Its value is read as TOML, else as a string; missing tables are created."""
    assert show(tmp_path, **{OVERRIDE + key: text})[path] == (value, OVERRIDE + key)


def test_an_app_may_consist_of_variables_only(tmp_path: Path) -> None:
    """A container can add an app without a file of its own."""
    variables = {
        OVERRIDE + "APPS__TEAM_A__TARGET": "a:app",
        OVERRIDE + "APPS__TEAM_A__PORT": "5002",
    }
    loaded = load(tmp_path, **variables)
    assert list(loaded.apps) == ["coach", "team_a"]
    assert loaded.apps["team_a"].port == 5002


@pytest.mark.parametrize("text", ["2", "true", "0x1f", "2026-01-01", '"quoted"', "x = 1"])
def test_an_apps_variable_may_be_set_by_an_override(tmp_path: Path, text: str) -> None:
    """Its name keeps its case, and its value is a string, whatever it looks like."""
    variable = OVERRIDE + "APPS__COACH__ENV__LOG_LEVEL"
    assert load(tmp_path, **{variable: text}).app_environment("coach") == {"LOG_LEVEL": text}


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("APPS__COACH__PROT", "1", 'apps.coach.prot: unknown key; did you mean "port"?'),
        ("PORT", "1", "port: unknown key"),
        ("APPS__COACH__PORT", "x", 'apps.coach.port = "x": must be a port number'),
        ("APPS__COACH__PORT__X", "1", "apps.coach.port.x: apps.coach.port is not a table"),
        ("APPS__COACH", "1", "apps.coach = 1: must be a table"),
        ("APPS__COUCH__THREADS", "2", "apps.couch.target: this key is required"),
    ],
)
def test_a_mistake_in_a_variable_names_the_variable(
    tmp_path: Path, key: str, text: str, said: str
) -> None:
    """The message starts with the variable in place of the file."""
    found = problems(tmp_path, **{OVERRIDE + key: text})
    assert any(said in problem for problem in found)
    assert any(problem.startswith(f"{OVERRIDE}{key}: ") for problem in found), found


def test_other_variables_are_not_overrides(tmp_path: Path) -> None:
    """An override starts with two underscores after the prefix."""
    assert load(tmp_path, FLASK_SUPERVISOR_PORT="1", FLASK_SUPERVISOR_CONFIG="x").apps


# ---- references


def test_a_value_may_come_from_a_variable_or_a_file(tmp_path: Path) -> None:
    """Line ends at the end of a file are removed; its path is relative to the configuration."""
    (tmp_path / "key").write_text("of two\nlines\n", encoding="utf-8")
    text = APP.replace("5001", '{ env = "PORT" }') + (
        '[apps.coach.env]\nTOKEN = { env = "T" }\nKEY = { file = "key" }\n'
    )
    loaded = load(tmp_path, text, PORT="5007", T=SECRET)
    assert loaded.apps["coach"].port == 5007
    assert loaded.app_environment("coach") == {"TOKEN": SECRET, "KEY": "of two\nlines"}


@pytest.mark.parametrize("text", ["1234", "true", "1_000", "2026-01-01", '"q"', "[1]", "1.50"])
def test_an_apps_variable_is_never_converted(tmp_path: Path, text: str) -> None:
    """A PIN of four digits stays a string, and quotes belong to a password."""
    (tmp_path / "key").write_text(text, encoding="utf-8")
    source = APP + '[apps.coach.env]\nA = { env = "T" }\nB = { file = "key" }\n'
    assert load(tmp_path, source, T=text).app_environment("coach") == {"A": text, "B": text}


def test_missing_variables_and_files_are_named(tmp_path: Path) -> None:
    """Each missing variable and file is a line, with the key that refers to it."""
    text = APP + '[apps.coach.env]\nA = { env = "NOT_SET" }\nB = { file = "gone" }\n'
    assert problems(tmp_path, text) == [
        "supervisor.toml: apps.coach.env.A: the variable NOT_SET is not set",
        "supervisor.toml: apps.coach.env.B: cannot read gone: No such file or directory",
    ]


def test_an_apps_variables_may_be_called_file_and_env(tmp_path: Path) -> None:
    """A table of variables is never taken for a reference."""
    for name in ("file", "env"):
        loaded = load(tmp_path, f'{APP}env = {{ {name} = "/etc/hostname" }}\n')
        assert loaded.app_environment("coach") == {name: "/etc/hostname"}


HIDDEN_MISTAKES = {
    "a number": 'threads = { env = "S" }',
    "a list": 'smoke = { env = "S" }',
    "a table below env": 'env = { A = { B = { env = "S" } } }',
    "a requirement": 'requires = [{ kind = { env = "S" } }]',
    "a plain value with a secret's name": "env = { API_TOKEN = 90731155 }",
}


@pytest.mark.parametrize("lines", HIDDEN_MISTAKES.values(), ids=HIDDEN_MISTAKES)
def test_a_mistake_in_a_secret_does_not_show_it(tmp_path: Path, lines: str) -> None:
    """The message says what is accepted and hides the value."""
    found = problems(tmp_path, f"{APP}{lines}\n", S=SECRET)
    assert found
    assert not [problem for problem in found if SECRET in problem or "90731155" in problem]


# ---- env_file


def test_env_overrides_the_env_file(tmp_path: Path) -> None:
    """Comments, `export`, quotes and blank lines are understood."""
    (tmp_path / "coach.env").write_text(
        "# a comment\n\nexport A=1\nB = 'two words'\nC=\"x=y\"\nD=\nE=a#b\nF='half\n"
        'export\tG="a # b" # a comment\n',
        encoding="utf-8",
    )
    text = APP + 'env_file = "coach.env"\nenv = { A = "own" }\n'
    assert load(tmp_path, text).app_environment("coach") == {
        "A": "own",
        "B": "two words",
        "C": "x=y",
        "D": "",
        "E": "a#b",
        "F": "'half",
        "G": "a # b",
    }


def test_mistakes_in_an_env_file_do_not_show_its_lines(tmp_path: Path) -> None:
    """The message has the number of the line, whose text may be a secret."""
    (tmp_path / "coach.env").write_text(f"A=1\n{SECRET}\nB C={SECRET}\n", encoding="utf-8")
    found = problems(tmp_path, APP + 'env_file = "coach.env"\n')
    assert found == [
        f"supervisor.toml: apps.coach.env_file: coach.env, line {line}: is not NAME=value"
        for line in (2, 3)
    ]


@pytest.mark.parametrize("content", [b"A=\xff\xfe", None])
def test_an_env_file_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    """A missing file, and one that isn't text, are named."""
    if content is not None:
        (tmp_path / "coach.env").write_bytes(content)
    [found] = problems(tmp_path, APP + 'env_file = "coach.env"\n')
    assert "apps.coach.env_file: cannot read coach.env: " in found


# ---- what is in effect


def test_every_value_has_its_origin(tmp_path: Path) -> None:
    """The configuration file, a variable, a file of its own, an env_file, or the default."""
    (tmp_path / "key").write_text(SECRET, encoding="utf-8")
    (tmp_path / "coach.env").write_text(f"FROM_FILE={SECRET}\nA=below\n", encoding="utf-8")
    text = APP + (
        'env_file = "coach.env"\nthreads = 4\n[apps.coach.env]\nA = "1"\nAPI_KEY = "plain"\n'
        'B = { env = "T" }\nC = { file = "key" }\n[supervisor]\nhost = "::"\n'
    )
    found = show(tmp_path, text, T=SECRET, **{OVERRIDE + "STATUS__PORT": "6001"})
    hidden = effective.HIDDEN
    assert found["supervisor.host"] == ("::", "supervisor.toml")
    assert found["supervisor.log_level"] == ("info", "default")
    assert found["status.port"] == (6001, OVERRIDE + "STATUS__PORT")
    assert found["apps.coach.env.A"] == ("1", "supervisor.toml")
    assert found["apps.coach.env.B"] == (hidden, "variable T")
    assert found["apps.coach.env.C"] == (hidden, "file key")
    assert found["apps.coach.env.API_KEY"] == (hidden, "supervisor.toml")
    assert found["apps.coach.env.FROM_FILE"] == (hidden, "coach.env")
    assert SECRET not in str(found)


def test_an_app_may_be_called_like_a_table(tmp_path: Path) -> None:
    """An app named "host" with an ``env_file`` has nothing to do with the table [host]."""
    (tmp_path / "host.env").write_text("A=1\n", encoding="utf-8")
    found = show(tmp_path, APP.replace("coach]", "host]") + 'env_file = "host.env"\n')
    assert found["apps.host.env.A"] == (effective.HIDDEN, "host.env")


def test_a_default_in_the_file_comes_from_the_file(tmp_path: Path) -> None:
    """A value that the file sets has the file as origin, though it is the default."""
    assert show(tmp_path, APP + "threads = 4\n")["apps.coach.threads"] == (4, "supervisor.toml")


def test_a_secret_in_a_requirement_is_hidden(tmp_path: Path) -> None:
    """A list of tables is shown as one value, which is hidden if it contains a secret."""
    requires = '[[{}requires]]\nkind = "http"\nurl = {{ env = "S" }}\n'
    text = APP + requires.format("apps.coach.") + requires.format("")
    assert SECRET not in str(show(tmp_path, text, S=f"http://user:{SECRET}@h/"))


@hypothesis_settings(deadline=None)
@given(apps=st.sets(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), min_size=1, max_size=4))
def test_every_key_of_every_table_is_shown(apps: set[str]) -> None:
    """Whatever apps there are, every key of every class is shown once."""
    apps -= settings.RESERVED_NAMES
    raw = {name: {"target": "a:b", "port": 7000 + n} for n, name in enumerate(sorted(apps))}
    if not apps:
        return
    found = [s.path for s in effective.settings(reader.parse({"apps": raw}, Path("a.toml")))]
    assert len(found) == len(set(found))
    tables = {f"apps.{name}": settings.AppSettings for name in apps}
    for field in dataclasses.fields(Config):
        if field.metadata.get("key", True) and field.name not in ("apps", "notify", "requires"):
            tables[field.name] = type(field.default_factory())
    expected = {
        f"{table}.{f.name}" for table, cls in tables.items() for f in dataclasses.fields(cls)
    }
    assert {path for path in found if path != "requires"} == expected


# ---- the state folder alone


OTHER_MISTAKES = '[bind]\nattempts = 0\n[apps.coach]\nport = { env = "UNSET" }\n'


@pytest.mark.parametrize(
    ("text", "variables", "folder"),
    [
        ("", {}, ".flask-supervisor"),
        (OTHER_MISTAKES, {}, ".flask-supervisor"),
        ('[supervisor]\nstate_dir = "state"\nhost = { env = "UNSET" }\n', {}, "state"),
        ('[supervisor]\nstate_dir = { env = "STATE" }\n', {"STATE": "/var/state"}, "/var/state"),
        (OTHER_MISTAKES, {OVERRIDE + "SUPERVISOR__STATE_DIR": "other"}, "other"),
    ],
)
def test_the_state_folder_is_found_in_a_broken_file(
    tmp_path: Path, text: str, variables: dict[str, str], folder: str
) -> None:
    """To find the running supervisor, the rest of its configuration need not be valid."""
    file = tmp_path / "supervisor.toml"
    file.write_text(text, encoding="utf-8")
    assert reader.load_state_dir(file, variables) == tmp_path / folder


@pytest.mark.parametrize(
    "text",
    [
        "[supervisor]\nstate_dir = 1\n",
        '[supervisor]\nstate_dir = { env = "UNSET" }\n',
        "supervisor = 1\n",
        "[supervisor\n",
    ],
)
def test_a_state_folder_that_cannot_be_found(tmp_path: Path, text: str) -> None:
    """Then all mistakes are reported."""
    file = tmp_path / "supervisor.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        reader.load_state_dir(file, {})
    with pytest.raises(ConfigError) as expected:
        reader.load(file, {})
    assert raised.value.problems == expected.value.problems
