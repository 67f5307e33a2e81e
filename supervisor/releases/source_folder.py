"""Copies a folder that is to be deployed, which may be an operator's whole project."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from supervisor.releases.unpack_writer import Writer


def copy_folder(source: Path, writer: Writer, only: Collection[str] | None) -> None:
    """Copy a folder, of its entries ``only`` these; raises `UnpackError` and OSError."""
    root = Path(os.path.realpath(source))
    for path, entry in _walk(root, "", only):
        if entry.is_symlink():
            writer.link(path, os.readlink(entry.path))
        elif entry.is_dir(follow_symlinks=False):
            writer.folder(path)
        elif entry.is_file(follow_symlinks=False):
            status = entry.stat(follow_symlinks=False)
            writer.grow(status.st_size)
            writer.copy(path, Path(entry.path), status.st_mode)
        # sockets, pipes and devices of a working folder are no part of what is deployed
    writer.finish()


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
