"""Mistakes in the syntax of the configuration: where they are, and what was probably meant."""

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from operating_case import run_command

from supervisor.config import reader
from supervisor.config.toml_syntax import TomlMistake, parse
from supervisor.values.errors import ConfigError

# the text, the line and column of the mistake, and the beginning of what is said about it
MISTAKES = [
    ("host = localhost", 1, 8, "a string needs quotes"),
    ("host = 192.168.1.1", 1, 8, "a string needs quotes"),
    ("timeout = 5s", 1, 11, "a number has no unit, and a string needs quotes"),
    ("memory = 50%", 1, 10, "a number has no unit"),
    ("port = 5001;", 1, 12, "no ; follows a value"),
    ("port => 5001", 1, 7, "a key and its value are separated by one ="),
    ("port == 5001", 1, 7, "a key and its value are separated by one ="),
    ("a = 1\n<<<<<<< HEAD\nb = 1\n", 2, 1, "git left a conflict"),
    ("=======\nb = 1\n", 1, 1, "git left a conflict"),
    ('{"apps": {"coach": {}}}', 1, 1, "this is JSON"),
    ("apps:\n  coach:\n", 1, 5, "this is YAML"),
    ("---\napps:\n", 1, 1, "this is YAML"),
    ("```toml\na = 1\n```\n", 1, 1, "this line is not part of the file"),
    ("/* a */", 1, 1, "a comment begins with #"),
    ("-- a", 1, 1, "a comment begins with #"),
    ("a = 1\n\ufeffb = 1", 2, 1, "U+FEFF can't be seen: delete it"),
    ("a\u200b = 1", 1, 2, "U+200B can't be seen: delete it"),
    ("a = 1\n\x0bb = 1", 2, 1, "the control character U+000B is not allowed"),
    ("path = /opt/x # the code", 1, 8, "a string needs quotes"),
    ("a = “x”", 1, 5, "“ is a typographic quote: write a straight one"),
    ("a = True", 1, 5, "write true"),
    ("a = off", 1, 5, "write false"),
    ("a = null", 1, 5, "there is no such value: leave the key out"),
    ("port =\nhost = 1", 1, 7, "a value is missing"),
    ("port = # later", 1, 8, "a value is missing"),
    ("a = [1,,2]", 1, 8, "a value is missing"),
    ("a = (1, 2)", 1, 5, "a list is written in [ ]"),
    ("a = .5", 1, 5, "a number begins with a digit"),
    ("port = 05001", 1, 8, "a number has no leading zero"),
    ("port = 5001 5002", 1, 13, "there is only one key and value in a line"),
    ("a = 1, b = 2", 1, 6, "no comma follows a value"),
    ('name = "abc\nx = 1', 1, 8, 'the string that begins here has no closing "'),
    ("name = 'abc\nx = 'y'", 1, 8, "the string that begins here has no closing '"),
    ("name = 'abc", 1, 8, "the string that begins here has no closing '"),
    ('[a]\nname = """abc "x"\n', 2, 8, 'the string that begins here has no closing """'),
    ("name = '''abc ''\nx = 1", 1, 8, "the string that begins here has no closing '''"),
    ("a = 'it's'", 1, 8, "a ' ends the string here: write it in \"...\""),
    ('path = "C:\\Users\\pi"', 1, 11, 'a \\ in "..." begins an escape: write a Windows path in'),
    ('path = "C:\\new\\pi"', 1, 15, 'a \\ in "..." begins an escape: write a Windows path in'),
    ('a = "x\x1by"', 1, 7, "the control character U+001B is not allowed: remove it"),
    ("a = 1 # x\x07", 1, 10, "the control character U+0007 is not allowed: remove it"),
    ("a\u00a0= 1", 1, 2, "U+00A0 looks like a space: write a plain one"),
    ("a =\u00a01", 1, 4, "U+00A0 looks like a space: write a plain one"),
    ('a = [\n"/",\n"/a"\nb = 4', 1, 5, "the list that begins in line 1 has no closing ], or lacks"),
    ('a = ["#]", # ]\n"/a"', 1, 5, "the list that begins in line 1 has no closing ], or lacks"),
    ('a = ["/" "/a"]', 1, 10, "a comma, a quote or the closing ] of the list is missing"),
    ('a = ["x, "y"]', 1, 11, "a comma, a quote or the closing ] of the list is missing"),
    ("a = [1]]", 1, 8, "this ] closes nothing"),
    ('env = { A = "1"\nb = 1', 1, 16, "a comma or the closing } is missing; a table in { } is on"),
    ('env = {\n A = "1" }', 1, 7, "a table in { } is on one line: write it as a table [...]"),
    ('env = { A = "1", }', 1, 18, "a table in { } has no comma after its last key"),
    ("[apps.coach\nport = 1", 1, 12, "the table's name has no closing ]"),
    ("[[requires]\nkind = 1", 1, 11, "the table's name has no closing ]]"),
    ("[apps coach]", 1, 7, "the parts of a table's name are separated by dots"),
    ("[apps.]", 1, 7, "a part of the table's name is missing"),
    ("[a]\nx = 1\n[b]\nx = 1\n[a]", 5, 2, "the table [a] is declared twice, first in line 1"),
    ("[a]\nx = 1\n[b]\nx = 1\ny = 2\nx = [\n3]", 6, 1, "the key x is set twice, first in line 4"),
    ("[a]\nb = 1\n[a.b]\nc = 1", 3, 1, "this name is already that of a value, or of another"),
    ("a = 1\nport: 5001", 2, 5, "a key and its value are separated by = and not by :"),
    ("port 5001", 1, 6, "a key and its value are separated by =; a key with spaces needs"),
    ("export A=1", 1, 8, "TOML has no export: write NAME = value"),
    ("\n\n// comment", 3, 1, "a comment begins with #"),
    ("; comment", 1, 1, "a comment begins with #"),
    ("= 5", 1, 1, "the key is missing"),
    ("é = 1", 1, 1, "a key of other characters than A-Z, a-z, 0-9, _ and - needs quotes"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column", "cause"), MISTAKES)
def test_the_place_and_the_cause(text: str, line: int, column: int, cause: str) -> None:
    """The message names the cause, line and column; the excerpt has a caret at the place."""
    with pytest.raises(TomlMistake) as raised:
        parse(text)
    message = str(raised.value)
    assert message.startswith(f"is not valid TOML: {cause}")
    assert message.endswith(f" (at line {line}, column {column})")
    excerpt, caret = raised.value.excerpt.split("\n")
    assert len(excerpt) <= len(text.split("\n")[line - 1])
    assert caret == " " * (column - 1) + "^"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "[" * 100_000, "is not valid TOML: it is nested too deeply"),
        ("a = " + "9" * 5000, "is not valid TOML: a number has more than 4300 digits"),
    ],
)
def test_what_python_does_not_read(text: str, message: str) -> None:
    """Limits of Python's parser are reported like other mistakes."""
    with pytest.raises(TomlMistake) as raised:
        parse(text)
    assert (str(raised.value), raised.value.excerpt) == (message, "")


