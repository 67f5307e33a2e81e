"""Copies a folder that is to be deployed, which may be an operator's whole project."""

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from supervisor.releases.unpack_writer import Writer

_Status = dict[str, os.stat_result]  # by path


def copy_folder(source: Path, writer: Writer, only: Collection[str] | None) -> None:
    """Copy a folder, of its entries ``only`` these; raises `UnpackError` and OSError.

    Refuses a folder that changes while it is copied: what was copied may be a mixture of two
    versions. The kernel stamps files every few milliseconds, so what changes back and forth within
    the same ones is not noticed.
    """
    root = Path(os.path.realpath(source))
    before = _status(root, writer, only)
    for path, status in before.items():
        if not _is_deployable(status):
            hint = "remove it, or set `include` to what belongs to the app"
            writer.refuse(f"{path} is neither a file nor a folder nor a link", hint=hint)
    for path, status in before.items():
        if stat.S_ISLNK(status.st_mode):
            writer.link(path, os.readlink(root / path))
        elif stat.S_ISDIR(status.st_mode):
            writer.folder(path)
        else:
            writer.grow(status.st_size)
            writer.copy(path, root / path, status.st_mode)
    writer.finish()
    after = _status(root, writer, only)
    for path in sorted(before.keys() | after.keys()):
        if _stamp(before.get(path)) != _stamp(after.get(path)):
            writer.refuse_changed(path)


def _is_deployable(status: os.stat_result) -> bool:
    kind = status.st_mode
    return stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISLNK(kind)


def _stamp(status: os.stat_result | None) -> tuple[int, ...]:
    """Return what changes with an entry; of a folder its kind alone, since caches come and go."""
    if status is None:
        return ()
    if stat.S_ISDIR(status.st_mode):
        return (status.st_mode,)
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return (status.st_mode, status.st_ino, status.st_size, *times)


def _status(root: Path, writer: Writer, only: Collection[str] | None) -> _Status:
    found: _Status = {}
    for path, entry in _walk(root, "", only):
        found[path] = entry.stat(follow_symlinks=False)
        writer.insist_on_count(len(found))
    return found


def _walk(
    folder: Path, path: str, only: Collection[str] | None = None
) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """Yield all that lies in a folder, without what never belongs to a deploy."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    if path and any(entry.name == "pyvenv.cfg" for entry in found):
        return
    for entry in found:
        inner = f"{path}/{entry.name}" if path else entry.name
        if entry.name in (".git", "__pycache__", "node_modules") or entry.name.startswith(
            ".flask-supervisor"
        ):
            continue
        if only is not None and entry.name not in only:
            continue
        yield inner, entry
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), inner)
