"""Copies the files of a manifest, and compares files with a manifest."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from supervisor.files import atomic_file
from supervisor.source.manifest import Manifest


class FileChanged(Exception):
    """A file isn't what the manifest says; the text names it."""


def copy_files(root: Path, manifest: Manifest, target: Path) -> None:
    """Copy what the manifest names; raises `FileChanged` for another content, and OSError."""
    for entry in manifest.entries:
        path = target / entry.path
        if entry.is_folder:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry.link is not None:
            path.symlink_to(entry.link)
            continue
        try:
            sha256 = atomic_file.copy_file(root / entry.path, path, mode=entry.mode & 0o777 | 0o600)
        except FileNotFoundError as error:
            raise FileChanged(entry.path) from error
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EINVAL):  # a link or a pipe by now
                raise FileChanged(entry.path) from error
            raise
        if sha256 != entry.sha256:
            raise FileChanged(entry.path)


def faults(root: Path, manifest: Manifest) -> list[str]:
    """Return in what the files below ``root`` differ from the manifest: paths, with why.

    Reads every file. Compiled Python beside the files doesn't count.
    """
    found = []
    for entry in manifest.entries:
        path = root / entry.path
        try:
            if entry.link is not None:
                is_right = os.readlink(path) == entry.link
            elif entry.is_folder:
                is_right = path.is_dir()
            else:
                is_right = atomic_file.hash_file(path) == entry.sha256
        except OSError as error:
            found.append(f"{entry.path}: {error.strerror}")
        else:
            if not is_right:
                found.append(f"{entry.path}: is not what was kept")
    wanted = {entry.path for entry in manifest.entries}
    return found + [f"{path}: was added" for path in _all_files(root) if path not in wanted]


def drop_cached(root: Path, manifest: Manifest) -> None:
    """Drop these files from the kernel's cache, so that they are read from the disk.

    They have to be synced before (posix_fadvise(2)). Raises OSError.
    """
    for entry in manifest.entries:
        if entry.sha256 is not None:
            fd = os.open(root / entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)


def _all_files(folder: Path) -> Iterator[str]:
    """Yield the paths of all files and links below a folder but compiled Python."""
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in (*names, *links):
            yield os.path.relpath(os.path.join(parent, name), folder)
