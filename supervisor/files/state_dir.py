"""The state folder: its lock, and where everything in it is.

One supervisor at a time holds the lock (flock(2)). The kernel releases it when that process ends,
however it ends, so nothing has to be cleaned up after a crash.
"""

import contextlib
import fcntl
import os
import re
from pathlib import Path

from supervisor.values.errors import AlreadyRunning, SupervisorError

_ENTRIES = ("lock", "control.sock", "releases", "config", "events", "data", "tmp")
_FOLDER_MODE = 0o700


def lock_holder(path: Path) -> str | None:
    """Return "pid 830, started ..." of the process that holds the lock of the folder ``path``.

    None if no process does, or if the folder can't be read.
    """
    try:
        fd = os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(fd, 200).decode("utf-8", "replace").strip() or "unknown pid"
    finally:
        os.close(fd)
    return None


class StateDir:
    """The state folder at ``path``, absolute."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_fd: int | None = None

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
            self.path.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
            found = re.match(r"pid (\d+)", (self.path / "lock").read_text(errors="replace"))
        except OSError:
            return None
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
        """Create the folder for the data of ``app`` if it is missing. Raises OSError."""
        self.data_dir(app).mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)

    def entries(self) -> list[Path]:
        """Return the existing entries of the folder that belong to the supervisor or its apps."""
        return [self.path / name for name in _ENTRIES if os.path.lexists(self.path / name)]
