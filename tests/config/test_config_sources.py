"""Values from elsewhere: overrides, variables, files; what is said of them, and what is not."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from operating_case import run_command

from supervisor.config import reader, settings
from supervisor.config import show as effective
from supervisor.config.settings import Config
from supervisor.values.errors import ConfigError

SECRET = "planted-7f3a91c5"
APP = '[apps.coach]\ntarget = "coach:app"\nport = 5001\n'
OVERRIDE = "FLASK_SUPERVISOR__"


def load(folder: Path, text: str = APP, **variables: str) -> Config:
    """Load a file with ``text``, in an environment of ``variables`` only."""
    file = folder / "supervisor.toml"
    file.write_text(text, encoding="utf-8")
    return reader.load(file, variables)


def problems(folder: Path, text: str = APP, **variables: str) -> list[str]:
    """Give everything that is wrong, without the folder's name."""
    with pytest.raises(ConfigError) as raised:
        load(folder, text, **variables)
    return [problem.replace(f"{folder}/", "") for problem in raised.value.problems]


def show(folder: Path, text: str = APP, **variables: str) -> dict[str, tuple[Any, str]]:
    """Give value and origin by key path, as ``config show`` does."""
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
    """Its value is read as TOML, else as a text; tables that the file lacks are made."""
    assert show(tmp_path, **{OVERRIDE + key: text})[path] == (value, OVERRIDE + key)


def test_an_app_may_consist_of_variables_only(tmp_path: Path) -> None:
    """A container needs no file of its own."""
    variables = {
        OVERRIDE + "APPS__TEAM_A__TARGET": "a:app",
        OVERRIDE + "APPS__TEAM_A__PORT": "5002",
    }
    loaded = load(tmp_path, **variables)
    assert list(loaded.apps) == ["coach", "team_a"]
    assert loaded.apps["team_a"].port == 5002


@pytest.mark.parametrize("text", ["2", "true", "0x1f", "2026-01-01", '"quoted"', "x = 1"])
def test_an_apps_variable_may_be_set_by_an_override(tmp_path: Path, text: str) -> None:
    """It keeps its name, which is in capitals, and any text is a text there."""
    variable = OVERRIDE + "APPS__COACH__ENV__LOG_LEVEL"
    assert load(tmp_path, **{variable: text}).app_environment("coach") == {"LOG_LEVEL": text}


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("APPS__COACH__PROT", "1", 'apps.coach.prot: unknown key; did you mean "port"?'),
        ("PORT", "1", "port: unknown key"),
        ("APPS__COACH__PORT", "x", 'apps.coach.port = "x": must be a port number'),
        ("APPS__COACH__PORT__X", "1", "apps.coach.port.x: what it is in is no table"),
        ("APPS__COACH", "1", "apps.coach = 1: must be a table"),
        ("APPS__COUCH__THREADS", "2", "apps.couch.target: this key is required"),
    ],
)
def test_a_mistake_in_a_variable_names_the_variable(
    tmp_path: Path, key: str, text: str, said: str
) -> None:
    """Nobody would look for it in the file."""
    found = problems(tmp_path, **{OVERRIDE + key: text})
    assert any(said in problem for problem in found)
    assert any(problem.startswith(f"{OVERRIDE}{key}: ") for problem in found), found


def test_other_variables_of_ours_are_no_overrides(tmp_path: Path) -> None:
    """Two underscores make an override, one doesn't."""
    assert load(tmp_path, FLASK_SUPERVISOR_PORT="1", FLASK_SUPERVISOR_CONFIG="x").apps


# ---- references


def test_a_value_may_come_from_a_variable_or_a_file(tmp_path: Path) -> None:
    """The last line end of a file goes; a path is relative to the configuration's folder."""
    (tmp_path / "key").write_text("of two\nlines\n", encoding="utf-8")
    text = APP.replace("5001", '{ env = "PORT" }') + (
        '[apps.coach.env]\nTOKEN = { env = "T" }\nKEY = { file = "key" }\n'
    )
    loaded = load(tmp_path, text, PORT="5007", T=SECRET)
    assert loaded.apps["coach"].port == 5007
    assert loaded.app_environment("coach") == {"TOKEN": SECRET, "KEY": "of two\nlines"}


