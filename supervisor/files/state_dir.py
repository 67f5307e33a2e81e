"""The state folder: its lock, the apps' data folders, whole writes.

One supervisor at a time holds the lock (flock(2)): it ends with the process that took it,
however that ends, so nothing has to be cleaned up after a crash.
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
    """Give "pid 830, started ..." of whoever holds the state folder ``path``; None if nobody does.

    None also for a folder that can't be looked at.
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
        """Where the control socket is."""
        return self.path / "control.sock"

    @property
    def releases(self) -> Path:
        """Where the apps' releases are."""
        return self.path / "releases"

    @property
    def config_history(self) -> Path:
        """Where the configurations are that came up."""
        return self.path / "config"

    def lock(self, started: str) -> None:
        """Create the folder and take its lock; ``started`` is shown to whoever comes second.

        Raises `AlreadyRunning`, or `SupervisorError` when the folder can't be used.
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
                hint="look at it with: flask-supervisor status",
            ) from error
        self._lock_fd = fd
        with contextlib.suppress(OSError):  # a full disk: the lock holds, only its text is missing
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"pid {os.getpid()}, started {started}\n".encode(), 0)

    def locked_by(self) -> int | None:
        """Give the pid that the last holder of the lock left in it, as far as it can be read."""
        try:
            found = re.match(r"pid (\d+)", (self.path / "lock").read_text(errors="replace"))
        except OSError:
            return None
        return int(found[1]) if found else None

    def unlock(self) -> None:
        """Let go of the lock."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def data_dir(self, app: str) -> Path:
        """Give the folder for the data of ``app``."""
        return self.path / "data" / app

    def make_data_dir(self, app: str) -> None:
        """Create the folder for the data of ``app`` if it is missing; raises OSError."""
        self.data_dir(app).mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)

    def entries(self) -> list[Path]:
        """Give everything in the folder that is the supervisor's or its apps', if it is there."""
        return [self.path / name for name in _ENTRIES if os.path.lexists(self.path / name)]
