"""Reads how serious a line is that an app printed.

A mark says it (``<4>text``, of sd-daemon(3)); else the level word of a common format: those of
`logging`, of gunicorn, werkzeug, uvicorn, loguru, structlog, tornado and absl, JSON and logfmt.
The lines of a traceback have one level. What says nothing is "info". Standard library only.
"""

import json
import re
from typing import Any

from supervisor.values.levels import Level, of_number

_HEAD = 300  # characters in which a level is looked for
_LEVELS: dict[str, Level] = {
    **dict.fromkeys(("trace", "debug"), "debug"),
    **dict.fromkeys(("info", "notice", "success"), "info"),
    **dict.fromkeys(("warn", "warning"), "warning"),
    **dict.fromkeys(("err", "error", "exception", "severe"), "error"),
    **dict.fromkeys(("crit", "critical", "fatal", "alert", "emerg", "panic"), "critical"),
}
_LETTERS: dict[str, Level] = {
    "D": "debug",
    "I": "info",
    "W": "warning",
    "E": "error",
    "C": "critical",
    "F": "critical",
}
_OF_PRIORITY: tuple[Level, ...] = (
    *("critical", "critical", "critical", "error", "warning", "info", "info", "debug"),
)
_WORDS = f"(?i:{'|'.join(_LEVELS)})"
_TIME = re.compile(
    r"[\[(]?(?:(?:\d{1,4}[-/.]\d\d[-/.]\d{2,4}|\d\d/\w{3}/\d{4}|(?:\w{3},? )?\w{3} [ \d]?\d)[T :])?"
    r"\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z| ?[+-]\d\d:?\d\d| [AP]M)?[\])]?|\d{10}(?:\.\d+)?(?=\s)"
)
_SEPARATORS = re.compile(r"[\s|:,\])-]*")
_BRACKETED = re.compile(r"[\[(<]\s*([^\[\](){}<>]{0,60}?)\s*[\])>]")
_WORD = re.compile(r"[^\s|:,()\[\]{}\"'=]{1,60}")
_SEPARATED = re.compile(r"\s*(?:[|:,\])\[]|-\s)")  # behind a word
_VALUE_OF = re.compile(r"\s*=")  # "DEBUG = True"
_FIELDS_MAX = 6  # between the time and the level: a process, a thread, a logger, a line
_MARK = re.compile(r"<([0-7])>")
_LETTER = re.compile(r"\[?(?P<a>[DIWECF]) ?\d{4}(?:\d\d|-\d\d-\d\d)? \d\d:\d\d:\d\d")
_VALUE = r"""(?:"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|[^\s"']\S*|)"""
_LOGFMT = re.compile(
    rf"(?:[\w.@-]++={_VALUE}\s++)*?(?:level|lvl|levelname|severity)=[\"']?(?P<a>{_WORDS})(?![\w-])"
)
# of a line that was cut
_JSON = re.compile(rf'"(?:level|levelname|log\.level|severity|lvl)"\s*:\s*"(?P<a>{_WORDS})"')
_WARNING = re.compile(r"\S.{0,250}:\d+: (?:\w+\.)*\w*Warning: |Exception ignored in: ")
_ERROR = re.compile(
    r"Exception in thread |Unhandled exception in |Fatal Python error: |Error in |"
    r"--- Logging error ---|(?:\w+\.)*\w*(?:Error|Exception)(?:: |$)"
)
_LEVEL_KEYS = ("level", "levelname", "log.level", "severity", "lvl", "log_level", "loglevel")

_TRACEBACK = re.compile(r"[ |+]*(?:Exception Group )?Traceback \(most recent call last\):")
_CHAIN = re.compile(
    r"(?:During handling of|The above exception was) .*|(?:Current t|T)hread 0x.* first\):|"
    r"--- Logging error ---|Call stack:|Message: |Arguments: |Extension modules: "
)


