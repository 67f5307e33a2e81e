"""How serious a line is that an app printed: read from what common formats say of it."""

import time
import timeit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.process.line_levels import LevelReader, level_of
from supervisor.values.levels import PRIORITIES, Level, marked

LINES: dict[Level | None, list[str]] = {
    "debug": [
        "DEBUG:urllib3.connectionpool:http://x",
    ],
    "info": [
        "INFO:root:ERROR in text",
        "[2026-11-23 10:00:00 +0000] [1234] [INFO] Booting",
        '{"event": "x", "data": {"level": "error"}, "level": "info"}',
        'ts=2026 msg="level=error is \\"bad\\"" level=info',
        'INFO:     127.0.0.1:52 - "GET / HTTP/1.1" 500 Internal Server Error',
        "Info: hello",
    ],
    "warning": [
        "WARNING:root:text",
        "2026-01-01 10:00:00,123 - my.app - WARNING - text",
        "2026-01-01 10:00:00,123 WARNING my.app: text",
        "2026-01-01 10:00:00,123 my.app WARNING text",
        "2026-01-01 10:00:00,123 1234 MainThread WARNING text",
        "2026-01-01 10:00:00,123 [MainThread] my.app WARNING text",
        "[2026-11-27 10:00:00,000: WARNING/MainProcess] celery",
        "[WARNING/MainProcess] mp",
        "2026-11-23 10:00:00.123 | WARNING  | mod:fn:12 - msg",
        "2026-11-23 10:00:00 [warning  ] event   key=1",
        "2026-11-23T10:00:00Z WARN  foo > text",
        '{"event": "x", "level": "warning"}',
        '{"log.level": "warn"}',
        '{"text": "x", "record": {"level": {"icon":"x","name": "WARNING", "no": 30}}}',
        'level=warning msg="x"',
        "WARNING: This is a development server.",
        "WARNING  [alembic.runtime.migration] x",
        "my.app - WARNING - text",
        "[my.app] WARNING: text",
        "[12] [my.app] WARNING text",
        "[W 231127 18:00:00 web:2239] 404 GET /",
        "W1127 18:00:00.000000 123 file.py:1] absl",
        "/srv/app.py:12: DeprecationWarning: old",
        "<frozen importlib._bootstrap>:241: RuntimeWarning: old",
        "warning: x",
        "10:00:00 web.1 | WARNING x",
        "18:00:00,123 root         WARNING  text",
        "01/15/2026 10:00:00 AM WARNING text",
        "WARNING 2026-11-27 18:00:00,123 views 123 140 text",
        "2026-11-27 18:00:00 WARNING: text",
        "2026-11-27 18:00:00,1 WARNING:text",
    ],
    "error": [
        "ERROR:app:boom",
        "[2026-11-23 10:00:00,123] ERROR in app: Exception on / [GET]",
        "2026-01-01 10:00:00 my.app:12 ERROR text",
        "2026-01-01 10:00:00 app.py:12 [ERROR] text",
        "[2026-11-23 10:00:00 +0000] [1234] [ERROR] Worker failed",
        "2026-11-23 10:00:00.123 | ERROR    | __main__:<module>:12 - msg",
        "2026-11-23T10:00:00.000Z [error    ] event",
        '{"levelname": "ERROR", "message": "x"}',
        '{"log": {"level": "error"}}',
        '{"level": 40, "msg": "x"}',
        '{"level": "error", "msg": "cut of',
        "event='boom it' level='error'",
        'time="2026" level=error msg=x',
        "root:ERROR:text",
        "my.app: ERROR: text",
        "app.py:12 - ERROR - text",
        "[E 2026-11-27 18:00:00.123 App] x",
        "sqlite3.OperationalError: disk full",
        "ValueError",
        "error: cannot do",
        "Error: no such option",
        "Exception in thread Thread-1 (work):",
        "ERROR",
        "Nov 27 18:00:00 pi app[12]: ERROR: text",
        "2026/11/27 10:00:00 [error] 123#0: nginx",
        "27.11.2026 18:00:00 ERROR text",
        "2026-11-27 18:00 ERROR text",
        "1764266400.12 ERROR text",
        "Exception: boom",
    ],
    "critical": [
        "CRITICAL:root:x",
        '{"severity": "CRITICAL"}',
        "fatal: not a git repository",
    ],
    None: [
        "{'a': 1}",
        "{}",
        '{"level": null}',
        '{"log": "text", "record": 3}',
        " * Running on http://127.0.0.1",
        '127.0.0.1 - - [27/Nov/2026 18:00:00] "GET /ERROR HTTP/1.1" 500 -',
        '127.0.0.1 - - [27/Nov/2026:18:00:00 +0000] "GET /?level=error HTTP/1.1" 500 12',
        "Errors found: 0",
        "Error count 0",
        "the ERROR is here",
        "2026-11-23 10:00:00 my message about ERROR",
        "2026-11-23 10:00:00 got an ERROR from",
        "ready",
        "",
        "INFO = 3",
        "no errors",
        "Fri Nov 27 18:00:00 2026",
        "Debug mode: on",
    ],
}


