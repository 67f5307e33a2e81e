"""Whatever a TOML document holds, it becomes a configuration or a list of mistakes."""

import datetime
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config import reader, settings, tables
from supervisor.config.problems import Problems
from supervisor.config.settings import AppSettings, BindSettings, Config, Requirement
from supervisor.values.errors import ConfigError

KEYS = [*AppSettings.__annotations__, *settings.SupervisorSettings.__annotations__, "kind", "A"]
SINGLE = st.one_of(
    st.integers(),
    st.sampled_from([0, 1, 8, 5001, 10**400]),
    st.floats(),
    st.booleans(),
    st.sampled_from(["", "\0", "é", "a:b", "unix:", "unix:a", "::1", "..", "/", "app", "tcp", "x"]),
    st.just(datetime.date(2026, 1, 1)),
    st.sampled_from([{"env": "SET"}, {"env": "UNSET"}, {"file": "no-such-file"}, {"file": "\0"}]),
)
VALUES = st.recursive(
    SINGLE,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=8,
)
APP = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5).map(
    lambda given: {"target": "a:b", "port": 5001, **given}
)
TABLES = ["supervisor", "bind", "status", "host", "requires", "apps", "zzz"]
DOCUMENTS = st.dictionaries(st.sampled_from(TABLES), VALUES, max_size=3).flatmap(
    lambda given: st.dictionaries(st.sampled_from(["coach", "admin", "B"]), APP, max_size=3).map(
        lambda apps: {"apps": apps, **given}
    )
)


@given(document=DOCUMENTS)
def test_every_document_is_read_or_refused(document: dict[str, Any]) -> None:
    """No value of any type at any key raises anything else; each mistake is one short line."""
    try:
        config = reader.parse(document, Path("/tmp/supervisor.toml"), {"SET": "a:b"})
    except ConfigError as error:
        assert error.problems
        assert len(set(error.problems)) == len(error.problems)
        for problem in error.problems:
            assert problem.startswith("/tmp/supervisor.toml: ")
            assert problem.isprintable()
    else:
        assert config.apps


@pytest.mark.parametrize(
    ("kind", "raw", "found"),
    [
        (BindSettings, {"first_delay_s": 2}, []),
        (BindSettings, {"first_delay_s": 10**400}, ["first_delay_s = 1000"]),
        (BindSettings, {"attempts": 1 << 20_000}, ["attempts = a number of thousands of digits: "]),
        (BindSettings, {"attempts": True}, ["attempts = true: must be a whole number from 1"]),
        (BindSettings, [], [" = []: must be a table"]),
        (Requirement, {"port": 1}, ["kind: this key is required"]),
        (AppSettings, {"target": "a:b", "smoke": ["/", 5]}, ["smoke[1] = 5: must be a path that"]),
        (AppSettings, {"target": "a:b", "before_start": [1]}, ["before_start[0] = 1: must be a "]),
        (AppSettings, {"target": "a:b", "env": {"A": 1}}, ["env.A = 1: must be a "]),
        (AppSettings, {"target": "a:b", "bind": []}, ["bind = []: must be one of "]),
        (AppSettings, {"target": "a:b", "port": None}, ["port = None: must be a port number"]),
        (Config, {"file": "/etc/passwd"}, ["file: unknown key"]),
        (Config, {"origins": {}, "env_files": {}}, ["env_files: unknown", "origins: unknown"]),
    ],
)  # fmt: skip
def test_building_a_class(kind: type, raw: Any, found: list[str]) -> None:
    """Each mistake has the key path from the class on; without one there is an instance."""
    problems = Problems()
    built = tables.build(kind, raw, problems)
    texts = sorted(f"{problem.path}{problem.text}" for problem in problems.found)
    assert len(texts) == len(found)
    assert all(text.startswith(start) for text, start in zip(texts, found, strict=True))
    assert (built is None) == bool(found)


def test_only_whole_numbers_are_converted() -> None:
    """A whole number of seconds becomes a float; nothing else changes its type."""
    built = tables.build(BindSettings, {"first_delay_s": 2, "attempts": 3}, Problems())
    assert built is not None
    assert (type(built.first_delay_s), type(built.attempts)) == (float, int)
    assert math.isclose(built.first_delay_s, 2.0)
