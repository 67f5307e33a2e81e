"""What belongs to an app's release: which files, their fingerprint, their hashes."""

import importlib
import os
import socket
import stat
import sys
import tempfile
from pathlib import Path

import pytest
from harness import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st

from supervisor.process.throwaway import call_in_child
from supervisor.source.file_tree import (
    Tree,
    TreeError,
    candidates,
    fingerprints,
    imported,
    loaded_files,
    manifest_of,
    newest_module,
    scan,
)
from supervisor.source.manifest import (
    BadManifest,
    Entry,
    Manifest,
    compare,
    is_safe_path,
    link_stays_inside,
)


def write(root: Path, *paths: str) -> None:
    """Create files that hold their own name; a path that ends with / is a folder."""
    for path in paths:
        file = root / path
        if path.endswith("/"):
            file.mkdir(parents=True, exist_ok=True)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(path)


def paths(tree: Tree) -> list[str]:
    """Give the paths in a tree, in order."""
    return sorted(file.path for file in tree.files)


LEFT_OUT = [
    "app/__pycache__/x.cpython-311.pyc",
    "app/old.pyc",
    "app/.git/HEAD",
    "app/.mypy_cache/x",
    "app/node_modules/x.js",
    "app/env/pyvenv.cfg",
    "app/env/lib/x.py",
    "app/coach.db",
    "app/coach.sqlite3",
    "app/coach.db-wal",
    "app/app.log",
    "app/.flask-supervisor/lock",
    "other.py",
]


def test_all_that_lies_in_the_included_folders(tmp_path: Path) -> None:
    """Files, links and empty folders belong to it; caches, environments and data don't."""
    wanted = [
        "app/__init__.py",
        "app/data/table.json",
        "app/templates/a.html",
        "app/.hidden",
        "x.py",
    ]
    write(tmp_path, *wanted, *LEFT_OUT, "app/empty/")
    (tmp_path / "app/link").symlink_to("__init__.py")
    (tmp_path / "app/uploads").symlink_to("/var/uploads")
    tree = scan(tmp_path, ["app", "x.py", "missing.py"])
    assert paths(tree) == sorted([*wanted, "app/empty", "app/link", "app/uploads"])
    links = {file.path: file.link for file in tree.files if file.link}
    assert links == {"app/link": "__init__.py", "app/uploads": "/var/uploads"}


def test_what_is_named_is_wanted(tmp_path: Path) -> None:
    """A database that `include` names by itself belongs to the release."""
    write(tmp_path, "app.py", "lookup.db", "other.db")
    assert paths(scan(tmp_path, ["app.py", "lookup.db"])) == ["app.py", "lookup.db"]


