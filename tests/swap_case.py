"""A live tree and the two versions that it may have."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from importing_case import write

from supervisor.releases import swap
from supervisor.source.file_tree import manifest_of, scan
from supervisor.source.manifest import Manifest

INCLUDE = ["app", "run.py", "gone.py", "fresh.py", "lib/inner"]


OLD = {
    "app/__init__.py": "old",
    "app/views.py": "old views",
    "app/removed/x.py": "old",
    "app/becomes_folder": "a file",
    "app/becomes_file/x.txt": "a folder",
    "run.py": "old run",
    "gone.py": "only in the old version",
    "lib/inner/a.py": "old",
}


NEW = {
    "app/__init__.py": "new",
    "app/views.py": "new views",
    "app/added/y.py": "new",
    "app/becomes_folder/x.txt": "a folder",
    "app/becomes_file": "a file",
    "run.py": "new run",
    "fresh.py": "only in the new version",
    "lib/inner/a.py": "new",
    "lib/inner/deep/b.py": "new",
}


# None of the app's files: whatever happens, they are as they were.
OTHERS = {
    "other.py": "another app's",
    "lib/common.py": "another app's",
    "data/teams.db": "data",
    ".env": "SECRET=1",
}


# Data in the middle of the app, so that its folders can't be moved as a whole.
DATA = {"app/teams.db": "data", "app/removed/log.log": "a log", "lib/inner/env/pyvenv.cfg": ""}


SHAPES = {"whole folders": {}, "with data inside": DATA}


def snapshot(folder: Path) -> dict[str, str]:
    """Return all files below a folder with their content, and links with their targets."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }


def folders(folder: Path) -> set[str]:
    """Return all folders below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_dir()}


def manifest(folder: Path) -> Manifest:
    """Return the manifest of what the app consists of."""
    return manifest_of(scan(folder, INCLUDE))


def paths(folder: Path) -> list[str]:
    """Return the paths of what the app consists of."""
    return [file.path for file in scan(folder, INCLUDE).files]


class Case:
    """A live tree, and the two versions that it may have."""

    def __init__(self, folder: Path, data: dict[str, str]) -> None:
        self.template, self.root = folder / "template", folder / "live"
        write(self.template, {**OLD, **OTHERS, **data})
        self.new_source = folder / "source"
        write(self.new_source, NEW)
        self.old = {**OLD, **OTHERS, **data}
        self.new = {**NEW, **OTHERS, **data}
        self.reset()

    def reset(self) -> None:
        """Restore the live tree as it was before the swap."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.template, self.root)

    def begin(self, hook: Callable[[str], None]) -> None:
        """Stage the new version, and put it in place."""
        staged = swap.prepare(self.root)
        shutil.copytree(self.new_source, staged, dirs_exist_ok=True)
        swap.begin(
            self.root,
            staged,
            include=INCLUDE,
            old_paths=paths(self.root),
            new_paths=paths(staged),
            hook=hook,
        )

    def deploy(self, hook: Callable[[str], None]) -> None:
        """Swap and keep the new version."""
        self.begin(hook)
        hook("watched")
        swap.commit(self.root, hook=hook)

    def deploy_and_undo(self, hook: Callable[[str], None]) -> None:
        """Swap and go back."""
        self.begin(hook)
        hook("watched")
        swap.undo(self.root, hook=hook)


def end_after(run: Callable[[Callable[[str], None]], object], number: int) -> None:
    """Run it in a child that ends, as by ``kill -9``, after that many steps."""
    pid = os.fork()
    if pid == 0:
        left = [number]

        def hook(_step: str) -> None:
            left[0] -= 1
            if left[0] < 0:
                os._exit(42)

        try:
            run(hook)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 42
