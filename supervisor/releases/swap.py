"""Puts a new version of an app's files in place, so that a power cut leaves the old or the new one.

A swap consists of renames between the app's folder and a work folder in it (``new/``, ``old/``,
``journal.json``), hence on one file system. While the journal is there, `recover` and `undo` put
the old version back; removing it makes the new one final. What lies where shows how far a move
got, so both may be interrupted anywhere and called again. Only files of the two versions are moved.
"""

import contextlib
import os
from collections.abc import Callable, Collection, Iterable
from enum import StrEnum
from pathlib import Path

from supervisor.files import atomic_file, safe_folder
from supervisor.releases.swap_journal import (
    Journal,
    Move,
    SwapError,
    cannot,
    is_under_way,
    read_journal,
    remove_journal,
    write_journal,
)
from supervisor.releases.swap_plan import CACHE, is_folder, missing_folders, plan
from supervisor.values.constants import SWAP_FOLDER

WORK = SWAP_FOLDER

Hook = Callable[[str], None]


class Recovered(StrEnum):
    """What `recover` found."""

    NOTHING = "nothing"
    SCRAP = "scrap"  # of a swap that had not begun, or was finished
    UNDONE = "undone"  # a swap was under way: the old version is back


def _nothing(_step: str) -> None:
    """Do nothing after a step."""


def prepare(root: Path) -> Path:
    """Return an empty folder for the new version; raises `SwapError` while a swap is under way.

    Removes what an earlier swap left there.
    """
    work = root / WORK
    if is_under_way(work):
        raise SwapError("another deploy is under way", hint="see: flask-supervisor status")
    try:
        atomic_file.remove(work)
        work.mkdir(mode=0o700)
        (work / "new").mkdir(mode=0o755)
    except OSError as error:
        raise cannot("prepare the deploy", root, error) from error
    return work / "new"


def begin(
    root: Path,
    staged: Path,
    *,
    include: Iterable[str],
    old_paths: Collection[str],
    new_paths: Collection[str],
    hook: Hook = _nothing,
) -> None:
    """Put the files ``new_paths`` of ``staged`` in the places of ``old_paths`` below ``root``.

    ``staged`` lies in the folder that `prepare` returned, and loses what isn't in ``new_paths``.
    ``include`` are the entries below ``root`` where both lie. Call `commit` or `undo` afterwards.
    ``hook`` is called with the name of each step after it. Raises `SwapError` when it couldn't be
    done; the old version is in place then.
    """
    work = root / WORK
    try:
        _strip(staged, "", set(new_paths))
        _give_to_owner(root, staged)
        moves = plan(root, staged, include, set(old_paths), set(new_paths))
        journal = Journal(
            staged=str(staged.relative_to(work)),
            moves=tuple(moves),
            made=tuple(missing_folders(root, moves)),
            old_paths=tuple(old_paths),
            new_paths=tuple(new_paths),
        )
        for move in moves:
            (work / "old" / move.path).parent.mkdir(parents=True, exist_ok=True)
        atomic_file.sync_file_system(work)
        hook("staged")
        write_journal(work, journal)
        hook("journal")
    except (OSError, SwapError) as error:
        with contextlib.suppress(OSError):  # `recover` removes it
            atomic_file.remove(work)
        if isinstance(error, SwapError):
            raise
        raise cannot("put the new version in place", root, error) from error
    try:
        _move_in(root, work, journal, hook)
    except OSError as error:
        undo(root, hook=hook)
        raise cannot("put the new version in place", root, error) from error


def commit(root: Path, *, hook: Hook = _nothing) -> None:
    """Make the new version final and remove the old one; raises `SwapError`."""
    work = root / WORK
    journal = read_journal(work)
    try:
        _bring_over(work / "old", set(journal.old_paths), root)
        atomic_file.sync_file_system(root)
        hook("kept")
        _finish(work, hook)
    except OSError as error:
        raise cannot("finish the deploy", root, error) from error


def undo(root: Path, *, hook: Hook = _nothing) -> None:
    """Put the old version back, however far a swap got; raises `SwapError`."""
    work = root / WORK
    journal = read_journal(work)
    staged = work / journal.staged
    try:
        for move in reversed(journal.moves):
            _move_back(root, work, staged, move, hook)
        _bring_over(staged, set(journal.new_paths), root)
        for folder in reversed(journal.made):
            _remove_if_empty(root / folder)
        _remove_compiled(root, journal.moves)
        hook("back")
        atomic_file.sync_file_system(root)
        hook("back synced")
        _finish(work, hook)
    except OSError as error:
        raise cannot("put the old version back", root, error) from error