class LevelReader:
    """Reads the levels of the lines of one process, in order."""

    def __init__(self) -> None:
        self._level: Level = "info"  # of the line before
        self._frames = False  # of a traceback, whose last line, the exception, is still to come
        self._is_group = False  # that of an exception group has no last line that isn't indented
        self._ended = False  # the lines before are a traceback, and nothing came after it yet

    def read(self, text: str) -> tuple[str, Level]:
        """Return a line without the mark of its level, and the level."""
        if found := _MARK.match(text):
            self._frames = self._ended = False
            self._level = "info"  # a line without a mark doesn't go on with this one
            return text[3:], _OF_PRIORITY[int(found[1])]
        self._level = self._read(text)
        return text, self._level

    def _read(self, text: str) -> Level:
        if _TRACEBACK.match(text):
            self._is_group = "Group" in text
            self._frames, self._ended = True, False
            return self._level if self._level in ("warning", "critical") else "error"
        is_indented = text[:1] in ("", " ", "\t")
        if self._frames:
            if is_indented:
                return self._level
            self._frames, self._ended = False, not self._is_group
            if self._ended:
                return self._level
        if self._ended and (not text or _CHAIN.match(text)):
            return self._level
        self._ended = False
        if level := level_of(text):
            self._ended = _ERROR.match(text) is not None  # "Fatal Python error" goes on
            return level
        return self._level if text.startswith(("  ", "\t")) else "info"  # not " * Running on"


def level_of(text: str) -> Level | None:
    """Return the level that a line names, None if it names none."""
    head = text[:_HEAD].lstrip()
    if head.startswith("{"):
        return _level_of_json(text)
    if found := _LETTER.match(head):
        return _LETTERS[found["a"]]
    if level := _level_of_fields(head):
        return level
    if found := _LOGFMT.match(head):
        return _LEVELS[found["a"].lower()]
    if _WARNING.match(head):
        return "warning"
    return "error" if _ERROR.match(head) else None


def _level_of_fields(head: str) -> Level | None:
    """Return the level that one of the fields before the message names, as ``[ERROR]``.

    A time may come first. Fields are in brackets, or have a separator behind them; after a time,
    one bare word may be a field too.
    """
    time = _TIME.match(head)
    position, bare = (time.end(), 1) if time else (0, 0)
    is_head = True  # nothing came but the time and brackets
    for _ in range(_FIELDS_MAX):
        if separators := _SEPARATORS.match(head, position):
            position = separators.end()
        if found := _BRACKETED.match(head, position):
            if level := _LEVELS.get(found[1].partition("/")[0].lower()):
                return level
            position = found.end()
            continue
        found = _WORD.match(head, position)
        if found is None:
            return None
        word, position = found[0].partition("/")[0], found.end()
        is_separated = _SEPARATED.match(head, position) is not None
        if level := _LEVELS.get(word.lower()):
            is_bare = (is_head or time is not None) and not _VALUE_OF.match(head, position)
            if is_bare or is_separated or "/" in found[0]:
                return level if word.isupper() or head[position : position + 1] in ":|" else None
        is_head = False
        if not (is_separated or word.isdigit()):
            bare -= 1
            if bare < 0:
                return None
    return None


def _level_of_json(text: str) -> Level | None:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):  # cut, no JSON, or too deep
        found = _JSON.search(text)
        return _LEVELS[found["a"].lower()] if found else None
    for place in (fields, fields.get("log"), fields.get("record")):  # ECS, loguru
        if isinstance(place, dict):
            for key in _LEVEL_KEYS:
                if level := _named(place.get(key)):
                    return level
    return None


def _named(value: Any) -> Level | None:
    if isinstance(value, dict):  # loguru: {"name": "WARNING", "no": 30}
        value = value.get("name")
    if isinstance(value, int | float):
        return of_number(int(value)) if value >= 10 else None
    return _LEVELS.get(value.strip().lower()) if isinstance(value, str) else None
