"""The state diagrams in the documentation are those of the tables."""

import pytest
from state_diagrams import DOCUMENT, diagrams, with_diagrams


def test_the_documentation_has_the_diagrams_of_the_tables() -> None:
    """After a change of a table: python tests/state_diagrams.py."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_diagrams(text) == text


def test_the_diagrams_know_every_state() -> None:
    """Each state can be reached, and what is drawn are arrows between states."""
    found = diagrams()
    for state in ("blocked", "starting", "ready", "backoff", "failed", "stopped"):
        assert f"--> {state}" in found["process"]
    for phase in ("importing", "ready", "paused", "draining", "ending"):
        assert f"--> {phase}" in found["worker"]
    for phase in ("hosted", "missing", "joining", "late"):
        assert f"--> {phase}" in found["import"]
    for phase in ("done", "refused", "undone", "broken"):
        assert f"--> {phase}" in found["deploy"]


def test_a_diagram_that_is_not_true_is_noticed() -> None:
    """A missing arrow, and a missing place."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_diagrams(text.replace("    starting --> ready: Ready\n", "")) == text
    with pytest.raises(ValueError, match="no place"):
        with_diagrams("")
