"""Secrets are hidden in texts, plain and quoted; nothing else is changed."""

import json
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from supervisor.values.redaction import HIDDEN, Redaction

PEM = (
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\n  hkiG9w0BAQEFAASC\nx=\n"
    "-----END PRIVATE KEY-----\n"
)
# the first character separates it from the text around it
CHARACTERS = st.characters(exclude_categories=["C", "Z"], include_characters=" \n\udcff")
SECRETS = st.text(CHARACTERS, min_size=8, max_size=40).map(lambda t: f"§{t.strip()}§·ecret")
QUOTED = {
    "plain": str,
    "repr": repr,
    "JSON": json.dumps,
    "JSON with all letters": lambda text: json.dumps(text, ensure_ascii=False),
    "address": lambda text: f"http://pi/?token={quote(text, errors='surrogatepass')}",
    "twice": lambda text: f"{text}{text}",
    "within a word": lambda text: f"x{text}y",
}


@pytest.mark.parametrize("look", QUOTED.values(), ids=QUOTED)
@settings(deadline=None)
@given(secret=SECRETS)
@example(secret="pa'ss\"wo\\rd")
@example(secret="line one\nline two")
def test_a_secret_is_found_however_it_is_quoted(look: object, secret: str) -> None:
    """The value is hidden in the forms that Python, JSON and URLs give it."""
    assert callable(look)
    shown = Redaction([secret])(f"cannot log in with {look(secret)} at 10 o'clock")
    assert HIDDEN in shown
    assert secret not in shown
    assert look(secret) not in shown


@settings(deadline=None)
@given(text=st.text(), values=st.lists(st.sampled_from(["", "a", "12", "yes", "\n", "   "])))
def test_ordinary_text_stays_as_it_is(text: str, values: list[str]) -> None:
    """Without secrets, or with values that are too short, nothing changes."""
    assert Redaction(values)(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pin 4711.", f"pin {HIDDEN}."),
        ("pin=4711", f"pin={HIDDEN}"),
        ("took 47110 ms, 14711 and x4711", "took 47110 ms, 14711 and x4711"),
    ],
)
def test_a_short_secret_is_hidden_as_a_word(text: str, expected: str) -> None:
    """Four characters may be a part of any word or number."""
    assert Redaction(["4711"])(text) == expected


def test_the_lines_of_a_key_are_hidden_one_by_one() -> None:
    """Output is captured by line; the frame of a PEM file still says what was hidden."""
    hide = Redaction([PEM])
    assert [hide(line) for line in PEM.splitlines()] == [
        "-----BEGIN PRIVATE KEY-----",
        HIDDEN,
        f"  {HIDDEN}",
        "x=",
        "-----END PRIVATE KEY-----",
    ]
    assert hide(f"cannot use {PEM}") == f"cannot use {HIDDEN}\n"
    assert hide(" ".join(PEM.split())) == HIDDEN  # as a reason on one line


def test_a_secret_that_contains_another_is_hidden_whole() -> None:
    """The longer one is replaced first."""
    hide = Redaction(["s3cretword", "postgres://pi:s3cretword@db/field"])
    assert hide("to postgres://pi:s3cretword@db/field") == f"to {HIDDEN}"
    assert hide("with s3cretword") == f"with {HIDDEN}"


@settings(deadline=None)
@given(secret=SECRETS.map(lambda text: text.replace("\n", "")), data=st.data())
def test_the_beginning_of_a_secret_at_a_cut_is_hidden(secret: str, data: st.DataObject) -> None:
    """A truncated text may end with the first part of a secret."""
    length = data.draw(st.integers(4, len(secret)))
    hide = Redaction([secret])
    assert hide.cut(f"before: {secret[:length]}") == f"before: {HIDDEN}"
    assert hide.cut("no part of it: §") == "no part of it: §"


def test_documents_are_searched() -> None:
    """Secrets are hidden in every text of a document; the given document isn't changed."""
    hide = Redaction(["s3cretword", "true", "5001"])
    document = {"a": ["s3cretword", {"b": "x s3cretword"}], "port": 5001, "ok": True, "n": None}
    shown = {"a": [HIDDEN, {"b": f"x {HIDDEN}"}], "port": 5001, "ok": True, "n": None}
    assert hide.everywhere(document) == shown