@pytest.mark.parametrize(
    ("level", "text"), [(level, text) for level, texts in LINES.items() for text in texts]
)
def test_the_level_of_a_line(level: Level | None, text: str) -> None:
    """The level words of common formats are read; the same words in a message are not."""
    assert level_of(text) == level


def levels(*lines: str) -> list[str]:
    """Return the first letters of the levels of lines that one process printed."""
    reader = LevelReader()
    return [reader.read(line)[1][0] for line in lines]


START = "Traceback (most recent call last):"
FRAMES = ('  File "app.py", line 3, in view', "    fail()", "    ~~~~^^")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["ok", START, *FRAMES, "ValueError: x", "ok"], "ieeeeei"),
        (["[x] ERROR in app: y", START, *FRAMES, "K"], "eeeeee"),
        (["WARNING:root:x", START, *FRAMES, "ValueError"], "wwwwww"),
        (
            [
                *(START, *FRAMES, "KeyError: 1", ""),
                "During handling of the above exception, another exception occurred:",
                *("", START, *FRAMES, "my.Broken: text", "ok"),
            ],
            "eeeeeeeeeeeeei",
        ),
        (
            [
                "  + Exception Group Traceback (most recent call last):",
                '  |   File "app.py", line 3, in view',
                "  | ExceptionGroup: several (1 sub-exception)",
                "  +-+---------------- 1 ----------------",
                "    | ValueError: 1",
                "    +------------------------------------",
                "ok",
            ],
            "eeeeeei",
        ),
        ([START, *FRAMES, "E: first", "  second", "third"], "eeeeeei"),
        (["Exception in thread T-1 (work):", START, "E"], "eee"),
        (
            [
                *("Fatal Python error: Segmentation fault", ""),
                "Current thread 0x7f (most recent call first):",
                *('  File "app.py", line 3 in view', "ok"),
            ],
            "eeeei",
        ),
        (["/a/b.py:3: UserWarning: old", "  warnings.warn(1)", "ok", "  indented"], "wwii"),
        (["2026-01-01 10:00:00 [error    ] boom", "    more of it", "ok"], "eei"),
        (["WARNING: a development server.", " * Running on http://localhost"], "wi"),
        (["<4>marked", "  not marked", "<3>boom", "ok"], "wiei"),
    ],
)
def test_what_belongs_together_has_one_level(lines: list[str], expected: str) -> None:
    """The lines of a traceback, of all its causes, and those that go on with another one."""
    assert "".join(levels(*lines)) == expected


@pytest.mark.parametrize("level", PRIORITIES)
def test_a_mark_says_the_level_and_is_removed(level: Level) -> None:
    """What an app logs has a mark on each of its lines, which wins over its words."""
    reader = LevelReader()
    text = "INFO: first\n\n  ERROR: third"
    read = [reader.read(line) for line in marked(text, level).split("\n")]
    assert read == [(line, level) for line in text.split("\n")]


LONG = ("a-" * 200, "[a]" * 150, "k=v " * 200, "k='" * 200, "a: " * 200, "12:00:00 " + "a- " * 200)


@settings(deadline=None)
@given(st.sampled_from([*LONG, '{"a":' * 1500]) | st.text(max_size=400))
def test_no_line_takes_long(text: str) -> None:
    """Whatever an app prints, reading its level costs the main process no time."""
    reader = LevelReader()
    seconds = timeit.repeat(lambda: reader.read(text), time.thread_time, repeat=5, number=1)
    assert min(seconds) < 0.02  # a quadratic pattern would take more each time
