"""An app in a folder with other things, its next versions, and a deploy of one."""

import tarfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from importing_case import write

from supervisor.releases import operations, staging
from supervisor.releases.app_code import AppCode
from supervisor.releases.operations import answer
from supervisor.releases.replacement import Mode

WALL = "2026-03-01T12:00:00Z"


TARGET = "app:app"


VERSION = """
import helper
from pkg import inner
VERSION = {number}
def app(environ, start_response):
    return []
"""


def files_of(number: int) -> dict[str, str]:
    """Return the files of a version of the app, with modules, templates and static files."""
    return {
        "app.py": VERSION.format(number=number),
        "helper.py": f"H = {number}\n",
        "pkg/__init__.py": "",
        "pkg/inner.py": f"I = {number}\n",
        "templates/index.html": f"<p>{number}",
        "static/style.css": f"/* {number} */",
    }


OTHERS = {"other_app.py": "", "notes.txt": "mine", "data/teams.db": "data", "pkg/cache.db": "data"}


INCLUDE = ("app.py", "helper.py", "pkg", "static", "templates")


def snapshot(folder: Path) -> dict[str, str]:
    """Return all files below a folder but compiled ones."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def prepare(
    code: AppCode, staged: Path, include: Collection[str] = INCLUDE, mode: Mode | None = None
) -> dict[str, Any]:
    """Return the plan that puts ``staged`` in place; what it lacks is removed."""
    mode = mode or Mode(delete=True)
    plan: dict[str, Any] = operations.prepare(code, staged, include, mode, "before", WALL)["plan"]
    return plan


def deploy(
    code: AppCode, source: Path, *, explicit: bool = False, mode: Mode | None = None
) -> dict[str, Any]:
    """Do all that a deploy does with files; return the answer of `put_in_place`."""
    staged = Path(staging.stage_source(code, source, explicit)["staged"])
    tried = staging.try_staged(code, staged, TARGET, {}, 30.0)
    plan = prepare(code, staged, tried["imported"], mode)
    answered = answer(operations.put_in_place, code, staged, plan)
    if answered["ok"]:
        operations.make_final(code, plan)
    else:
        operations.take_back(code)
    return answered


def make_source(tmp_path: Path, number: int, kind: str = "folder", **extra: str) -> Path:
    """Create what is to be deployed; return its path."""
    folder = tmp_path / f"version-{number}"
    write(folder, {**files_of(number), **extra})
    if kind == "folder":
        return folder
    return make_archive(folder, wrapped=kind == "wrapped")


def make_archive(folder: Path, *, wrapped: bool) -> Path:
    """Pack a folder, with or without one folder at the top; return the archive's path."""
    archive = folder.with_name(f"{folder.name}.tar.gz")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "coach-main" if wrapped else ".")
    return archive
