"""Which entries of a folder belong to an app, where the configuration does not say."""

import importlib
import os
import sys
from pathlib import Path

from harness import REPOSITORY
from importing_case import write_named

from supervisor.process.throwaway import call_in_child
from supervisor.source.app_entries import (
    candidates,
    files_used,
    imported,
    loaded_files,
    newest_module,
)


def test_files_that_an_import_used(tmp_path: Path) -> None:
    """What it read, and sources that it ran; not those of modules, of an environment, of caches."""
    write_named(tmp_path, "games.json", "plugins/first.py", "coach.py", "pkg/words.py")
    write_named(tmp_path, "myenv/pyvenv.cfg", "myenv/lib/site.py", "node_modules/x/gyp.py")
    found = files_used(
        tmp_path,
        ["coach.py", "pkg"],
        ["games.json", "app.log"],
        [
            *("coach.py", "pkg/words.py", "plugins/first.py"),
            *("myenv/lib/site.py", "node_modules/x/gyp.py"),
        ],
    )
    assert found == ["games.json", "plugins/first.py"]


def test_what_an_import_may_need(tmp_path: Path) -> None:
    """Modules and folders that can be packages; nothing hidden, and no plain files."""
    write_named(tmp_path, "app.py", "fast.cpython-311-x.so", "pkg/x.py", "templates/a")
    write_named(
        tmp_path, "not-a-name/x.py", "space/inner/deep/x.py", "uploads/a.jpg", "far/a/b/c/x.py"
    )
    write_named(tmp_path, ".git/x", "data.csv", "README.md", "node_modules/x", "my-script.py")
    assert candidates(tmp_path) == [
        "app.py",
        "fast.cpython-311-x.so",
        "my-script.py",
        "pkg",
        "space",
        "templates",
    ]
    assert candidates(tmp_path / "missing") == []


def test_what_was_imported(tmp_path: Path) -> None:
    """The top-level names of the modules' files, with templates and static beside them."""
    write_named(tmp_path, "app.py", "pkg/sub/x.py", "static/a.css", "lib/templates/x", "unused.py")
    write_named(tmp_path, "venv/pyvenv.cfg", "venv/lib/flask/app.py")
    files = ["app.py", "pkg/sub/x.py", "venv/lib/flask/app.py"]
    found = imported(tmp_path, [*(str(tmp_path / file) for file in files), "/usr/lib/os.py"])
    assert found == ["app.py", "pkg", "static"]
    assert imported(tmp_path, ["/usr/lib/os.py"]) == []
    own = [str(REPOSITORY / "supervisor/client.py"), str(REPOSITORY / "apps/coach/__init__.py")]
    assert imported(REPOSITORY, own) == ["apps"]  # the supervisor itself is nobody's release


def test_files_loaded_since_a_module(tmp_path: Path) -> None:
    """Those loaded later, in a child that imports two modules; all, if that module is gone."""
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
