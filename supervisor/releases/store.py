"""The releases of all apps on the disk: each one whole, verified before it is used, or not there.

``FOLDER/APP/000012-1a2b3c4d/`` (number, first characters of the digest) holds ``files/`` and
``manifest.json``. Whatever else lies there is no release: it is set aside, and never fatal.
One process at a time writes.
"""

import contextlib
import errno
import json
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from supervisor.files import atomic_file
from supervisor.releases import disk_errors, release_files
from supervisor.releases.release import (
    FILES,
    About,
    Release,
    ReleaseError,
    folder_name,
    read_release,
    write_manifest,
)
from supervisor.releases.release_files import FileChanged
from supervisor.source.manifest import BadManifest, Manifest

KEPT = 5
_BAD_KEPT = 2  # enough to find out what happened, without filling the disk
_NUMBERED = re.compile(r"(\d{6,9})-")
_GOOD = "good.json"
_BAD = ".bad"


class Releases:
    """The releases of all apps below one folder; nothing is created before it is needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    # ---- read

    def all_of(self, app: str) -> list[Release]:
        """Return the app's releases, newest first, without those that can't be read."""
        found = (release for _name, release in self._each(app) if release is not None)
        return sorted(found, key=lambda release: release.number, reverse=True)

    def find(self, app: str, wanted: str) -> Release:
        """Return the release with this number, name, or first characters of its digest.

        Raises `ReleaseError` when there is none, or more than one.
        """
        releases = self.all_of(app)
        matching = [r for r in releases if wanted in (str(r.number), r.name, r.folder.name)]
        if not matching and len(wanted) >= 4:
            matching = [r for r in releases if r.digest.startswith(wanted)]
        if len(matching) == 1:
            return matching[0]
        known = ", ".join(release.name for release in releases) or "none"
        what = "more than one release" if matching else "no release"
        raise ReleaseError(f"there is {what} {wanted!r} of app '{app}'", hint=f"known: {known}")

    def good(self, app: str) -> list[Release]:
        """Return the releases that have proven good, the last one first."""
        by_digest = {release.digest: release for release in reversed(self.all_of(app))}
        return [by_digest[digest] for digest in self._good_digests(app) if digest in by_digest]

    def faults(self, release: Release) -> list[str]:
        """Return what is not as it was kept: paths, with why. Reads every file of the release."""
        return release_files.faults(release.files, release.manifest)

    # ---- change

    def keep(
        self,
        app: str,
        root: Path,
        manifest: Manifest,
        about: About,
        *,
        is_unchanged: Callable[[], bool],
        in_use: Collection[Path] = (),
    ) -> tuple[Release, bool]:
        """Copy the files of ``manifest`` below ``root``, unless that digest is there already.

        Return the release and whether it was written. ``is_unchanged`` is called at the end: are
        the files still the same? The newest `KEPT` stay, and beyond these the last good one and
        the folders ``in_use``. Raises `ReleaseError`, and leaves nothing behind then.
        """
        for release in self.all_of(app):
            if release.digest == manifest.digest:
                if not self.faults(release):
                    return release, False
                self.set_aside(app, release.folder, in_use=in_use)  # damaged on the card
        try:
            release = self._write(app, root, manifest, about, is_unchanged)
            self._prune(app, in_use)
        except OSError as error:
            raise _cannot_keep(app, self._folder, error) from error
        return release, True

    def mark_good(self, app: str, digest: str) -> None:
        """Record that a release has proven good, as the last one; raises `ReleaseError`."""
        before = self._good_digests(app)
        after = [digest, *(d for d in before if d != digest)][:KEPT]
        if after == before:
            return
        try:
            data = json.dumps({"good": after}).encode() + b"\n"
            atomic_file.write_whole(self._folder / app / _GOOD, data)
        except OSError as error:
            raise _cannot_keep(app, self._folder, error) from error

    def set_aside(self, app: str, folder: Path, *, in_use: Collection[Path] = ()) -> None:
        """Rename what isn't a sound release, so that it doesn't count, if that can be done."""
        for number in range(1000):
            target = folder.with_name(f"{folder.name}{_BAD}-{number}")
            if target.exists():
                continue
            with contextlib.suppress(OSError):  # a read-only disk: it stays, and is left out
                folder.rename(target)
            break
        bad = [p for p in self._names(app) if _BAD in p.name and p not in in_use]
        for old in sorted(bad, key=_change_time)[:-_BAD_KEPT]:
            with contextlib.suppress(OSError):
                atomic_file.remove(old)

    def tidy(self) -> list[str]:
        """Remove what was left unfinished, set aside what is no release, and return what it was.

        Call it when nobody else writes: at the start.
        """
        found = []
        for app in _apps(self._folder):
            for path in self._names(app):
                if path.name.startswith(atomic_file.TEMPORARY):
                    with contextlib.suppress(OSError):
                        atomic_file.remove(path)
            for path, release in list(self._each(app)):
                if release is None:
                    self.set_aside(app, path)
                    found.append(f"{app}/{path.name} is no complete release: it was set aside")
        return found

    def copy_out(self, release: Release, folder: Path) -> None:
        """Copy the files of a release into the empty ``folder``.

        Raises `ReleaseError` when one of them is not as it was kept, or can't be written.
        """
        try:
            release_files.copy_files(release.files, release.manifest, folder)
        except FileChanged as error:
            raise ReleaseError(
                f"cannot use release {release.name} of app '{release.app}': {error} is damaged",
                hint=f"choose another one: flask-supervisor releases {release.app}",
            ) from error
        except OSError as error:
            why = disk_errors.reason(error, folder)
            if not disk_errors.is_full(error):
                why = f"{error.filename}: {why}"
            raise ReleaseError(f"cannot use release {release.name}: {why}") from error

    # ---- below

    def _names(self, app: str) -> list[Path]:
        try:
            return sorted((self._folder / app).iterdir())
        except OSError:
            return []

    def _each(self, app: str) -> Iterator[tuple[Path, Release | None]]:
        """Yield what has the name of a release, with None for what can't be read."""
        for path in self._names(app):
            if path.name.startswith(".") or path.name == _GOOD or _BAD in path.name:
                continue
            try:
                yield path, read_release(app, path)
            except (OSError, BadManifest):
                yield path, None

    def _good_digests(self, app: str) -> list[str]:
        try:
            document = json.loads((self._folder / app / _GOOD).read_bytes())
            return [digest for digest in document["good"] if isinstance(digest, str)]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return []  # damaged, or nothing has proven good yet

    def _next_number(self, app: str) -> int:
        numbers = [_NUMBERED.match(path.name) for path in self._names(app)]
        return max((int(found[1]) for found in numbers if found), default=0) + 1

    def _write(
        self,
        app: str,
        root: Path,
        manifest: Manifest,
        about: About,
        is_unchanged: Callable[[], bool],
    ) -> Release:
        parent = self._folder / app
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = self._next_number(app)
        name = folder_name(number, manifest)
        temporary = parent / f"{atomic_file.TEMPORARY}{name}"
        atomic_file.remove(temporary)
        try:
            temporary.mkdir(mode=0o700)
            (temporary / FILES).mkdir(mode=0o755)
            release_files.copy_files(root, manifest, temporary / FILES)
            _insist(is_unchanged)
            write_manifest(temporary, app, number, manifest, about)
            atomic_file.sync_file_system(temporary)
            temporary.rename(parent / name)
            atomic_file.sync_folder(parent)
        except FileChanged as error:
            _discard(temporary)
            raise ReleaseError(
                f"cannot keep a release of app '{app}': {error} changed meanwhile",
                hint="it is tried again after the app has started with the files as they are",
            ) from error
        except BaseException:
            _discard(temporary)
            raise
        return read_release(app, parent / name)

    def _prune(self, app: str, in_use: Collection[Path]) -> None:
        """Remove the oldest releases beyond `KEPT`."""
        kept = {release.folder for release in self.good(app)[:1]} | set(in_use)
        for release in self.all_of(app)[KEPT:]:
            if release.folder not in kept:
                going = release.folder.with_name(f"{atomic_file.TEMPORARY}{release.folder.name}")
                release.folder.rename(going)  # first: a partly removed release is none
                atomic_file.remove(going)


def _insist(is_unchanged: Callable[[], bool]) -> None:
    if not is_unchanged():
        raise FileChanged("one of its files")


def _discard(folder: Path) -> None:
    with contextlib.suppress(OSError):  # `tidy` removes it
        atomic_file.remove(folder)


def _apps(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []


def _change_time(path: Path) -> float:
    try:
        return path.lstat().st_ctime
    except OSError:
        return 0.0


def _cannot_keep(app: str, folder: Path, error: OSError) -> ReleaseError:
    hint = None
    if disk_errors.is_full(error):
        hint = "free some space: flask-supervisor doctor says how much there is"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        hint = "the state folder has to be writable: flask-supervisor doctor"
    why = disk_errors.reason(error, folder)
    return ReleaseError(f"cannot keep a release of app '{app}': {why}", hint=hint)
