"""Fingerprints of source files: what changes them, and what doesn't."""

import os
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.source.fingerprints import Watch, beyond_tree, fingerprint


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An app's folder with a few files."""
    folder = tmp_path / "app"
    for name in ("coach.py", "field/__init__.py", "field/settings.py", "data/teams.csv"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x = 1\n")
    return folder


def of(tree: Path) -> str:
    """Return the fingerprint of a tree."""
    return fingerprint(Watch(trees=(str(tree),)))


def replace_alike(tree: Path) -> None:
    """Replace a file by another one of the same size and times."""
    file = tree / "coach.py"
    before = file.stat()
    new = tree / "new.tmp"
    new.write_text("x = 2\n")
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(file)
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def touch(tree: Path) -> None:
    """Write a file anew, with the text it had and a later time."""
    file = tree / "coach.py"
    os.utime(file, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns + 1))


CHANGES: dict[str, Callable[[Path], object]] = {
    "write": lambda tree: (tree / "coach.py").write_text("y = 123\n"),
    "write deep": lambda tree: (tree / "field" / "settings.py").write_text("y = 123\n"),
    "touch": touch,
    "add": lambda tree: (tree / "more.py").write_text(""),
    "add deep": lambda tree: (tree / "field" / "more.py").write_text(""),
    "add library": lambda tree: (tree / "fast.so").write_bytes(b""),
    "add folder": lambda tree: (tree / "empty").mkdir(),
    "remove": lambda tree: (tree / "coach.py").unlink(),
    "rename": lambda tree: (tree / "coach.py").rename(tree / "trainer.py"),
    "rename folder": lambda tree: (tree / "field").rename(tree / "fields"),
    "move": lambda tree: (tree / "coach.py").rename(tree / "field" / "coach.py"),
    "replace": replace_alike,
    "strange name": lambda tree: (tree / os.fsdecode(b"caf\xe9.py")).write_text(""),
    "remove tree": lambda tree: tree.rename(tree.parent / "gone"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_a_source_changes_the_fingerprint(
    tree: Path, change: Callable[[Path], object]
) -> None:
    """Writing, adding, removing and moving sources changes the fingerprint."""
    before = of(tree)
    change(tree)
    assert of(tree) != before


def add(name: str) -> Callable[[Path], None]:
    """Return a change that adds a file, in existing or new folders."""

    def change(tree: Path) -> None:
        file = tree / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x = 1\n")

    return change


NO_CHANGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda tree: None,
    "bytecode": add("__pycache__/coach.cpython-311.pyc"),
    "bytecode deep": add("field/__pycache__/settings.cpython-311.pyc"),
    "data": add("data/more.csv"),
    "database": add("coach.db"),
    "log": add("coach.log"),
    "write data": lambda tree: (tree / "data" / "teams.csv").write_text("other"),
    "git": add(".git/hooks/hook.py"),
    "hidden file": add(".hidden.py"),
    "swap file": add(".coach.py.swp"),
    "node": add("node_modules/x/y.py"),
    "packages": add("site-packages/x/y.py"),
}


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES)
def test_a_change_of_anything_else_does_not(tree: Path, change: Callable[[Path], object]) -> None:
    """Data, bytecode, version control and installed packages don't matter."""
    before = of(tree)
    change(tree)
    assert of(tree) == before


@pytest.mark.parametrize("name", ["venv", ".venv", "field/environment"])
def test_a_virtual_environment_is_left_out(tree: Path, name: str) -> None:
    """What is installed into a virtual environment inside of the tree isn't the app's code."""
    add(f"{name}/pyvenv.cfg")(tree)
    before = of(tree)
    add(f"{name}/lib/python3.11/thing.py")(tree)
    add(f"{name}/bin/activate_this.py")(tree)
    assert of(tree) == before


@pytest.mark.parametrize("spelled", ["state", "field/../state"])
def test_a_folder_to_skip_is_left_out(tree: Path, spelled: str) -> None:
    """What is written in the state folder, below the app's own, is no change of the app."""
    watch = Watch(trees=(str(tree),), skip=(f"{tree}/{spelled}",))
    before = fingerprint(watch)
    (tree / "state" / "data" / "coach").mkdir(parents=True)
    (tree / "state" / "data" / "coach" / "plugin.py").write_text("x = 1\n")
    assert fingerprint(watch) == before
    assert Watch.from_json(watch.to_json()) == watch
    (tree / "field" / "state").mkdir()
    assert fingerprint(watch) != before


