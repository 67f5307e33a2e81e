"""Puts a new version of an app's files in place, so that a power cut leaves the old or the new one.

All happens by renames between the app's folder and a work folder in it (``new/``, ``old/``,
``journal.json``), hence on one file system. While the journal is there, `recover` and `undo` put
the old version back; removing it is what makes the new one final. Each move can be told from what
lies where, so both may be interrupted anywhere and called again.

Only files of the two versions are moved. A folder is moved as a whole when nothing else lies in
it; otherwise what else lies there, like a database, stays and its files are moved one by one.
"""

import contextlib
import json
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from supervisor.files import atomic_file
from supervisor.source.manifest import is_safe_path
from supervisor.values.constants import SWAP_FOLDER
from supervisor.values.errors import SupervisorError

WORK = SWAP_FOLDER
_JOURNAL = "journal.json"
_CACHE = "__pycache__"

Hook = Callable[[str], None]


class SwapError(SupervisorError):
    """The files can't be put in place; the old ones are there."""


class Recovered(StrEnum):
    """What `recover` found."""

    NOTHING = "nothing"
    SCRAP = "scrap"  # of a swap that had not begun, or was finished
    UNDONE = "undone"  # a swap was under way: the old version is back


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One file or folder that changes places; ``old`` and ``new`` say in which version it is."""

    path: str
    old: bool
    new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Journal:
    """The plan of a swap; ``staged`` is where the new version lies in the work folder."""

    staged: str
    moves: tuple[Move, ...]
    made: tuple[str, ...]  # folders that the swap creates, outer ones first
    old_paths: tuple[str, ...]
    new_paths: tuple[str, ...]


def _nothing(_step: str) -> None:
    """Be the hook of whoever wants to hear of no step."""


def prepare(root: Path) -> Path:
    """Give an empty folder to put the new version into; raises `SwapError`.

    What a swap before has left there is removed; one that is under way is refused.
    """
    work = root / WORK
    if (work / _JOURNAL).exists():
        raise SwapError("another deploy is under way", hint="see: flask-supervisor status")
    try:
        atomic_file.remove(work)
        work.mkdir(mode=0o700)
        (work / "new").mkdir(mode=0o755)
    except OSError as error:
        raise _cannot("prepare the deploy", root, error) from error
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

    ``staged`` lies in the folder that `prepare` gave, and loses what isn't in ``new_paths``.
    ``include`` are the entries below ``root`` where both lie. Afterwards `commit` or `undo` is to
    be called. ``hook`` is called with the name of each step after it. Raises `SwapError` when it
    couldn't be done; the old version is in place then.
    """
    work = root / WORK
    try:
        _strip(staged, "", set(new_paths))
        _give_to_owner(root, staged)
        moves = _plan(root, staged, include, set(old_paths), set(new_paths))
        journal = _Journal(
            staged=str(staged.relative_to(work)),
            moves=tuple(moves),
            made=tuple(_missing_folders(root, moves)),
            old_paths=tuple(old_paths),
            new_paths=tuple(new_paths),
        )
        for move in moves:
            (work / "old" / move.path).parent.mkdir(parents=True, exist_ok=True)
        atomic_file.sync_file_system(work)
        hook("staged")
        atomic_file.write_whole(work / _JOURNAL, json.dumps(asdict(journal)).encode())
        hook("journal")
    except (OSError, SwapError) as error:
        with contextlib.suppress(OSError):  # `recover` removes it
            atomic_file.remove(work)
        if isinstance(error, SwapError):
            raise
        raise _cannot("put the new version in place", root, error) from error
    try:
        _move_in(root, work, journal, hook)
    except OSError as error:
        undo(root, hook=hook)
        raise _cannot("put the new version in place", root, error) from error


def commit(root: Path, *, hook: Hook = _nothing) -> None:
    """Make the new version final and remove the old one; raises `SwapError`."""
    work = root / WORK
    journal = _read(work)
    try:
        _bring_over(work / "old", set(journal.old_paths), root)
        atomic_file.sync_file_system(root)
        hook("kept")
        _finish(work, hook)
    except OSError as error:
        raise _cannot("finish the deploy", root, error) from error


def undo(root: Path, *, hook: Hook = _nothing) -> None:
    """Put the old version back, from wherever a swap has got to; raises `SwapError`."""
    work = root / WORK
    journal = _read(work)
    staged = work / journal.staged
    try:
        for move in reversed(journal.moves):
            _move_back(root, work, staged, move, hook)
        _bring_over(staged, set(journal.new_paths), root)
        for folder in reversed(journal.made):
            _remove_if_empty(root / folder)
        _forget_compiled(root, journal.moves)
        hook("back")
        atomic_file.sync_file_system(root)
        hook("back synced")
        _finish(work, hook)
    except OSError as error:
        raise _cannot("put the old version back", root, error) from error


def recover(root: Path, *, hook: Hook = _nothing) -> Recovered:
    """Bring a folder in order after whatever ended a swap there; raises `SwapError`."""
    work = root / WORK
    if not os.path.lexists(work):
        return Recovered.NOTHING
    if (work / _JOURNAL).exists():
        undo(root, hook=hook)
        return Recovered.UNDONE
    try:
        atomic_file.remove(work)
    except OSError as error:
        raise _cannot("remove what a deploy has left", root, error) from error
    return Recovered.SCRAP