def recover(root: Path, *, hook: Hook = _nothing) -> Recovered:
    """Undo a swap that was interrupted in ``root``, or remove what it left; raises `SwapError`."""
    work = root / WORK
    if not os.path.lexists(work):
        return Recovered.NOTHING
    if is_under_way(work):
        undo(root, hook=hook)
        return Recovered.UNDONE
    try:
        atomic_file.remove(work)
    except OSError as error:
        raise cannot("remove what a deploy has left", root, error) from error
    return Recovered.SCRAP


# ---- the staged version


def _strip(folder: Path, path: str, wanted: set[str]) -> None:
    """Remove from the staged version what is not in ``wanted``."""
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        inner = f"{path}/{entry.name}" if path else entry.name
        if entry.is_dir(follow_symlinks=False):
            _strip(Path(entry.path), inner, wanted)
            if inner not in wanted and not os.listdir(entry.path):
                os.rmdir(entry.path)
        elif inner not in wanted:
            os.unlink(entry.path)


def _give_to_owner(root: Path, staged: Path) -> None:
    """As root, give the staged files to the owner of what they replace, or of ``root``."""
    if os.geteuid() != 0:
        return
    owner = root.stat()
    with safe_folder.opened(Path(os.path.realpath(staged))) as top:
        for parent, folders, files, folder in os.fwalk(".", dir_fd=top):
            for name in (*folders, *files):
                live = root / parent / name
                now = live.lstat() if os.path.lexists(live) else owner
                os.chown(name, now.st_uid, now.st_gid, dir_fd=folder, follow_symlinks=False)


# ---- moves


def _move_in(root: Path, work: Path, journal: Journal, hook: Hook) -> None:
    for folder in journal.made:
        (root / folder).mkdir(mode=0o755)
        hook(f"make {folder}")
    for move in journal.moves:
        if move.old:
            _put(root / move.path, work / "old" / move.path, work)
            hook(f"out {move.path}")
        if move.new:
            _put(work / journal.staged / move.path, root / move.path, work)
            hook(f"in {move.path}")
    _remove_compiled(root, journal.moves)
    hook("compiled")
    atomic_file.sync_file_system(root)
    hook("synced")


def _move_back(root: Path, work: Path, staged: Path, move: Move, hook: Hook) -> None:
    old = work / "old" / move.path
    is_old_away = move.old and os.path.lexists(old)
    is_new_in = move.new and not os.path.lexists(staged / move.path)
    if is_new_in and os.path.lexists(root / move.path):
        (staged / move.path).parent.mkdir(parents=True, exist_ok=True)
        (root / move.path).rename(staged / move.path)
        hook(f"back out {move.path}")
    if is_old_away:
        (root / move.path).parent.mkdir(parents=True, exist_ok=True)
        _put(old, root / move.path, work)
        hook(f"back in {move.path}")


def _put(source: Path, target: Path, work: Path) -> None:
    """Rename; what a running app created at the target meanwhile is moved to ``scrap/``."""
    try:
        source.rename(target)
    except OSError as error:
        if not os.path.lexists(source) or not os.path.lexists(target):
            raise
        scrap = work / "scrap" / f"{os.getpid()}-{target.name}"
        scrap.parent.mkdir(exist_ok=True)
        atomic_file.remove(scrap)
        try:
            target.rename(scrap)
        except OSError:
            raise error from None
        source.rename(target)


def _bring_over(folder: Path, known: set[str], root: Path) -> None:
    """Move to the live tree what an app wrote into ``folder`` while it was moved away.

    ``known`` are the files of the version: they stay, and so do caches.
    """
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != CACHE]
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in (*files, *links):
            path = os.path.relpath(os.path.join(parent, name), folder)
            target = root / path
            if path not in known and not os.path.lexists(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                os.rename(os.path.join(parent, name), target)


def _remove_compiled(root: Path, moves: Iterable[Move]) -> None:
    """Remove compiled code of single files that were moved.

    Python compares only the size of the source and its time in seconds, and an archive may give
    both versions the same.
    """
    for move in moves:
        if move.path.endswith(".py"):
            source = root / move.path
            for compiled in (source.parent / CACHE).glob(f"{source.stem}.*.pyc"):
                compiled.unlink(missing_ok=True)


def _finish(work: Path, hook: Hook) -> None:
    remove_journal(work)
    hook("final")
    atomic_file.remove(work)
    hook("clean")


def _remove_if_empty(folder: Path) -> None:
    if is_folder(folder) and not os.listdir(folder):
        folder.rmdir()