@pytest.mark.parametrize("text", ["1234", "true", "1_000", "2026-01-01", '"q"', "[1]", "1.50"])
def test_an_apps_variable_is_the_text_as_it_is(tmp_path: Path, text: str) -> None:
    """A PIN of four digits is no number, and quotes belong to a password."""
    (tmp_path / "key").write_text(text, encoding="utf-8")
    source = APP + '[apps.coach.env]\nA = { env = "T" }\nB = { file = "key" }\n'
    assert load(tmp_path, source, T=text).app_environment("coach") == {"A": text, "B": text}


def test_what_is_missing_is_said_with_its_name(tmp_path: Path) -> None:
    """Each missing variable and file is a line, with the key that wanted it."""
    text = APP + '[apps.coach.env]\nA = { env = "NOT_SET" }\nB = { file = "gone" }\n'
    assert problems(tmp_path, text) == [
        "supervisor.toml: apps.coach.env.A: the variable NOT_SET is not set",
        "supervisor.toml: apps.coach.env.B: cannot read gone: No such file or directory",
    ]


def test_an_apps_variables_may_be_called_file_and_env(tmp_path: Path) -> None:
    """A table of variables is never taken for a reference, however few it holds."""
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
    """The message tells what is accepted, not what was found."""
    found = problems(tmp_path, f"{APP}{lines}\n", S=SECRET)
    assert found
    assert not [problem for problem in found if SECRET in problem or "90731155" in problem]


# ---- env_file


def test_a_file_of_variables_is_below_env(tmp_path: Path) -> None:
    """Comments, `export`, quotes and blank lines are understood; ``env`` wins."""
    (tmp_path / "coach.env").write_text(
        "# a comment\n\nexport A=1\nB = 'two words'\nC=\"x=y\"\nD=\nE=a#b\nF='half\n",
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
    }


def test_mistakes_in_a_file_of_variables_are_counted_not_shown(tmp_path: Path) -> None:
    """The line's number is said, its text isn't: it may be half a secret."""
    (tmp_path / "coach.env").write_text(f"A=1\n{SECRET}\nB C={SECRET}\n", encoding="utf-8")
    found = problems(tmp_path, APP + 'env_file = "coach.env"\n')
    assert found == [
        f"supervisor.toml: apps.coach.env_file: coach.env, line {line}: is not NAME=value"
        for line in (2, 3)
    ]


@pytest.mark.parametrize("content", [b"A=\xff\xfe", None])
def test_a_file_of_variables_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    """A file that isn't there or isn't text is named."""
    if content is not None:
        (tmp_path / "coach.env").write_bytes(content)
    [found] = problems(tmp_path, APP + 'env_file = "coach.env"\n')
    assert "apps.coach.env_file: cannot read coach.env: " in found


# ---- what is in effect


def test_every_value_has_its_origin(tmp_path: Path) -> None:
    """The file, a variable, a file of its own, a file of variables, or the default."""
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


def test_a_default_that_was_written_down_is_from_the_file(tmp_path: Path) -> None:
    """Who looks for the place where a value is set is sent there."""
    assert show(tmp_path, APP + "threads = 4\n")["apps.coach.threads"] == (4, "supervisor.toml")


def test_a_secret_in_a_requirement_is_hidden(tmp_path: Path) -> None:
    """A list of tables is shown as one value, without what came from elsewhere."""
    requires = '[[{}requires]]\nkind = "http"\nurl = {{ env = "S" }}\n'
    text = APP + requires.format("apps.coach.") + requires.format("")
    assert SECRET not in str(show(tmp_path, text, S=f"http://user:{SECRET}@h/"))


@hypothesis_settings(deadline=None)
@given(apps=st.sets(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), min_size=1, max_size=4))
def test_every_key_of_every_table_is_shown(apps: set[str]) -> None:
    """Whatever apps there are, no key of any class is missing, and none is there twice."""
    apps -= settings.RESERVED_NAMES
    raw = {name: {"target": "a:b", "port": 7000 + n} for n, name in enumerate(sorted(apps))}
    if not apps:
        return
    found = [s.path for s in effective.settings(reader.parse({"apps": raw}, Path("a.toml")))]
    assert len(found) == len(set(found))
    tables = {f"apps.{name}": settings.AppSettings for name in apps}
    for field in dataclasses.fields(Config):
        if field.metadata.get("key", True) and field.name not in ("apps", "requires"):
            tables[field.name] = type(field.default_factory())
    expected = {
        f"{table}.{f.name}" for table, cls in tables.items() for f in dataclasses.fields(cls)
    }
    assert {path for path in found if path != "requires"} == expected


