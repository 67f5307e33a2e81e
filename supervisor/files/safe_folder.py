"""Opens folders without following links that another user may have planted.

root often works in folders that the service's user owns, as in ``sudo flask-supervisor config
restore``: a link there could make root write to, or give away, any file of the machine. So root
follows a link only if root owns it and its folder (compare protected_symlinks in proc_sys_fs(5)).
Other users follow every link: they have no rights that are worth stealing.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_LINKS_MAX = 40  # as the kernel, path_resolution(7)
_PARENT_MODE = 0o755
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def opened(
    path: Path, *, create_mode: int | None = None, within: int | None = None
) -> Iterator[int]:
    """Open the folder ``path`` for ``dir_fd=``; with ``create_mode``, create it if it is missing.

    Missing parents are created too. A relative path starts at the open folder ``within``. Raises
    OSError: ELOOP for a link that root does not follow.
    """
    fd = _walk(path if within is not None else Path.cwd() / path, create_mode, within)
    try:
        yield fd
    finally:
        os.close(fd)


def through(fd: int) -> Path:
    """Return a path of an open folder that leads there whatever happens to its name."""
    return Path(f"/proc/self/fd/{fd}")


def resolve(path: Path) -> Path:
    """Return ``path`` without links, as `os.path.realpath`; raises OSError as `opened` does."""
    path = Path.cwd() / path
    for _ in range(_LINKS_MAX):
        with opened(path.parent) as folder:
            path = Path(os.readlink(through(folder))) / path.name
            target = _link(path.name, folder)
        if target is None:
            return path
        path = path.parent / target
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def read_file(name: str, folder: int, size_max: int = -1) -> tuple[bytes, os.stat_result]:
    """Return what is in a regular file of an open folder, and its status; follows no link."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", name)
        return stream.read(size_max), status


def _walk(path: Path, create_mode: int | None, within: int | None) -> int:
    """Open ``path`` one name after the other, so that no name is looked up twice."""
    pending, links = _names(path), 0
    fd = os.open("/" if within is None else ".", _STEP, dir_fd=within)
    try:
        while pending:
            name = pending.pop()
            inner = _step(name, fd, None if create_mode is None else _mode(create_mode, pending))
            if inner is None:
                links += 1
                pending += _names(Path(_target(name, fd, links)))
            else:
                os.close(fd)
                fd = inner
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(fd)


def _names(path: Path) -> list[str]:
    """Return the names to open, the first one last.

    The root belongs to the name after it: a user-mode emulator has another folder for the root.
    """
    parts = list(path.parts)
    if path.is_absolute() and len(parts) > 1:
        parts[:2] = [parts[0] + parts[1]]
    return parts[::-1]


def _target(name: str, folder: int, links: int) -> str:
    target = _link(name, folder) if links <= _LINKS_MAX else None
    if target is None:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


def _mode(create_mode: int, pending: list[str]) -> int:
    return _PARENT_MODE if pending else create_mode


def _step(name: str, fd: int, create_mode: int | None) -> int | None:
    """Open a folder in the folder ``fd``; None for a link."""
    try:
        return os.open(name, _STEP, dir_fd=fd)
    except FileNotFoundError:
        if create_mode is None:
            raise
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, create_mode, dir_fd=fd)
        return os.open(name, _STEP, dir_fd=fd)
    except NotADirectoryError:
        if not stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            raise
        return None


def _link(name: str, folder: int) -> str | None:
    """Return where a link in an open folder leads to, None for what is no link, or not there."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISLNK(status.st_mode):
        return None
    around = os.fstat(folder)
    is_open = around.st_mode & stat.S_IWOTH and not around.st_mode & stat.S_ISVTX
    if os.geteuid() == 0 and (status.st_uid or around.st_uid or is_open):
        raise OSError(errno.ELOOP, "root follows no link that another user can change", name)
    return os.readlink(name, dir_fd=folder)
