"""Parses TOML, and explains a syntax mistake: where it is, and what is probably meant.

`tomllib` stops at the first character that it can't use, often behind the mistake. What it says is
matched with the text around that place.
"""

import re
import tomllib
import unicodedata
from collections.abc import Callable
from typing import Any, NamedTuple

from supervisor.config.secrecy import has_secret_name, without_url_passwords
from supervisor.values.terminal import printable

_EXCERPT_MAX = 76
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_TOKENS = re.compile(
    r"""#[^\n]*|\"{3}(?:\\.|[^\\])*?\"{3}|'{3}.*?'{3}|\"{3}|'{3}"""
    r"""|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|["'\[\]{}]""",
    re.DOTALL,
)
_KEY = re.compile(r"""[ \t]*([\w."'-]+)[ \t]*=""")
_HEADER = re.compile(r"[ \t]*\[\[?[ \t]*([\w.-]+)[ \t]*(\]|$)", re.MULTILINE)
_WORDS = {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false"}
_WORDS |= {"off": "false"}
_QUOTES = "“”„‟«»‘’‚`´"
_OTHER_FORMATS = {  # how a line of something else begins, and what it is
    "<<<<<<<": "git left a conflict between two versions here: choose one, and remove the marks",
    "=======": "git left a conflict between two versions here: choose one, and remove the marks",
    ">>>>>>>": "git left a conflict between two versions here: choose one, and remove the marks",
    "{": "this is JSON, and TOML has tables: [apps.NAME], with lines key = value",
    "```": "this line is not part of the file: remove it",
    "---": "this is YAML, and TOML has tables: [apps.NAME], with lines key = value",
    "/*": "a comment begins with #",
    "--": "a comment begins with #",
    "//": "a comment begins with #",
    ";": "a comment begins with #",
}


class TomlMistake(ValueError):
    """A text is not TOML; ``excerpt`` is its line with a caret below, or "" for a secret one."""

    def __init__(self, message: str, excerpt: str = "") -> None:
        super().__init__(message)
        self.excerpt = excerpt


class _Stop(NamedTuple):
    """Where `tomllib` stopped in ``text``: before the character at ``at``."""

    text: str
    at: int
    message: str

    @property
    def before(self) -> str:
        """The line up to the place."""
        return self.text[self.text.rfind("\n", 0, self.at) + 1 : self.at]

    @property
    def rest(self) -> str:
        """The line from the place on."""
        return self.text[self.at :].partition("\n")[0]


_Found = tuple[str, int] | None  # what is wrong, and where


def parse(text: str) -> dict[str, Any]:
    """Return the tables of a TOML document. Raises `TomlMistake`."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        stop = _stop(text, str(error))
        cause, at = _explain(stop)
        line, column = _line_of(text, at), at - text.rfind("\n", 0, at)
        message = f"is not valid TOML: {cause} (at line {line}, column {column})"
        raise TomlMistake(message, _excerpt(text, at)) from error
    except RecursionError as error:
        raise TomlMistake("is not valid TOML: it is nested too deeply") from error
    except ValueError as error:  # int() refuses more digits
        raise TomlMistake("is not valid TOML: a number has more than 4300 digits") from error


def _stop(text: str, message: str) -> _Stop:
    place = _PLACE.search(message)
    if place is None or place[1] is None:
        return _Stop(text, len(text.rstrip()), _PLACE.sub("", message))
    start = sum(len(line) + 1 for line in text.split("\n")[: int(place[1]) - 1])
    return _Stop(text, start + int(place[2]) - 1, _PLACE.sub("", message))


def _line_of(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _explain(stop: _Stop) -> tuple[str, int]:
    """Return what is wrong, and where: often before the place where `tomllib` stopped."""
    found = _open_string(stop) or _odd_character(stop) or _other_format(stop)
    for beginning, explain in _EXPLANATIONS:
        if found is None and stop.message.startswith(beginning):
            found = explain(stop)
    return found or (stop.message[:1].lower() + stop.message[1:], stop.at)


def _open_string(stop: _Stop) -> _Found:
    for token in _TOKENS.finditer(stop.text):
        if token.start() > stop.at:
            break
        if token[0] in ('"', "'", '"' * 3, "'" * 3):
            return f"the string that begins here has no closing {token[0]}", token.start()
    return None


def _odd_character(stop: _Stop) -> _Found:
    character = stop.rest[:1]
    if character.isprintable() or character in "\t\r":
        return None
    if character.isascii():
        return _illegal_character(stop)
    if unicodedata.category(character) == "Cf":
        return f"U+{ord(character):04X} can't be seen: delete it", stop.at
    return f"U+{ord(character):04X} looks like a space: write a plain one", stop.at


def _other_format(stop: _Stop) -> _Found:
    line = stop.before + stop.rest
    for beginning, explanation in _OTHER_FORMATS.items():
        if not _open_brackets(stop) and line.lstrip().startswith(beginning):
            return explanation, stop.at - len(stop.before)
    return None


def _open_brackets(stop: _Stop) -> list[int]:
    """Return where the brackets are that are open at the place, the innermost last."""
    found: list[int] = []
    for token in _TOKENS.finditer(stop.text, 0, stop.at):
        if token[0] in "[{":
            found.append(token.start())
        elif token[0] in "]}" and found:
            found.pop()
    return found


def _illegal_character(stop: _Stop) -> _Found:
    name = f"U+{ord(stop.text[stop.at]):04X}"
    return f"the control character {name} is not allowed: remove it", stop.at


def _backslash(stop: _Stop) -> _Found:
    place = stop.text.rfind("\\", 0, stop.at)
    return "a \\ in \"...\" begins an escape: write a Windows path in '...'", max(place, 0)


def _table_twice(stop: _Stop) -> _Found:
    name = ".".join(re.findall(r"'([^']*)'", stop.message))
    lines = stop.text.split("\n")[: _line_of(stop.text, stop.at) - 1]
    for number, line in enumerate(lines, 1):
        header = _HEADER.match(line)
        if header is not None and header[1] == name:
            return f"the table [{name}] is declared twice, first in line {number}", stop.at - 1
    return f"the table [{name}] is declared twice", stop.at - 1


def _key_twice(stop: _Stop) -> _Found:
    lines = stop.text.split("\n")[: _line_of(stop.text, stop.at)]
    starts = [n for n, line in enumerate(lines) if _KEY.match(line) or _HEADER.match(line)]
    last = starts[-1] if starts else 0
    key = _KEY.match(lines[last])
    at = sum(len(line) + 1 for line in lines[:last])
    if key is None:
        return "this name is already that of a value, or of another kind of table", at
    for number in reversed(starts[:-1]):
        other = _KEY.match(lines[number])
        if other is None:
            break
        if other[1] == key[1]:
            return f"the key {key[1]} is set twice, first in line {number + 1}", at
    return f"the key {key[1]} is set twice", at


def _list(stop: _Stop) -> _Found:
    start = (_open_brackets(stop) or [stop.at])[-1]
    line = _line_of(stop.text, start)
    if line == _line_of(stop.text, stop.at) and stop.rest.strip():
        return "a comma, a quote or the closing ] of the list is missing", stop.at
    return f"the list that begins in line {line} has no closing ], or lacks a comma", start


def _inline_table(stop: _Stop) -> _Found:
    return "a comma or the closing } is missing; a table in { } is on one line", stop.at


def _key(stop: _Stop) -> _Found:
    brackets = _open_brackets(stop)
    if stop.before.lstrip().startswith("["):
        return "a part of the table's name is missing", stop.at
    if brackets and stop.before.rstrip().endswith(",") and stop.rest.startswith("}"):
        return "a table in { } has no comma after its last key", stop.at
    if brackets and not stop.rest.strip():
        return "a table in { } is on one line: write it as a table [...] instead", brackets[-1]
    return None


def _header(stop: _Stop) -> _Found:
    if stop.message.startswith("Expected ']]'"):
        return "the table's name has no closing ]]", stop.at
    if "]" in stop.rest:
        return "the parts of a table's name are separated by dots", stop.at
    return "the table's name has no closing ]", stop.at


def _no_equals(stop: _Stop) -> _Found:
    if stop.rest.rstrip() == ":":
        return _OTHER_FORMATS["---"], stop.at
    if stop.rest.startswith(":"):
        return "a key and its value are separated by = and not by :", stop.at
    if stop.before.strip() == "export":
        return "TOML has no export: write NAME = value", stop.at
    return "a key and its value are separated by =; a key with spaces needs quotes", stop.at


def _value(stop: _Stop) -> _Found:
    word = stop.rest.partition("#")[0].strip(" \t")
    first = word[:1]
    texts: list[tuple[bool, str]] = [
        (not word or first in ",]}", "a value is missing"),
        (first in _QUOTES, f"{first} is a typographic quote: write a straight one"),
        (first in "=>", "a key and its value are separated by one ="),
        (word.lower() in _WORDS, f"write {_WORDS.get(word.lower())}"),
        (word.lower() in ("null", "none", "nil"), "there is no such value: leave the key out"),
        (first == "(", "a list is written in [ ]"),
        (first in ".+-" and word[1:2].isdigit(), "a number begins with a digit"),
    ]
    return next((text for holds, text in texts if holds), "a string needs quotes"), stop.at


def _statement(stop: _Stop) -> _Found:
    if stop.rest.startswith("="):
        return "the key is missing", stop.at
    if stop.rest.startswith(("]", "}")):
        return f"this {stop.rest[0]} closes nothing", stop.at
    return "a key of other characters than A-Z, a-z, 0-9, _ and - needs quotes", stop.at


def _more(stop: _Stop) -> _Found:
    """Explain what follows a complete value."""
    value = stop.before.rpartition("=")[2].strip()
    rest = stop.rest
    if rest.startswith((",", ";")):
        return f"no {'comma' if rest[0] == ',' else rest[0]} follows a value", stop.at
    if re.fullmatch(r"[+-]?0", value) and rest[:1].isdigit():
        return "a number has no leading zero", stop.at - 1
    if rest.startswith(("]", "}")):
        return f"this {rest[0]} closes nothing", stop.at
    if re.fullmatch(r"[\d._]+", value) and re.fullmatch(r"[A-Za-z%]+", rest.split("#")[0].strip()):
        return "a number has no unit, and a string needs quotes", stop.at - len(value)
    if value[-1:].isalnum() and rest[:1].strip() and stop.before[-1:].strip():
        return "a string needs quotes", stop.at - len(value)
    if value.endswith(("'", '"')) and stop.before.endswith(value) and rest[-1:] == value[:1]:
        other = "'" if value[:1] == '"' else '"'
        return f"a {value[:1]} ends the string here: write it in {other}...{other}", stop.at - 1
    return "there is only one key and value in a line", stop.at


_EXPLANATIONS: tuple[tuple[str, Callable[[_Stop], _Found]], ...] = (
    ("Illegal character", _illegal_character),
    ("Found invalid character", _illegal_character),
    ("Unescaped", _backslash),
    ("Invalid hex value", _backslash),
    ("Escaped character", _backslash),
    ("Cannot declare", _table_twice),
    ("Cannot overwrite", _key_twice),
    ("Unclosed array", _list),
    ("Unclosed inline table", _inline_table),
    ("Invalid initial character", _key),
    ("Expected ']", _header),
    ("Expected '='", _no_equals),
    ("Invalid value", _value),
    ("Invalid statement", _statement),
    ("Expected newline", _more),
)


def _excerpt(text: str, at: int) -> str:
    """Return the line with a caret below the place; empty if the value may be a secret."""
    lines = text.split("\n")
    number = _line_of(text, at) - 1
    starts = (n for n in range(number, -1, -1) if _KEY.match(lines[n]) or _HEADER.match(lines[n]))
    first = next(starts, 0)
    around = " ".join(lines[first : number + 1])
    has_name = any(has_secret_name(word) for word in re.findall(r"[\w-]+", around))
    if has_name or without_url_passwords(around) != around:
        return ""
    column = at - (text.rfind("\n", 0, at) + 1)
    start = max(0, column - _EXCERPT_MAX + 10)
    shown = printable(lines[number].replace("\t", " ")[start : start + _EXCERPT_MAX])
    return f"{shown}\n{' ' * (column - start)}^"
