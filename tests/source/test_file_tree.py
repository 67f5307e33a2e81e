"""The files of a release: which they are, their fingerprint, their hashes."""

import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest
from importing_case import write_named

from supervisor.process.throwaway import call_in_child
from supervisor.source.app_entries import imported
from supervisor.source.file_tree import Tree, TreeError, manifest_of, scan, stamps
from supervisor.source.manifest import Manifest


def paths(tree: Tree) -> list[str]:
    """Return the paths in a tree, in order."""
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
    write_named(tmp_path, *wanted, *LEFT_OUT, "app/empty/")
    (tmp_path / "app/link").symlink_to("__init__.py")
    (tmp_path / "app/uploads").symlink_to("/var/uploads")
    tree = scan(tmp_path, ["app", "x.py", "missing.py"])
    assert paths(tree) == sorted([*wanted, "app/empty", "app/link", "app/uploads"])
    links = {file.path: file.link for file in tree.files if file.link}
    assert links == {"app/link": "__init__.py", "app/uploads": "/var/uploads"}


def test_an_entry_is_never_left_out_for_its_name(tmp_path: Path) -> None:
    """A database that `include` names by itself belongs to the release."""
    write_named(tmp_path, "app.py", "lookup.db", "other.db")
    assert paths(scan(tmp_path, ["app.py", "lookup.db"])) == ["app.py", "lookup.db"]


def test_what_is_no_file(tmp_path: Path) -> None:
    """Sockets and pipes are left out, and none is opened."""
    write_named(tmp_path, "app/__init__.py")
    os.mkfifo(tmp_path / "app/pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "app/door"))
        assert paths(scan(tmp_path, ["app"])) == ["app/__init__.py"]


def test_the_state_folder_is_left_out(tmp_path: Path) -> None:
    """A state folder in the middle of the app, whatever its name, is no part of it."""
    write_named(tmp_path, "app/__init__.py", "app/state/lock")
    tree = scan(tmp_path, ["app"], skip=[str(tmp_path / "app/state")])
    assert paths(tree) == ["app/__init__.py"]


def test_entries_in_one_another_count_once(tmp_path: Path) -> None:
    """An entry below another one adds nothing."""
    write_named(tmp_path, "app/a.py", "app/b/c.py")
    tree = scan(tmp_path, ["app/b", "app", "app/b/c.py", "app/"])
    assert tree.include == ("app",)
    assert paths(tree) == ["app/a.py", "app/b/c.py"]


def test_a_link_at_the_top_brings_its_target(tmp_path: Path) -> None:
    """``config.py`` that is a link to ``config_prod.py`` needs both."""
    write_named(tmp_path, "config_prod.py", "lib/app/x.py")
    (tmp_path / "config.py").symlink_to("config_prod.py")
    (tmp_path / "app").symlink_to("lib/app")
    tree = scan(tmp_path, ["config.py", "app"])
    assert paths(tree) == ["app", "config.py", "config_prod.py", "lib/app/x.py"]


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    """A release of the link alone could not restore the app."""
    write_named(tmp_path, "elsewhere/app/x.py", "project/y.py")
    (tmp_path / "project/app").symlink_to("../elsewhere/app")
    with pytest.raises(TreeError, match="app is, or lies in, a link that leads out") as raised:
        scan(tmp_path / "project", ["app"])
    assert raised.value.hint


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    """``current`` that is a link to a version is scanned where it leads to."""
    write_named(tmp_path, "v1/app.py")
    (tmp_path / "current").symlink_to("v1")
    assert paths(scan(tmp_path / "current", ["app.py"])) == ["app.py"]
    assert imported(tmp_path / "current", [str(tmp_path / "current/app.py")]) == ["app.py"]


@pytest.mark.parametrize(
    ("files_max", "size_max"), [(10, 10**6), (1000, 100)], ids=["too many", "too large"]
)
def test_a_tree_that_is_too_large(tmp_path: Path, files_max: int, size_max: int) -> None:
    """The message names the folder that is full of uploads, so that an operator can move it."""
    write_named(tmp_path, "app/__init__.py", *[f"app/uploads/{n}.jpg" for n in range(20)])
    with pytest.raises(TreeError, match="most of it is app/uploads"):
        scan(tmp_path, ["app"], files_max=files_max, size_max=size_max)


def scan_as_nobody(root: str) -> str:
    """Return the message of a scan by another user."""
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
        write_named(Path(root), "app/__init__.py", "app/inner/x.py")
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
    """Replace a link by one to another target."""
    link.unlink()
    link.symlink_to("elsewhere")


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_changes_the_stamps(tmp_path: Path, change: object) -> None:
    """Whatever happens to one of its files, the tree has other stamps."""
    write_named(tmp_path, "app/a.py", "other.py")
    (tmp_path / "app/link").symlink_to("a.py")
    os.utime(tmp_path / "app/a.py", (1, 1))
    before = stamps(tmp_path, ["app", "other.py"])
    assert change(tmp_path) or True  # type: ignore[operator]
    after = stamps(tmp_path, ["app", "other.py"])
    assert after != before
    assert after["other.py"] == before["other.py"]
    assert scan(tmp_path, ["app", "other.py"]).stamps == after


def test_data_and_caches_change_nothing(tmp_path: Path) -> None:
    """An app that compiles itself, logs and writes its database is still the same."""
    write_named(tmp_path, "app/a.py")
    before = stamps(tmp_path, ["app"])
    write_named(tmp_path, *LEFT_OUT)
    assert stamps(tmp_path, ["app"]) == before


# ---- manifests


def test_a_manifest_describes_every_entry(tmp_path: Path) -> None:
    """Path, size, mode and hash of every file; reading it again gives the same."""
    write_named(tmp_path, "app/a.py", "app/empty/", "run.sh")
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


def test_modes_are_of_files(tmp_path: Path) -> None:
    """A manifest's mode has no type bits."""
    write_named(tmp_path, "a.py")
    [found] = manifest_of(scan(tmp_path, ["a.py"])).entries
    assert found.mode == stat.S_IMODE((tmp_path / "a.py").stat().st_mode)