def test_a_tree_that_is_a_virtual_environment_is_watched(tree: Path) -> None:
    """An app that lies directly in a virtual environment's folder is watched like any other."""
    add("pyvenv.cfg")(tree)
    before = of(tree)
    (tree / "coach.py").write_text("y = 123\n")
    assert of(tree) != before


def test_a_link_to_the_tree_is_followed(tree: Path) -> None:
    """A `path` that is a symbolic link is watched where it leads to, and so is a new target."""
    link = tree.parent / "current"
    link.symlink_to(tree)
    before = of(link)
    (tree / "coach.py").write_text("y = 123\n")
    changed = of(link)
    assert changed != before
    shutil.copytree(tree, tree.parent / "next")
    link.unlink()
    link.symlink_to(tree.parent / "next")
    assert of(link) != changed


def test_a_loop_of_links_ends(tree: Path) -> None:
    """A link to a folder above is no endless tree."""
    (tree / "field" / "up").symlink_to(tree)
    assert of(tree) == of(tree)


def test_a_missing_tree_has_a_fingerprint(tmp_path: Path) -> None:
    """A folder that isn't there yet can be watched until it is."""
    before = of(tmp_path / "later")
    add("later/coach.py")(tmp_path)
    assert of(tmp_path / "later") != before


def test_a_folder_counts_by_its_names(tmp_path: Path) -> None:
    """In folders of the search path only names count: an installation is a change, a write none."""
    watch = Watch(trees=(), folders=(str(tmp_path), str(tmp_path / "missing")))
    (tmp_path / "flask").mkdir()
    before = fingerprint(watch)
    add("flask/app.py")(tmp_path)
    add("__pycache__/x.pyc")(tmp_path)
    assert fingerprint(watch) == before
    (tmp_path / "requests").mkdir()
    assert fingerprint(watch) != before


@pytest.mark.parametrize("exists", [True, False])
def test_a_single_file_counts_by_its_state(tmp_path: Path, exists: bool) -> None:
    """A single file changes the fingerprint when it is written, and when it appears."""
    file = tmp_path / "settings.ini"
    if exists:
        file.write_text("a")
    watch = Watch(trees=(), files=(str(file),))
    before = fingerprint(watch)
    assert fingerprint(watch) == before
    file.write_text("longer")
    assert fingerprint(watch) != before


def test_a_watch_survives_json(tree: Path) -> None:
    """A watch that was sent to another process has the same fingerprint there."""
    watch = Watch(trees=(str(tree),), folders=("/a", "/b"), files=("/c",))
    assert Watch.from_json(watch.to_json()) == watch


# ---- what an import depends on outside of its tree


def test_beyond_the_tree_are_search_path_and_other_modules(tmp_path: Path) -> None:
    """Folders of the search path, and files of modules outside of the tree, are watched."""
    tree, library, other = tmp_path / "app", tmp_path / "lib", tmp_path / "other"
    watch = beyond_tree(
        tree,
        ["", str(tree), str(tree / "sub"), str(library)],
        [str(tree / "coach.py"), str(library / "flask.py"), str(other / "shared.py")],
    )
    assert watch == Watch(trees=(), folders=(str(library),), files=(str(other / "shared.py"),))


def test_the_standard_library_is_left_out() -> None:
    """Modules of Python itself don't change."""
    library = sysconfig.get_path("stdlib")
    assert beyond_tree(Path("/app"), [library], [os.__file__]) == Watch(trees=())


def test_neighbours_of_a_folder_are_not_in_it(tmp_path: Path) -> None:
    """A folder whose name begins like another one's is another folder."""
    tree, library = tmp_path / "app", tmp_path / "lib"
    files = sorted([str(tmp_path / "app2" / "x.py"), str(tmp_path / "lib2" / "y.py")])
    watch = beyond_tree(tree, [str(library), str(tmp_path / "app3")], files)
    assert watch.folders == (str(tmp_path / "app3"), str(library))
    assert watch.files == tuple(files)
