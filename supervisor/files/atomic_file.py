"""File operations that survive a power cut: a file is written completely or not at all.

A rename is atomic, but only data that was synced before it is certain to be on the disk after it,
and the rename itself only after its folder was synced (fsync(2), rename(2)).
"""

import contextlib
import ctypes
import errno
import hashlib
import os
import shutil
import stat
from pathlib import Path

from supervisor.files import safe_folder

TEMPORARY = ".new-"  # begins the names of what is not complete yet; whoever finds one may drop it
_CHUNK = 1024 * 1024

_libc = ctypes.CDLL(None, use_errno=True)


def write_whole(
    path: Path, data: bytes, *, mode: int = 0o600, owner: tuple[int, int] | None = None
) -> None:
    """Replace ``path`` by a file with ``data``; after an error or a power cut the old one remains.

    ``owner`` (uid, gid) is set as far as this user may. A link at ``path`` is replaced; links on
    the way are followed as in `safe_folder`. Raises OSError.
    """
    with safe_folder.opened(path.parent) as folder:
        temporary = f"{TEMPORARY}{os.getpid()}-{path.name}"
        _unlink(temporary, folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=folder), "wb") as stream:
                stream.write(data)
                if owner is not None:
                    with contextlib.suppress(PermissionError):  # only root may give files away
                        os.fchown(stream.fileno(), *owner)
                os.fchmod(stream.fileno(), mode)
                stream.flush()
                os.fsync(stream.fileno())
            os.rename(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as error:
            error.filename, error.filename2 = str(path), None
            _unlink(temporary, folder)
            raise
        _sync(folder)


def remove_incomplete(folder: Path) -> None:
    """Remove what writes in ``folder`` left which a power cut ended; nobody may be writing there.

    Raises OSError.
    """
    for path in folder.glob(f"{TEMPORARY}*"):
        path.unlink(missing_ok=True)


def _unlink(name: str, folder: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def copy_file(source: Path, target: Path, *, mode: int) -> str:
    """Copy a regular file with its times; return the SHA-256 of the copied data.

    Follows no link and overwrites nothing. Does not sync: see `sync_file_system`. Raises OSError.
    """
    digest = hashlib.sha256()
    read_fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(read_fd, "rb", buffering=0) as reading:
        found = os.fstat(read_fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(source))
        write_fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(write_fd, "wb", buffering=0) as writing:
            while part := reading.read(_CHUNK):
                digest.update(part)
                _write_all(writing.fileno(), part)
            os.fchmod(write_fd, mode)
            os.utime(write_fd, ns=(found.st_atime_ns, found.st_mtime_ns))
    return digest.hexdigest()


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a regular file; follows no link. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as stream:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync_folder(path: Path) -> None:
    """Sync the entries of a folder (files created, renamed, removed) to disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(fd)
    finally:
        os.close(fd)


def _sync(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: the file system can't sync folders
            raise


def sync_file_system(path: Path) -> None:
    """Sync the whole file system of ``path`` to disk (syncfs(2)). Raises OSError.

    After many new files this takes one call; syncing each of them takes an SD card seconds.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(fd)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with its content, if it exists. Raises OSError."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(kind):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