# ---- the plan


def _plan(
    root: Path, staged: Path, include: Iterable[str], old_paths: set[str], new_paths: set[str]
) -> list[Move]:
    wanted = {part for path in old_paths | new_paths for part in _upwards(path)}
    moves: list[Move] = []

    def visit(path: str) -> None:
        live, new = root / path, staged / path
        _check_place(root, path)
        foreign = _foreign(live, path, old_paths) if _is_folder(live) else None
        if foreign is None:
            moves.append(Move(path=path, old=os.path.lexists(live), new=os.path.lexists(new)))
            return
        if os.path.lexists(new) and not _is_folder(new):
            raise SwapError(
                f"cannot put the file {path} in place: it is a folder now, which holds {foreign}"
            )
        names = {*os.listdir(live), *(os.listdir(new) if _is_folder(new) else ())}
        for name in sorted(names):
            if f"{path}/{name}" in wanted:
                visit(f"{path}/{name}")

    for entry in sorted(set(include)):
        if entry in wanted:
            visit(entry)
    return moves


def _upwards(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def _check_place(root: Path, path: str) -> None:
    """Refuse what a rename would not, or should not, reach."""
    parent = (root / path).parent
    if Path(os.path.realpath(parent)) != Path(os.path.realpath(root), path).parent:
        raise SwapError(
            f"cannot replace {path}: a folder on the way to it is a link",
            hint="let `path` be the folder where the code really is",
        )
    if os.path.ismount(root / path):
        raise SwapError(f"cannot replace {path}: another file system is mounted there")


def _foreign(folder: Path, path: str, own: set[str]) -> str | None:
    """Give something below ``folder`` that is none of the app's files, if there is any."""
    if os.path.ismount(folder):
        return path
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        inner = f"{path}/{entry.name}"
        if not entry.is_dir(follow_symlinks=False):
            if inner not in own:
                return inner
        elif entry.name != _CACHE:
            deeper = _foreign(Path(entry.path), inner, own)
            if deeper is not None:
                return deeper
    return None


def _missing_folders(root: Path, moves: Iterable[Move]) -> list[str]:
    found = set()
    for move in moves:
        for folder in _upwards(move.path.rpartition("/")[0]):
            if not (root / folder).exists():
                found.add(folder)
    return sorted(found)


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
    """Let what root puts in place belong to whom the place belongs to."""
    if os.geteuid() != 0:
        return
    owner = root.stat()
    for parent, folders, files in os.walk(staged):
        for name in (*folders, *files):
            path = Path(parent, name)
            live = root / path.relative_to(staged)
            now = live.lstat() if os.path.lexists(live) else owner
            os.lchown(path, now.st_uid, now.st_gid)


# ---- moves


def _move_in(root: Path, work: Path, journal: _Journal, hook: Hook) -> None:
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
    _forget_compiled(root, journal.moves)
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
    """Rename; what a running app has put into the way meanwhile goes to the scrap."""
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

    ``known`` are the files that the version consists of: they stay, and so do caches.
    """
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != _CACHE]
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in (*files, *links):
            path = os.path.relpath(os.path.join(parent, name), folder)
            target = root / path
            if path not in known and not os.path.lexists(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                os.rename(os.path.join(parent, name), target)


def _forget_compiled(root: Path, moves: Iterable[Move]) -> None:
    """Remove compiled code of single files that were moved.

    Python takes it for up to date by the second and the size of the source alone, and an archive
    may give the new version the same.
    """
    for move in moves:
        if move.path.endswith(".py"):
            source = root / move.path
            for compiled in (source.parent / _CACHE).glob(f"{source.stem}.*.pyc"):
                compiled.unlink(missing_ok=True)


def _finish(work: Path, hook: Hook) -> None:
    (work / _JOURNAL).unlink()
    atomic_file.sync_folder(work)
    hook("final")
    atomic_file.remove(work)
    hook("clean")


def _remove_if_empty(folder: Path) -> None:
    if _is_folder(folder) and not os.listdir(folder):
        folder.rmdir()


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


# ---- the journal


def _read(work: Path) -> _Journal:
    try:
        fields: dict[str, Any] = json.loads((work / _JOURNAL).read_bytes())
        journal = _Journal(
            staged=fields["staged"],
            moves=tuple(Move(**move) for move in fields["moves"]),
            made=tuple(fields["made"]),
            old_paths=tuple(fields["old_paths"]),
            new_paths=tuple(fields["new_paths"]),
        )
        paths = [journal.staged, *journal.made, *(move.path for move in journal.moves)]
        is_sound = all(is_safe_path(path) for path in paths)
    except OSError as error:
        raise _cannot("read the journal of the deploy", work.parent, error) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_sound = False
    if not is_sound:
        raise SwapError(
            f"the journal of a deploy is damaged: {work / _JOURNAL}",
            hint=f"what belongs to the old version lies in {work / 'old'}; then remove {work}",
        )
    return journal


def _cannot(what: str, root: Path, error: OSError) -> SwapError:
    where = error.filename2 or error.filename
    place = f" ({os.path.relpath(where, root)})" if isinstance(where, str) else ""
    return SwapError(
        f"cannot {what}: {error.strerror}{place}",
        hint=f"{root} has to be writable, with enough space left",
    )
