"""Plans a swap: which files and folders change places.

A folder is moved as a whole when nothing else lies in it; otherwise what else lies there, like a
database, stays, and the files are moved one by one.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from supervisor.process.mount_points import mount_points
from supervisor.releases.swap_journal import Move, SwapError

CACHE = "__pycache__"


def plan(
    root: Path, staged: Path, include: Iterable[str], old_paths: set[str], new_paths: set[str]
) -> list[Move]:
    """Return the moves that replace ``old_paths`` in ``include`` by ``new_paths`` of ``staged``.

    Raises `SwapError` for what a rename can't or must not reach, and OSError.
    """
    wanted = {part for path in old_paths | new_paths for part in _upwards(path)}
    moves: list[Move] = []
    mounts = mount_points()

    def visit(path: str) -> None:
        live, new = root / path, staged / path
        _check_place(root, path, mounts)
        other = _other_file(live, path, old_paths, mounts) if is_folder(live) else None
        if other is None:
            moves.append(Move(path=path, old=os.path.lexists(live), new=os.path.lexists(new)))
            return
        if os.path.lexists(new) and not is_folder(new):
            raise SwapError(
                f"cannot put the file {path} in place: it is a folder now, which holds {other}"
            )
        names = {*os.listdir(live), *(os.listdir(new) if is_folder(new) else ())}
        for name in sorted(names):
            if f"{path}/{name}" in wanted:
                visit(f"{path}/{name}")

    for entry in sorted(set(include)):
        if entry in wanted:
            visit(entry)
    return moves


def _upwards(path: str) -> Iterator[str]:
    """Yield a path and all folders that it lies in."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _check_place(root: Path, path: str, mounts: set[str]) -> None:
    """Raise `SwapError` for what a rename can't or must not reach."""
    parent = (root / path).parent
    if Path(os.path.realpath(parent)) != Path(os.path.realpath(root), path).parent:
        raise SwapError(
            f"cannot replace {path}: a folder on the way to it is a link",
            hint="let `path` be the folder where the code really is",
        )
    if os.path.realpath(parent / Path(path).name) in mounts:
        raise SwapError(f"cannot replace {path}: another file system is mounted there")


def _other_file(folder: Path, path: str, own: set[str], mounts: set[str]) -> str | None:
    """Return a path below ``folder`` that is none of the app's files, None if there is none."""
    if os.path.realpath(folder) in mounts:
        return path
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        inner = f"{path}/{entry.name}"
        if not entry.is_dir(follow_symlinks=False):
            if inner not in own:
                return inner
        elif entry.name != CACHE:
            deeper = _other_file(Path(entry.path), inner, own, mounts)
            if deeper is not None:
                return deeper
    return None


def missing_folders(root: Path, moves: Iterable[Move]) -> list[str]:
    """Return the folders that the moves need and that don't exist, outer ones first."""
    found = set()
    for move in moves:
        for folder in _upwards(move.path.rpartition("/")[0]):
            if not (root / folder).exists():
                found.add(folder)
    return sorted(found)


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder and no link."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False
