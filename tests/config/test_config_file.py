"""The configuration as a whole: all mistakes at once, clashes, unreadable files, the example."""

import dataclasses
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from harness import REPOSITORY

from supervisor.config import reader, settings
from supervisor.process.throwaway import call_in_child
from supervisor.values.errors import ConfigError, SupervisorError

NOBODY = 65534
EXAMPLE = REPOSITORY / "config" / "supervisor.toml"
SECTIONS: dict[str, type[Any]] = {
    "supervisor": settings.SupervisorSettings,
    "bind": settings.BindSettings,
    "status": settings.StatusSettings,
    "host": settings.HostSettings,
    "admin": settings.AdminSettings,
    "apps": settings.AppSettings,
}


def app(name: str = "coach", keys: str = "port = 5001") -> str:
    """Return the text of an app's table."""
    return f'[apps.{name}]\ntarget = "coach:app"\n{keys}\n'


def problems(folder: Path, text: str | bytes) -> list[str]:
    """Return the mistakes in a file, without its name at their beginning."""
    file = folder / "supervisor.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as raised:
        reader.load(file)
    assert all(problem.startswith(f"{file}: ") for problem in raised.value.problems)
    return [problem.removeprefix(f"{file}: ") for problem in raised.value.problems]


# ---- all at once


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    """One run reports the mistakes in single values and those between keys."""
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
        "apps.other.port = 5000: is already taken by app 'Admin'",
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
            "zzz: unknown key (known here: admin, apps, bind, host, notify, requires, status, "
            "supervisor)",
        ),
    ],
)
def test_an_unknown_key(tmp_path: Path, text: str, expected: str) -> None:
    """The message suggests the most similar key, or lists all keys."""
    assert problems(tmp_path, text) == [expected]


def test_a_problem_is_one_short_line(tmp_path: Path) -> None:
    """The message stays readable, however long a value is and whatever it contains."""
    value = json.dumps("a\nb\t" + "x" * 5000)
    [problem] = problems(tmp_path, f"[apps.coach]\ntarget = {value}\nport = 1")
    assert problem.isprintable()
    assert len(problem) < 200
    assert "…" in problem


# ---- files


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"[apps.coach\n", r"is not valid TOML: .*at line 1"),
        (b"a = 1\nb = \n", r"is not valid TOML: .*at line 2"),
        (b"a = 1\na = 2\n", r"is not valid TOML: "),
        (b"# caf\xe9\n", r"line 1 is not UTF-8 text \(byte 0xe9\); save the file as UTF-8"),
        (b"\0\0\0\0", r"line 1 has a null character: the file is damaged or is not text"),
        (b"#" * (1 << 20) + b"\n", r"cannot read it: it is larger than 1024 KiB"),
    ],
)
def test_a_file_that_is_not_toml(tmp_path: Path, content: bytes, text: str) -> None:
    """The message has the line of the mistake."""
    [problem] = problems(tmp_path, content)
    assert re.match(text, problem)


@pytest.mark.parametrize(
    ("name", "text"), [("nowhere.toml", "there is no such file"), ("", "Is a directory")]
)
def test_a_file_that_is_missing(tmp_path: Path, name: str, text: str) -> None:
    """A missing file, and a folder in its place, are reported with their path."""
    with pytest.raises(ConfigError, match=text) as raised:
        reader.load(tmp_path / name)
    assert str(tmp_path / name) in raised.value.message


def load_as_nobody(folder: Path) -> str:
    """Load the configuration in ``folder`` as another user; return the error."""
    os.chdir(folder)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        reader.load(Path("supervisor.toml"))
    except SupervisorError as error:
        return str(error)
    return "loaded"


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    """A configuration that this user may not read is an error that says what to do."""
    tmp_path.chmod(0o755)
    (tmp_path / "supervisor.toml").write_text(app())
    (tmp_path / "supervisor.toml").chmod(0)
    assert call_in_child(load_as_nobody, tmp_path, timeout_s=30) == (
        "supervisor.toml: cannot read it: Permission denied\n  use sudo, or be its owner"
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_files_of_windows_editors(tmp_path: Path, encoding: str) -> None:
    """The configuration, an env_file and a secret are read in the encodings of Windows editors."""
    lines = 'env_file = "coach.env"\nenv = { TOKEN = "x", KEY = { file = "key" } }\n'
    texts = {
        "supervisor.toml": app(keys=f"port = 5001\n{lines}"),
        "coach.env": "# café\nA=1\nB='zwei'\n",
        "key": "line one\nline two\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.replace("\n", "\r\n").encode(encoding))
    loaded = reader.load(tmp_path / "supervisor.toml")
    expected = {"A": "1", "B": "zwei", "TOKEN": "x", "KEY": "line one\nline two"}
    assert loaded.app_environment("coach") == expected
    assert loaded.text == (tmp_path / "supervisor.toml").read_bytes()


# ---- the example


def example_section(name: str) -> str:
    """Return the text of the example's tables ``name`` and below, without headers."""
    parts = re.split(r"^\[([\w.]+)\].*$", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    titled = zip(parts[1::2], parts[2::2], strict=True)
    return "".join(body for title, body in titled if title.split(".")[0] == name)


def test_the_example_is_valid() -> None:
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


@pytest.mark.parametrize("section", ["supervisor", "bind", "host", "admin", "apps"])
def test_the_example_comments_show_the_defaults(section: str) -> None:
    """A key that is commented out has its default; hosts and `env` show other values."""
    commented = re.findall(r"^# ([a-z_]+ = .*)$", example_section(section), re.MULTILINE)
    shown = tomllib.loads("\n".join(dict.fromkeys(commented)))
    fields = {field.name: field for field in dataclasses.fields(SECTIONS[section])}
    for name, value in shown.items():
        default = fields[name].default
        if default is not None and default is not dataclasses.MISSING:  # else an example
            assert value == default, f"{section}.{name}"