def test_what_is_no_file(tmp_path: Path) -> None:
    """Sockets and pipes are left out, and nobody waits for one."""
    write(tmp_path, "app/__init__.py")
    os.mkfifo(tmp_path / "app/pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "app/door"))
        assert paths(scan(tmp_path, ["app"])) == ["app/__init__.py"]


def test_the_state_folder_is_left_out(tmp_path: Path) -> None:
    """A state folder in the middle of the app, whatever its name, is no part of it."""
    write(tmp_path, "app/__init__.py", "app/state/lock")
    tree = scan(tmp_path, ["app"], skip=[str(tmp_path / "app/state")])
    assert paths(tree) == ["app/__init__.py"]


def test_entries_in_one_another_count_once(tmp_path: Path) -> None:
    """An entry below another one adds nothing."""
    write(tmp_path, "app/a.py", "app/b/c.py")
    tree = scan(tmp_path, ["app/b", "app", "app/b/c.py", "app/"])
    assert tree.include == ("app",)
    assert paths(tree) == ["app/a.py", "app/b/c.py"]


def test_a_link_at_the_top_brings_what_it_leads_to(tmp_path: Path) -> None:
    """``config.py`` that is a link to ``config_prod.py`` needs both."""
    write(tmp_path, "config_prod.py", "lib/app/x.py")
    (tmp_path / "config.py").symlink_to("config_prod.py")
    (tmp_path / "app").symlink_to("lib/app")
    tree = scan(tmp_path, ["config.py", "app"])
    assert paths(tree) == ["app", "config.py", "config_prod.py", "lib/app/x.py"]


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    """A release of a link alone would bring nothing back."""
    write(tmp_path, "elsewhere/app/x.py", "project/y.py")
    (tmp_path / "project/app").symlink_to("../elsewhere/app")
    with pytest.raises(TreeError, match="app is, or lies in, a link that leads out") as raised:
        scan(tmp_path / "project", ["app"])
    assert raised.value.hint


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    """``current`` that is a link to a version is looked at where it leads to."""
    write(tmp_path, "v1/app.py")
    (tmp_path / "current").symlink_to("v1")
    assert paths(scan(tmp_path / "current", ["app.py"])) == ["app.py"]
    assert imported(tmp_path / "current", [str(tmp_path / "current/app.py")]) == ["app.py"]


@pytest.mark.parametrize(
    ("files_max", "size_max"), [(10, 10**6), (1000, 100)], ids=["too many", "too large"]
)
def test_too_much_is_said_with_where_it_lies(tmp_path: Path, files_max: int, size_max: int) -> None:
    """A folder full of uploads is named, so that a person knows what to move."""
    write(tmp_path, "app/__init__.py", *[f"app/uploads/{n}.jpg" for n in range(20)])
    with pytest.raises(TreeError, match="most of it is app/uploads"):
        scan(tmp_path, ["app"], files_max=files_max, size_max=size_max)


def scan_as_nobody(root: str) -> str:
    """Give the message of a scan by another user."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    try:
        scan(Path(root), ["app"])
    except TreeError as error:
        return error.message
    return "scanned"


def test_an_unreadable_folder_is_named() -> None:
    """The message names it, relative to the app's folder."""
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        write(Path(root), "app/__init__.py", "app/inner/x.py")
        os.chmod(f"{root}/app/inner", 0)
        message = call_in_child(scan_as_nobody, root, timeout_s=30)
    assert message == "cannot read app/inner: Permission denied"


CHANGES = {
    "written": lambda root: (root / "app/a.py").write_text("different"),
    "same size": lambda root: (root / "app/a.py").write_text("app/X.py"),
    "added": lambda root: (root / "app/new.py").write_text(""),
    "removed": lambda root: (root / "app/a.py").unlink(),
    "moved": lambda root: (root / "app/a.py").rename(root / "app/b.py"),
    "executable": lambda root: (root / "app/a.py").chmod(0o755),
    "folder": lambda root: (root / "app/new").mkdir(),
    "copied over": lambda root: copy_over(root / "app/a.py"),
    "link": lambda root: relink(root / "app/link"),
}


def copy_over(file: Path) -> None:
    """Replace a file by another with the same content and time: a new inode."""
    status = file.stat()
    other = file.with_name("other")
    other.write_bytes(file.read_bytes())
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(file)


def relink(link: Path) -> None:
    """Let a link lead elsewhere."""
    link.unlink()
    link.symlink_to("elsewhere")


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_changes_the_fingerprint(tmp_path: Path, change: object) -> None:
    """Whatever happens to a file that belongs to it, the tree has another fingerprint."""
    write(tmp_path, "app/a.py", "other.py")
    (tmp_path / "app/link").symlink_to("a.py")
    os.utime(tmp_path / "app/a.py", (1, 1))
    before = fingerprints(tmp_path, ["app", "other.py"])
    assert change(tmp_path) or True  # type: ignore[operator]
    after = fingerprints(tmp_path, ["app", "other.py"])
    assert after["app"] != before["app"]
    assert after["other.py"] == before["other.py"]
    assert scan(tmp_path, ["app", "other.py"]).fingerprints == after


def test_data_and_caches_change_nothing(tmp_path: Path) -> None:
    """An app that compiles itself, logs and writes its database is still the same."""
    write(tmp_path, "app/a.py")
    before = fingerprints(tmp_path, ["app"])
    write(tmp_path, *LEFT_OUT)
    assert fingerprints(tmp_path, ["app"]) == before


def test_what_an_import_may_need(tmp_path: Path) -> None:
    """Modules and folders that can be packages; nothing hidden, and no plain files."""
    write(tmp_path, "app.py", "fast.cpython-311-x.so", "pkg/x.py", "templates/a")
    write(tmp_path, "not-a-name/x.py", "space/inner/deep/x.py", "uploads/a.jpg", "far/a/b/c/x.py")
    write(tmp_path, ".git/x", "data.csv", "README.md", "node_modules/x", "my-script.py")
    assert candidates(tmp_path) == [
        "app.py",
        "fast.cpython-311-x.so",
        "pkg",
        "space",
        "templates",
    ]
    assert candidates(tmp_path / "missing") == []


def test_what_was_imported(tmp_path: Path) -> None:
    """The top-level names of the modules' files, with templates and static beside them."""
    write(tmp_path, "app.py", "pkg/sub/x.py", "static/a.css", "lib/templates/x", "unused.py")
    write(tmp_path, "venv/pyvenv.cfg", "venv/lib/flask/app.py")
    files = ["app.py", "pkg/sub/x.py", "venv/lib/flask/app.py"]
    found = imported(tmp_path, [*(str(tmp_path / file) for file in files), "/usr/lib/os.py"])
    assert found == ["app.py", "pkg", "static"]
    assert imported(tmp_path, ["/usr/lib/os.py"]) == []
    own = [str(REPOSITORY / "supervisor/client.py"), str(REPOSITORY / "apps/coach/__init__.py")]
    assert imported(REPOSITORY, own) == ["apps"]  # the supervisor itself is nobody's release


# ---- manifests


def test_a_manifest_tells_what_lies_there(tmp_path: Path) -> None:
    """Path, size, mode and hash of every file; reading it again gives the same."""
    write(tmp_path, "app/a.py", "app/empty/", "run.sh")
    (tmp_path / "run.sh").chmod(0o750)
    (tmp_path / "app/link").symlink_to("a.py")
    manifest = manifest_of(scan(tmp_path, ["app", "run.sh"]))
    by_path = {entry.path: entry for entry in manifest.entries}
    assert list(by_path) == ["app/a.py", "app/empty", "app/link", "run.sh"]
    assert by_path["run.sh"].mode == 0o750
    assert by_path["run.sh"].size == len("run.sh")
    assert by_path["app/link"].link == "a.py"
    assert by_path["app/empty"].is_folder
    again = Manifest.from_json(manifest.to_json())
    assert again == manifest
    assert again.digest == manifest.digest


def entry(path: str, **fields: object) -> Entry:
    """Make an entry of a file."""
    values = {"mode": 0o644, "size": 1, "sha256": "a" * 64, **fields}
    return Entry(path=path, **values)  # type: ignore[arg-type]


def test_two_manifests_compared() -> None:
    """Added, removed, changed; a file that became executable has changed, one writable not."""
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
    """The judgement by words agrees with where the words lead to."""
    leads_to = os.path.normpath(os.path.join("/root/x/y", target))
    inside = (leads_to + "/").startswith("/root/")
    if link_stays_inside("x/y/link", target):
        assert inside
        assert not target.startswith("/")


def test_modes_are_of_files(tmp_path: Path) -> None:
    """A manifest's mode has no type bits."""
    write(tmp_path, "a.py")
    [found] = manifest_of(scan(tmp_path, ["a.py"])).entries
    assert found.mode == stat.S_IMODE((tmp_path / "a.py").stat().st_mode)


def test_files_loaded_since_a_module(tmp_path: Path) -> None:
    """Those loaded later, in a child that imports two modules; all, where that one is gone."""
    for name in ("one_of_mine.py", "two_of_mine.py"):
        (tmp_path / name).touch()

    def load() -> list[list[str]]:
        newest = newest_module()
        sys.path.insert(0, str(tmp_path))
        importlib.import_module("one_of_mine")
        importlib.import_module("two_of_mine")
        later = loaded_files(after=newest)
        return [sorted(os.path.basename(file) for file in later), sorted(later - loaded_files())]

    assert call_in_child(load, timeout_s=30) == [["one_of_mine.py", "two_of_mine.py"], []]
    assert os.__file__ in loaded_files()
    assert os.__file__ in loaded_files(after=object())
