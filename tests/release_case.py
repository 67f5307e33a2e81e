"""An app to keep releases of."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor.releases.release import About, Release
from supervisor.releases.store import Releases
from supervisor.source.file_tree import manifest_of, scan

APP = "coach"


def snapshot(folder: Path) -> dict[str, Any]:
    """Return what lies below a folder: paths with content, links and modes."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = "folder"
        else:
            found[name] = (path.read_bytes(), path.stat().st_mode & 0o777)
    return found


def make_app(root: Path, version: int = 1) -> Path:
    """Write an app of one package with all kinds of entries."""
    package = root / "app"
    shutil.rmtree(package, ignore_errors=True)
    (package / "templates").mkdir(parents=True)
    (package / "empty").mkdir()
    (package / "__init__.py").write_text(f"VERSION = {version}\n")
    (package / "templates/index.html").write_text("<h1>")
    (package / "tool.sh").write_text("#!/bin/sh\n")
    (package / "tool.sh").chmod(0o750)
    (package / "default").symlink_to("templates/index.html")
    return root


def keep(
    store: Releases,
    root: Path,
    *,
    is_unchanged: Callable[[], bool] = lambda: True,
    in_use: tuple[Path, ...] = (),
    note: str = "",
) -> tuple[Release, bool]:
    """Keep the app below ``root`` as it is."""
    tree = scan(root, ["app"])
    about = About(created="2026-03-01T12:00:00Z", note=note, include=tree.include)
    return store.keep(APP, root, manifest_of(tree), about, is_unchanged=is_unchanged, in_use=in_use)


def names(tmp_path: Path) -> list[str]:
    """Return what lies in the folder of the app's releases."""
    folder = tmp_path / "state" / "releases" / APP
    return sorted(os.listdir(folder)) if folder.exists() else []


def keep_versions(store: Releases, root: Path, versions: range) -> list[Release]:
    """Keep one release of each version."""
    return [keep(store, make_app(root, version))[0] for version in versions]


def truncate(file: Path) -> None:
    """Cut a file in half."""
    os.truncate(file, file.stat().st_size // 2)
