"""The state folder: its lock, and where everything in it is.

One supervisor at a time has the folder's abstract name (`client.abstract_name`), also while the
folder itself is missing or can't be written; and it holds the lock in the folder (flock(2)), which
is seen from other network namespaces too. The kernel releases both when that process ends, however
it ends, so nothing has to be cleaned up after a crash.
"""

import contextlib
import errno
import fcntl
import os
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from supervisor.client import Peer, abstract_name, peer_of
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
    """Return "pid 830, started ..." of the supervisor with the state folder ``path``, or None.

    Without the lock in the folder it is the pid alone.
    """
    peer = _named(path)
    found = _lock_holder(path)
    if peer is not None and not (found or "").startswith("pid "):
        return f"pid {peer.pid}"  # the lock can't be read, or was never written: a full disk
    return found


def _named(path: Path) -> Peer | None:
    """Return the supervisor that has the name of the folder: of this user, its owner, or root."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(abstract_name(path))
        except OSError:
            return None  # nobody; or too many clients wait, and then the lock has to tell
        peer = peer_of(probe)
    is_trusted = peer.uid in (0, os.geteuid())
    with contextlib.suppress(OSError):
        is_trusted = is_trusted or path.stat().st_uid == peer.uid
    return peer if is_trusted and peer.shares_root() else None


def _lock_holder(path: Path) -> str | None:
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


def fault(path: Path) -> int | None:
    """Return the error number (errno(3)) with which the state folder can't be used, or None.

    Blocks while its disk does; creates what `StateDir.lock` creates.
    """
    try:
        with opened_state(path) as folder:
            os.close(_open_lock(folder))
    except OSError as error:
        return error.errno
    return None


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
        self.named: socket.socket | None = None  # listens at the abstract name
        self.answers = True  # unless its disk hangs: then nobody may look at it

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
        """Take the name, create the folder and take its lock, as far as that isn't done.

        A second supervisor shows ``started`` in its error. Raises `AlreadyRunning`, or
        `SupervisorError` if the folder can't be used: then only the name is taken.
        """
        self.take_name()
        try:
            with opened_state(self.path) as folder:
                fd = _open_lock(folder)
        except OSError as error:
            raise SupervisorError(
                f"cannot use the state folder {self.path}: {error.strerror}",
                hint="set state_dir in [supervisor] to a folder that this user may write to",
            ) from error
        if self._lock_fd is not None and os.path.sameopenfile(fd, self._lock_fd):
            os.close(fd)
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(fd, 200).decode("utf-8", "replace").strip() or "unknown pid"
            os.close(fd)
            raise self._already_running(holder) from error
        if self._lock_fd is not None:  # of a folder that was removed
            os.close(self._lock_fd)
        self._lock_fd = fd
        with contextlib.suppress(OSError):  # disk full: the lock holds without its text
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"pid {os.getpid()}, started {started}\n".encode(), 0)

    def take_name(self) -> None:
        """Take the abstract name, which needs no disk; raises `AlreadyRunning`."""
        if self.named is not None:
            return
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(abstract_name(self.path))
        except OSError:  # EADDRINUSE
            listener.close()
            if _named(self.path) is not None:
                raise self._already_running(lock_holder(self.path) or "unknown pid") from None
            return  # by another user, or in a container: it has another folder of that name
        listener.listen()
        self.named = listener

    def _already_running(self, holder: str) -> AlreadyRunning:
        return AlreadyRunning(
            f"already running as {holder}, with the state folder {self.path}",
            hint="see: flask-supervisor status",
        )

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
        """Release the lock and the name."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None
        if self.named is not None:
            self.named.close()
            self.named = None

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
