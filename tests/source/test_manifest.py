"""Manifests: what they accept, and how two are compared."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.source.manifest import (
    BadManifest,
    Entry,
    Manifest,
    compare,
    is_safe_path,
    link_stays_inside,
)


def entry(path: str, **fields: object) -> Entry:
    """Return an entry of a file."""
    values = {"mode": 0o644, "size": 1, "sha256": "a" * 64, **fields}
    return Entry(path=path, **values)  # type: ignore[arg-type]


def test_two_manifests_compared() -> None:
    """Paths that were added, removed, changed; "executable" is a change, "writable" is none."""
    old = Manifest.of([entry("a"), entry("b"), entry("c"), entry("d"), entry("e")])
    new = Manifest.of(
        [
            entry("a", sha256="b" * 64),
            entry("b", mode=0o755),
            entry("c", mode=0o664),
            entry("e", sha256=None, link="a"),
            entry("f"),
        ]
    )
    found = compare(old, new)
    assert (found.added, found.removed, found.changed) == (("f",), ("d",), ("a", "b", "e"))
    assert not compare(old, old)
    assert compare(old, new)


ENTRIES = st.builds(
    entry,
    st.from_regex(r"[a-c](/[a-c]){0,2}", fullmatch=True),
    mode=st.sampled_from([0o644, 0o755, 0o600]),
    sha256=st.sampled_from(["a" * 64, "b" * 64]),
)


MANIFESTS = st.lists(ENTRIES, max_size=6, unique_by=lambda e: e.path).map(Manifest.of)


@given(MANIFESTS, MANIFESTS)
def test_the_digest_is_the_same_for_the_same_files_only(one: Manifest, two: Manifest) -> None:
    """Two manifests have one digest exactly when nothing differs between them."""
    assert (one.digest == two.digest) == (not compare(one, two))


BAD = [
    None,
    {},
    [1],
    [{}],
    [{"path": "a"}],
    [{"path": "a", "mode": "x"}],
    [{"path": "../a", "mode": 1}],
    [{"path": "/a", "mode": 1}],
    [{"path": "a", "mode": 1, "sha256": "short"}],
    [{"path": "a", "mode": 1, "link": 1}],
    [{"path": "a", "mode": 1, "more": 1}],
    [{"path": "a", "mode": True}],
    [{"path": "a", "mode": 1}, {"path": "a", "mode": 1}],
]


@pytest.mark.parametrize("document", BAD, ids=map(str, BAD))
def test_what_is_no_manifest(document: object) -> None:
    """Garbage, and paths that lead out, are refused."""
    with pytest.raises(BadManifest):
        Manifest.from_json(document)


@pytest.mark.parametrize(
    ("path", "safe"),
    [
        ("a", True),
        ("a/b", True),
        ("..a", True),
        ("", False),
        ("/a", False),
        ("a//b", False),
        ("a/../b", False),
        ("./a", False),
        ("a/", False),
        ("a\0b", False),
    ],
)
def test_safe_paths(path: str, safe: bool) -> None:
    """A safe path can't lead anywhere but below its root."""
    assert is_safe_path(path) is safe


@given(st.lists(st.sampled_from(["a", "b", "..", ".", ""]), max_size=6).map("/".join))
def test_links_that_stay_inside(target: str) -> None:
    """What the text says agrees with where the link leads to."""
    leads_to = os.path.normpath(os.path.join("/root/x/y", target))
    inside = (leads_to + "/").startswith("/root/")
    if link_stays_inside("x/y/link", target):
        assert inside
        assert not target.startswith("/")