PIECES = st.sampled_from(
    [*"ab \t\n=.[]{},#\"'\\01-é:\u00a0\x07\u2028", "[[", '"""', "'''", "true", "[a]\n", "a = 1\n"]
)


@given(text=st.lists(PIECES, max_size=20).map("".join))
@example(text="a = 1\n[[a]]")
def test_every_text_is_read_or_explained(text: str) -> None:
    """What tomllib reads is read; for everything else the place is inside the text."""
    try:
        expected = tomllib.loads(text)
    except ValueError:
        expected = None
    try:
        assert parse(text) == expected
    except TomlMistake as mistake:
        assert expected is None
        assert str(mistake).isprintable()
        line, caret = mistake.excerpt.split("\n")
        assert line.isprintable()
        assert len(caret) <= len(line) + 1


@pytest.mark.parametrize(
    "text",
    [
        'SECRET_KEY = "hunter2\n',
        'env = { API_TOKEN = "hunter2" "x" }\n',
        'password = [\n"a",\n"hunter2" 5]\n',
        '[a]\nTOKEN = """\nhunter2\\q\n"""\n',
        "port = 1\nPASSWORD hunter2\n",
    ],
)
def test_a_line_with_a_secret_is_not_shown(text: str) -> None:
    """Where the key of a value is a secret's, only the place and the cause are reported."""
    with pytest.raises(TomlMistake) as raised:
        parse(text)
    assert raised.value.excerpt == ""
    assert "hunter2" not in str(raised.value)


def test_a_long_line_is_cut_around_the_place() -> None:
    """The excerpt fits a terminal, with the caret below the mistake."""
    with pytest.raises(TomlMistake) as raised:
        parse(f"a = [{'1, ' * 100}x{', 1' * 100}]")
    line, caret = raised.value.excerpt.split("\n")
    assert len(line) <= 76
    assert line[len(caret) - 1] == "x"


def test_the_file_is_named(tmp_path: Path) -> None:
    """The error has one problem in one line, and the excerpt as its hint."""
    file = tmp_path / "supervisor.toml"
    file.write_text("[apps.coach]\n\tport = 5001\n\thost = pi\n", encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        reader.load(file)
    problem = f"{file}: is not valid TOML: a string needs quotes (at line 3, column 9)"
    assert raised.value.problems == [problem]
    assert str(raised.value) == f"{problem}\n   host = pi\n          ^"


def test_the_command_shows_the_line(tmp_path: Path) -> None:
    """On a terminal the caret is below the mistake; JSON has the problem alone."""
    (tmp_path / "supervisor.toml").write_text("[apps.coach]\nport: 5001\n", encoding="utf-8")
    result = run_command(tmp_path, "config", "check")
    assert result.returncode == 1
    assert result.stderr.replace(f"{tmp_path}/", "").splitlines() == [
        "error: supervisor.toml: is not valid TOML: a key and its value are separated by = and not "
        "by : (at line 2, column 5)",
        "  port: 5001",
        "      ^",
    ]
    document = json.loads(run_command(tmp_path, "config", "check", "--json").stdout)
    assert document["problems"] == [result.stderr.splitlines()[0].removeprefix("error: ")]
    lines = run_command(tmp_path, "doctor").stdout.splitlines()
    number = next(n for n, line in enumerate(lines) if "is not valid TOML" in line)
    column = lines[number + 1].index("port: 5001")
    assert lines[number + 2] == " " * (column + 4) + "^"
