"""The state folder: its lock, and where everything in it is.

One supervisor at a time holds the lock (flock(2)). The kernel releases it when that process ends,
however it ends, so nothing has to be cleaned up after a crash.
"""

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from supervisor.files import safe_folder
from supervisor.values.errors import AlreadyRunning, SupervisorError

_ENTRIES = (
    ".gitignore",
    "lock",
    "control.sock",
    "releases",
    "notes",
    "config",
    "admin",
    "events",
    "events.damaged",
    "notified",
    "data",
    "tmp",
)
_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER_MODE = 0o700


def lock_holder(path: Path) -> str | None:
    """Return "pid 830, started ..." of the process that holds the lock of the folder ``path``.

    None if no process does, or if the folder can't be read.
    """
    try:
        fd = os.open(path / "lock", os.O_RDONLY | _OPEN)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(fd, 200).decode("utf-8", "replace").strip() or "unknown pid"
    finally:
        os.close(fd)
    return None


@contextlib.contextmanager
def opened_state(path: Path) -> Iterator[int]:
    """Open the state folder for ``dir_fd=``; create it if it is missing. Raises OSError.

    git leaves a new one alone: ``git stash -u`` in the app's checkout took lock and releases away.
    """
    is_new = not os.path.lexists(path)
    with safe_folder.opened(path, create_mode=_FOLDER_MODE) as folder:
        if is_new:
            _write_gitignore(folder)
        yield folder


def _write_gitignore(folder: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN
    with contextlib.suppress(OSError):  # a full disk: nothing else depends on it
        fd = os.open(".gitignore", flags, 0o600, dir_fd=folder)
        with os.fdopen(fd, "wb") as stream:
            stream.write(b"*\n")


def _open_lock(folder: int) -> int:
    """Open the lock, and create it if it is missing; raises OSError, also for a link."""
    try:
        fd = os.open("lock", os.O_RDWR | os.O_CREAT | _OPEN, 0o600, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:  # its target would be overwritten
            error.strerror = "lock in it is a link"
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "lock in it is not a regular file")
    return fd


class StateDir:
    """The state folder at ``path``, absolute."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_fd: int | None = None

    @property
    def events(self) -> Path:
        """The path of the file with what happened."""
        return self.path / "events"

    @property
    def control_socket(self) -> Path:
        """The path of the control socket."""
        return self.path / "control.sock"

    @property
    def releases(self) -> Path:
        """The folder of the apps' releases."""
        return self.path / "releases"

    @property
    def config_history(self) -> Path:
        """The folder of the configurations that came up."""
        return self.path / "config"

    def lock(self, started: str) -> None:
        """Create the folder and take its lock; a second supervisor shows ``started`` in its error.

        Raises `AlreadyRunning`, or `SupervisorError` if the folder can't be used.
        """
        try:
            with opened_state(self.path) as folder:
                fd = _open_lock(folder)
        except OSError as error:
            raise SupervisorError(
                f"cannot use the state folder {self.path}: {error.strerror}",
                hint="set state_dir in [supervisor] to a folder that this user may write to",
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(fd, 200).decode("utf-8", "replace").strip() or "unknown pid"
            os.close(fd)
            raise AlreadyRunning(
                f"already running as {holder}, with the state folder {self.path}",
                hint="see: flask-supervisor status",
            ) from error
        self._lock_fd = fd
        with contextlib.suppress(OSError):  # disk full: the lock holds without its text
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"pid {os.getpid()}, started {started}\n".encode(), 0)

    def locked_by(self) -> int | None:
        """Return the pid that the last holder wrote into the lock; None if it can't be read."""
        try:
            with safe_folder.opened(self.path) as folder:
                text, _ = safe_folder.read_file("lock", folder, 200)
        except OSError:
            return None
        found = re.match(rb"pid (\d+)", text)
        return int(found[1]) if found else None

    def unlock(self) -> None:
        """Release the lock."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def data_dir(self, app: str) -> Path:
        """Return the folder for the data of ``app``."""
        return self.path / "data" / app

    def make_data_dir(self, app: str) -> None:
        """Create the folder for the data of ``app`` if it is missing; raises OSError."""
        with safe_folder.opened(self.data_dir(app), create_mode=_FOLDER_MODE):
            pass

    def entries(self) -> list[Path]:
        """Return the existing entries of the folder that belong to the supervisor or its apps."""
        return [self.path / name for name in _ENTRIES if os.path.lexists(self.path / name)]
