"""The releases of all apps on the disk: each one whole, verified before it is used, or not there.

``FOLDER/APP/000012-1a2b3c4d/`` (number, first characters of the digest) holds ``files/`` and
``manifest.json``. Whatever else lies there is no release: it is set aside, and never fatal.
One process at a time writes, see `release_writer`.
"""

import contextlib
import errno
import json
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from supervisor.files import atomic_file, safe_folder
from supervisor.releases import disk_errors, release_files, release_writer
from supervisor.releases.app_notes import AppNotes
from supervisor.releases.release import About, Release, ReleaseError, read_release
from supervisor.releases.release_files import FileChanged
from supervisor.releases.release_writer import BAD, AppFolder, Locked
from supervisor.source.manifest import BadManifest, Manifest

KEPT = 5
_GOOD = "good.json"
_NOTES = "notes"  # beside the folder of releases, which only a release changes
WAIT_S = 300.0  # another process may copy 100 MB to a slow SD card
_TIDY_WAIT_S = 10.0


class Releases:
    """The releases of all apps below one folder; nothing is created before it is needed."""

    def __init__(self, folder: Path, *, wait_s: float = WAIT_S) -> None:
        self._folder = folder
        self._wait_s = wait_s  # for another process that changes the releases

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
        found = self._sound(app, manifest)
        if found is not None:
            return found, False
        with self._changing(app) as folder:
            found = self._sound(app, manifest)  # another process may have kept it meanwhile
            if found is not None:
                return found, False
            for release in self.all_of(app):
                if release.digest == manifest.digest:  # damaged on the card
                    folder.set_aside(release.folder.name, _names(in_use))
            name = folder.write(root, manifest, about, is_unchanged)
            self._prune(app, folder, in_use)
            return read_release(app, self._folder / app / name), True

    def _sound(self, app: str, manifest: Manifest) -> Release | None:
        for release in self.all_of(app):
            if release.digest == manifest.digest and not self.faults(release):
                return release
        return None

    def mark_good(self, app: str, digest: str) -> None:
        """Record that a release has proven good, as the last one; raises `ReleaseError`."""
        if self._good_digests(app)[:1] == [digest]:
            return
        with self._changing(app):
            before = self._good_digests(app)
            after = [digest, *(d for d in before if d != digest)][:KEPT]
            data = json.dumps({"good": after}).encode() + b"\n"
            atomic_file.write_whole(self._folder / app / _GOOD, data)

    def notes(self, app: str) -> AppNotes:
        """Return what is known of the app's files beside its releases."""
        return AppNotes.read(self._notes_file(app))

    def change_notes(self, app: str, change: Callable[[AppNotes], AppNotes]) -> None:
        """Write the notes that ``change`` returns, if they differ; raises `ReleaseError`."""
        if change(self.notes(app)) == self.notes(app):
            return
        file = self._notes_file(app)
        with (
            self._writing(app),
            safe_folder.opened(file.parent, create_mode=release_writer.FOLDER_MODE),
        ):
            atomic_file.write_whole(file, change(self.notes(app)).to_bytes())

    def _notes_file(self, app: str) -> Path:
        return self._folder.with_name(_NOTES) / f"{app}.json"

    @contextlib.contextmanager
    def _changing(self, app: str) -> Iterator[AppFolder]:
        """Open the app's folder for changes; raises `ReleaseError` for all that goes wrong."""
        with self._writing(app) as fd, release_writer.opened_app(app, fd, create=True) as folder:
            yield folder

    @contextlib.contextmanager
    def _writing(self, app: str) -> Iterator[int]:
        """Open the folder of releases; raises `ReleaseError` for what goes wrong for ``app``."""
        try:
            with release_writer.locked(self._folder, wait_s=self._wait_s, create=True) as fd:
                yield fd
        except Locked as error:
            raise ReleaseError(
                f"cannot keep a release of app '{app}': another process is writing releases",
                hint="it is tried again when the app is reloaded",
            ) from error
        except BadManifest as error:
            raise ReleaseError(
                f"cannot keep a release of app '{app}': read back, {error}"
            ) from error
        except OSError as error:
            raise _cannot_keep(app, self._folder, error) from error

    def _prune(self, app: str, folder: AppFolder, in_use: Collection[Path]) -> None:
        """Remove the oldest releases beyond `KEPT`."""
        kept = {release.folder.name for release in self.good(app)[:1]} | _names(in_use)
        for release in self.all_of(app)[KEPT:]:
            if release.folder.name not in kept:
                folder.remove_release(release.folder.name)

    def tidy(self) -> list[str]:
        """Remove what was left unfinished, set aside what is no release, and return what it was.

        Does nothing while another process writes, or on a disk that can't be written to.
        """
        found: list[str] = []
        wait_s = min(self._wait_s, _TIDY_WAIT_S)
        with (
            contextlib.suppress(OSError, Locked),
            release_writer.locked(self._folder, wait_s=wait_s, create=False) as fd,
        ):
            for app in sorted(os.listdir(fd)):
                with contextlib.suppress(OSError), release_writer.opened_app(app, fd) as folder:
                    found += self._tidy(app, folder)
        return found

    def _tidy(self, app: str, folder: AppFolder) -> Iterator[str]:
        for name in folder.names():
            if name.startswith(atomic_file.TEMPORARY):
                with contextlib.suppress(OSError):
                    folder.remove(name)
        for path, release in list(self._each(app)):
            if release is None:
                folder.set_aside(path.name, ())
                yield f"{app}/{path.name} is no complete release: it was set aside"

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

    def _each(self, app: str) -> Iterator[tuple[Path, Release | None]]:
        """Yield what has the name of a release, with None for what can't be read."""
        try:
            paths = sorted((self._folder / app).iterdir())
        except OSError:
            return
        for path in paths:
            if path.name.startswith(".") or path.name == _GOOD or BAD in path.name:
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


def _names(folders: Collection[Path]) -> set[str]:
    return {folder.name for folder in folders}


def _cannot_keep(app: str, folder: Path, error: OSError) -> ReleaseError:
    hint = None
    if disk_errors.is_full(error):
        hint = "free some space: flask-supervisor doctor says how much there is"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        hint = "the state folder has to be writable: flask-supervisor doctor"
    why = disk_errors.reason(error, folder)
    return ReleaseError(f"cannot keep a release of app '{app}': {why}", hint=hint)
