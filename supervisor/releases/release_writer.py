"""Changes the folder of one app's releases: one process at a time, and through descriptors.

The lock (flock(2)) ends with the process that took it, however that ends. As root, no link that
the service's user planted is followed, see `safe_folder`.
"""

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from supervisor.files import atomic_file, safe_folder
from supervisor.releases import release_files
from supervisor.releases.release import FILES, About, ReleaseError, folder_name, write_manifest
from supervisor.releases.release_files import FileChanged
from supervisor.source.manifest import Manifest

BAD = ".bad"  # in the names of what was set aside
_BAD_KEPT = 2  # enough to find out what happened, without filling the disk
_NUMBERED = re.compile(r"(\d{6,9})-")
FOLDER_MODE = 0o700
_LOCK = ".lock"
_POLL_S = 0.05


class Locked(Exception):
    """Another process changes the releases."""


@contextlib.contextmanager
def locked(folder: Path, *, wait_s: float, create: bool) -> Iterator[int]:
    """Open the releases folder for ``dir_fd=`` and take its lock.

    Raises `Locked` when another process still has the lock after ``wait_s`` seconds, and OSError.
    """
    with safe_folder.opened(folder, create_mode=FOLDER_MODE if create else None) as fd:
        flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        lock = os.open(_LOCK, flags, 0o600, dir_fd=fd)
        try:
            _take(lock, time.monotonic() + wait_s)
            yield fd
        finally:
            os.close(lock)


def _take(lock: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise Locked from error
            time.sleep(_POLL_S)
        else:
            return


@contextlib.contextmanager
def opened_app(app: str, releases: int, *, create: bool = False) -> Iterator["AppFolder"]:
    """Open the folder of an app in the open folder ``releases``; raises OSError."""
    mode = FOLDER_MODE if create else None
    with safe_folder.opened(Path(app), create_mode=mode, within=releases) as fd:
        yield AppFolder(app, fd)


class AppFolder:
    """The open folder of one app's releases; its owner holds the lock."""

    def __init__(self, app: str, fd: int) -> None:
        self._app = app
        self._fd = fd
        self.path = safe_folder.through(fd)

    def names(self) -> list[str]:
        """Return what lies in the folder, in order."""
        return sorted(os.listdir(self._fd))

    def remove(self, name: str) -> None:
        """Remove a file or a folder with all that is in it; raises OSError."""
        atomic_file.remove(self.path / name)

    def remove_release(self, name: str) -> None:
        """Remove a release; raises OSError. A partly removed one is no release any more."""
        going = f"{atomic_file.TEMPORARY}{name}"
        self._rename(name, going)
        self.remove(going)

    def set_aside(self, name: str, in_use: Collection[str]) -> None:
        """Rename what isn't a sound release, so that it doesn't count, if that can be done.

        Only the newest few of these stay, and those whose names are ``in_use``.
        """
        taken = set(self.names())
        target = next(n for n in _bad_names(name) if n not in taken)
        with contextlib.suppress(OSError):  # a read-only disk: it stays, and is left out
            self._rename(name, target)
        bad = [name for name in self.names() if BAD in name and name not in in_use]
        for old in sorted(bad, key=self._change_time)[:-_BAD_KEPT]:
            with contextlib.suppress(OSError):
                self.remove(old)

    def write(
        self, root: Path, manifest: Manifest, about: About, is_unchanged: Callable[[], bool]
    ) -> str:
        """Copy the files of ``manifest`` below ``root`` into a release; return its folder's name.

        The release is there whole, verified, or not at all. Raises `ReleaseError` and OSError.
        """
        number = self._next_number()
        name = folder_name(number, manifest)
        temporary = f"{atomic_file.TEMPORARY}{name}"
        self.remove(temporary)
        try:
            os.mkdir(temporary, FOLDER_MODE, dir_fd=self._fd)
            with safe_folder.opened(Path(temporary), within=self._fd) as inner:
                place = safe_folder.through(inner)
                self._fill(place, root, manifest, is_unchanged)
                write_manifest(place, self._app, number, manifest, about)
                atomic_file.sync_file_system(place)
                self._verify(place, manifest)
                self._rename(temporary, name)
                atomic_file.sync_folder(self.path)
        except BaseException:
            with contextlib.suppress(OSError):  # `Releases.tidy` removes it
                self.remove(temporary)
            raise
        return name

    def _fill(
        self, place: Path, root: Path, manifest: Manifest, is_unchanged: Callable[[], bool]
    ) -> None:
        changed = None
        try:
            (place / FILES).mkdir(mode=0o755)
            release_files.copy_files(root, manifest, place / FILES)
        except FileChanged as error:
            changed = str(error)
        if changed is not None or not is_unchanged():
            raise ReleaseError(
                f"cannot keep a release of app '{self._app}': "
                f"{changed or 'one of its files'} changed meanwhile",
                hint="it is tried again after the app has started with the files as they are",
            )

    def _verify(self, place: Path, manifest: Manifest) -> None:
        """Read everything again, from the disk and not from memory where the kernel can do that."""
        release_files.drop_cached(place / FILES, manifest)
        faults = release_files.faults(place / FILES, manifest)
        if faults:
            raise ReleaseError(
                f"cannot keep a release of app '{self._app}': read back, {faults[0]}",
                hint="the disk may be failing: see its errors with: sudo dmesg",
            )

    def _next_number(self) -> int:
        numbers = [_NUMBERED.match(name) for name in self.names()]
        return max((int(found[1]) for found in numbers if found), default=0) + 1

    def _rename(self, name: str, target: str) -> None:
        os.rename(name, target, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def _change_time(self, name: str) -> float:
        try:
            return os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_ctime
        except OSError:
            return 0.0


def _bad_names(name: str) -> Iterator[str]:
    number = 0
    while True:
        yield f"{name}{BAD}-{number}"
        number += 1