# ---- the state folder alone


BAD_ELSEWHERE = '[bind]\nattempts = 0\n[apps.coach]\nport = { env = "UNSET" }\n'


@pytest.mark.parametrize(
    ("text", "variables", "folder"),
    [
        ("", {}, ".flask-supervisor"),
        (BAD_ELSEWHERE, {}, ".flask-supervisor"),
        ('[supervisor]\nstate_dir = "state"\nhost = { env = "UNSET" }\n', {}, "state"),
        ('[supervisor]\nstate_dir = { env = "STATE" }\n', {"STATE": "/var/state"}, "/var/state"),
        (BAD_ELSEWHERE, {OVERRIDE + "SUPERVISOR__STATE_DIR": "other"}, "other"),
    ],
)
def test_the_state_folder_is_found_in_a_broken_file(
    tmp_path: Path, text: str, variables: dict[str, str], folder: str
) -> None:
    """To ask the supervisor that runs, nothing else of its configuration has to be right."""
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
    """Then everything that is wrong is said."""
    file = tmp_path / "supervisor.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        reader.load_state_dir(file, {})
    with pytest.raises(ConfigError) as expected:
        reader.load(file, {})
    assert raised.value.problems == expected.value.problems


# ---- the commands


def test_config_check_says_everything_at_once(tmp_path: Path) -> None:
    """Thirteen mistakes are thirteen lines, on a terminal and in JSON, and the exit code is 1."""
    (tmp_path / "supervisor.toml").write_text(
        '[supervisor]\nhost = "pi.local"\nlog_format = "xml"\nshutdown_timeout_s = "2"\n'
        "[bind]\nattempts = 0\n[status]\nport = 5001\n"
        '[apps.admin]\ntarget = "apps.admin"\nport = 5000\ncontrol = "yes"\nprot = 1\n'
        '[apps.coach]\ntarget = "a:b"\nport = 5001\nthreads = 4.5\nenv_file = "missing.env"\n'
        'env = { DEBUG = true }\n[apps.Display]\ntarget = "a:b"\nport = 70000\n',
        encoding="utf-8",
    )
    result = run_command(tmp_path, "config", "check")
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 13, result.stderr
    assert all(line.startswith("error: ") for line in result.stderr.splitlines())
    as_json = run_command(tmp_path, "config", "check", "--json")
    assert as_json.returncode == 1
    document = json.loads(as_json.stdout)
    assert document["ok"] is False
    assert [f"error: {problem}" for problem in document["problems"]] == result.stderr.splitlines()


def test_config_check_of_a_good_file(tmp_path: Path) -> None:
    """Exit code 0, and nothing else to be said."""
    (tmp_path / "supervisor.toml").write_text(
        APP + "[host]\ntemperature_c = 70\n", encoding="utf-8"
    )
    result = run_command(tmp_path, "config", "check")
    assert result.returncode == 0, result.stderr
    assert "is valid" in result.stdout
    assert "note: " not in result.stdout
    as_json = run_command(tmp_path, "config", "check", "--json")
    assert as_json.returncode == 0
    expected = {"ok": True, "problems": [], "not_in_effect": []}
    assert json.loads(as_json.stdout) == expected


def test_config_show_prints_lines_that_can_be_searched(tmp_path: Path) -> None:
    """A line a value, with its origin behind it; the same in JSON."""
    (tmp_path / "supervisor.toml").write_text(APP, encoding="utf-8")
    env = {OVERRIDE + "APPS__COACH__PORT": "5051"}
    lines = run_command(tmp_path, "config", "show", env=env).stdout.splitlines()
    [line] = [line for line in lines if line.startswith("apps.coach.port")]
    assert line.split() == ["apps.coach.port", "=", "5051", "#", f"{OVERRIDE}APPS__COACH__PORT"]
    document = json.loads(run_command(tmp_path, "config", "show", "--json", env=env).stdout)
    assert document["apps.coach.port"] == {"value": 5051, "origin": f"{OVERRIDE}APPS__COACH__PORT"}
    assert [line.split(" = ")[0] for line in lines] == list(document)
