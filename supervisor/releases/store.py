"""Keeps copies of apps that worked: each one whole, checked before it is used, or not there.

``FOLDER/APP/000012-1a2b3c4d/`` (number, begin of the digest) holds ``files/`` and
``manifest.json``. Whatever else lies there is no release; it is set aside, and never fatal.
One process at a time writes.
"""

import contextlib
import errno
import json
import os
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervisor.files import atomic_file
from supervisor.source.manifest import SHORT, BadManifest, Manifest
from supervisor.values.errors import SupervisorError

KEPT = 5
_BAD_KEPT = 2  # enough to see what happened, without filling the disk
_NAME = re.compile(rf"(\d{{6,9}})-([0-9a-f]{{{SHORT}}})")
_NUMBERED = re.compile(r"(\d{6,9})-")
_FORMAT = 1
_GOOD = "good.json"
_BAD = ".bad"


class ReleaseError(SupervisorError):
    """A release can't be kept, found or used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A complete release; ``files`` is the folder that stands in for the app's ``path``."""

    app: str
    number: int
    digest: str
    folder: Path
    created: str  # wall time, for people
    note: str
    include: tuple[str, ...]
    git: dict[str, Any] | None  # "commit", and "dirty": true, false or null for unknown
    manifest: Manifest = field(repr=False)

    @property
    def files(self) -> Path:
        """The folder with the files."""
        return self.folder / "files"

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"{self.number}-{self.digest[:SHORT]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is written down with a release beside its files."""

    created: str
    note: str
    include: tuple[str, ...]
    git: dict[str, Any] | None = None


class Releases:
    """The releases of all apps below one folder; nothing is created before it is needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    # ---- look

    def all_of(self, app: str) -> list[Release]:
        """Give the app's releases, newest first; what can't be read is left out."""
        found = (release for _name, release in self._each(app) if release is not None)
        return sorted(found, key=lambda release: release.number, reverse=True)

    def find(self, app: str, wanted: str) -> Release:
        """Give the release with this number, name, or begin of its digest.

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
        """Give the releases that have proven good, the last one first."""
        by_digest = {release.digest: release for release in reversed(self.all_of(app))}
        return [by_digest[digest] for digest in self._good_digests(app) if digest in by_digest]

    def faults(self, release: Release) -> list[str]:
        """Read every file of a release and say what is not as it was written: paths, with why.

        Compiled Python beside the files doesn't count. Blocks on the disk.
        """
        faults = []
        for entry in release.manifest.entries:
            path = release.files / entry.path
            try:
                if entry.link is not None:
                    is_right = os.readlink(path) == entry.link
                elif entry.is_folder:
                    is_right = path.is_dir()
                else:
                    is_right = atomic_file.hash_file(path) == entry.sha256
            except OSError as error:
                faults.append(f"{entry.path}: {error.strerror}")
            else:
                if not is_right:
                    faults.append(f"{entry.path}: is not what was kept")
        wanted = {entry.path for entry in release.manifest.entries}
        return faults + [
            f"{path}: was added" for path in _files(release.files) if path not in wanted
        ]

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

        Gives the release and whether it was written. ``is_unchanged`` is asked at the end whether
        the files are still the same. The newest `KEPT` stay, and beyond these the last good one
        and the folders ``in_use``. Raises `ReleaseError`, and leaves nothing behind then.
        """
        for release in self.all_of(app):
            if release.digest == manifest.digest:
                if not self.faults(release):
                    return release, False
                self.set_aside(app, release.folder, in_use=in_use)  # what the card has lost
        try:
            release = self._write(app, root, manifest, about, is_unchanged)
            self._prune(app, in_use)
        except OSError as error:
            raise _cannot_keep(app, error) from error
        return release, True

    def mark_good(self, app: str, digest: str) -> None:
        """Remember that a release has proven good, as the last one; raises `ReleaseError`."""
        before = self._good_digests(app)
        after = [digest, *(d for d in before if d != digest)][:KEPT]
        if after == before:
            return
        try:
            data = json.dumps({"good": after}).encode() + b"\n"
            atomic_file.write_whole(self._folder / app / _GOOD, data)
        except OSError as error:
            raise _cannot_keep(app, error) from error

    def set_aside(self, app: str, folder: Path, *, in_use: Collection[Path] = ()) -> None:
        """Take what isn't a sound release out of the way, if that can be done."""
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
        """Remove what was left half done, and set aside what is no release; say what it was.

        To be called when nobody else writes: at the start.
        """
        said = []
        for app in _apps(self._folder):
            for path in self._names(app):
                if path.name.startswith(atomic_file.TEMPORARY):
                    with contextlib.suppress(OSError):
                        atomic_file.remove(path)
            for path, release in list(self._each(app)):
                if release is None:
                    self.set_aside(app, path)
                    said.append(f"{app}/{path.name} is no complete release: it was set aside")
        return said

    def copy_out(self, release: Release, folder: Path) -> None:
        """Copy the files of a release into the empty ``folder``.

        Raises `ReleaseError` when one of them is not as it was kept, or can't be written.
        """
        try:
            _copy(release.files, release.manifest, folder)
        except _Changed as error:
            raise ReleaseError(
                f"cannot use release {release.name} of app '{release.app}': {error} is damaged",
                hint=f"choose another one: flask-supervisor releases {release.app}",
            ) from error
        except OSError as error:
            why = f"{error.filename}: {error.strerror}"
            raise ReleaseError(f"cannot use release {release.name}: {why}") from error

    # ---- how

    def _names(self, app: str) -> list[Path]:
        try:
            return sorted((self._folder / app).iterdir())
        except OSError:
            return []

    def _each(self, app: str) -> Iterator[tuple[Path, Release | None]]:
        """Give what looks like a release by its name, with None for what can't be read."""
        for path in self._names(app):
            if path.name.startswith(".") or path.name == _GOOD or _BAD in path.name:
                continue
            try:
                yield path, _read(app, path)
            except (OSError, BadManifest):
                yield path, None

    def _good_digests(self, app: str) -> list[str]:
        try:
            document = json.loads((self._folder / app / _GOOD).read_bytes())
            return [digest for digest in document["good"] if isinstance(digest, str)]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return []  # garbage, or nothing has proven good yet

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
        name = f"{number:06}-{manifest.digest[:SHORT]}"
        temporary = parent / f"{atomic_file.TEMPORARY}{name}"
        atomic_file.remove(temporary)
        try:
            temporary.mkdir(mode=0o700)
            (temporary / "files").mkdir(mode=0o755)
            _copy(root, manifest, temporary / "files")
            _insist(is_unchanged)
            _write_manifest(temporary / "manifest.json", app, number, manifest, about)
            atomic_file.sync_file_system(temporary)
            temporary.rename(parent / name)
            atomic_file.sync_folder(parent)
        except _Changed as error:
            _discard(temporary)
            raise ReleaseError(
                f"cannot keep a release of app '{app}': {error} changed meanwhile",
                hint="it is tried again when the app has been started with the files as they are",
            ) from error
        except BaseException:
            _discard(temporary)
            raise
        return _read(app, parent / name)

    def _prune(self, app: str, in_use: Collection[Path]) -> None:
        """Remove the oldest releases beyond `KEPT`."""
        kept = {release.folder for release in self.good(app)[:1]} | set(in_use)
        for release in self.all_of(app)[KEPT:]:
            if release.folder not in kept:
                going = release.folder.with_name(f"{atomic_file.TEMPORARY}{release.folder.name}")
                release.folder.rename(going)  # first: a release that is half gone is none
                atomic_file.remove(going)


class _Changed(Exception):
    """A file isn't what it was when it was looked at first; the text names it."""


def _insist(is_unchanged: Callable[[], bool]) -> None:
    if not is_unchanged():
        raise _Changed("one of its files")


def _copy(root: Path, manifest: Manifest, target: Path) -> None:
    """Copy what the manifest names; raises `_Changed` for a file with other content."""
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
            raise _Changed(entry.path) from error
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EINVAL):  # a link or a pipe by now
                raise _Changed(entry.path) from error
            raise
        if sha256 != entry.sha256:
            raise _Changed(entry.path)


def _discard(folder: Path) -> None:
    with contextlib.suppress(OSError):  # `tidy` takes care of it
        atomic_file.remove(folder)


def _write_manifest(path: Path, app: str, number: int, manifest: Manifest, about: About) -> None:
    document = {
        "format": _FORMAT,
        "app": app,
        "number": number,
        "digest": manifest.digest,
        "created": about.created,
        "note": about.note,
        "include": list(about.include),
        "git": about.git,
        "files": manifest.to_json(),
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="ascii")


def _read(app: str, folder: Path) -> Release:
    """Read the manifest of a release; raises OSError or `BadManifest`."""
    named = _NAME.fullmatch(folder.name)
    if named is None:
        raise BadManifest("it has no name of a release")
    try:
        document = json.loads((folder / "manifest.json").read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadManifest("its manifest is no JSON") from error
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise BadManifest("its manifest has another format")
    manifest = Manifest.from_json(document.get("files"))
    digest, include = manifest.digest, document.get("include")
    if digest != document.get("digest") or digest[:SHORT] != named[2]:
        raise BadManifest("its manifest is damaged")
    if not isinstance(include, list) or not all(isinstance(entry, str) for entry in include):
        raise BadManifest("its manifest is damaged")
    if not (folder / "files").is_dir():
        raise BadManifest("its files are missing")
    git = document.get("git")
    return Release(
        app=app,
        number=int(named[1]),
        digest=digest,
        folder=folder,
        created=str(document.get("created")),
        note=str(document.get("note")),
        include=tuple(include),
        git=git if isinstance(git, dict) else None,
        manifest=manifest,
    )


def _files(folder: Path) -> Iterator[str]:
    """Give the paths of all files and links below a folder, compiled Python left out."""
    for parent, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in (*names, *links):
            yield os.path.relpath(os.path.join(parent, name), folder)


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


def _cannot_keep(app: str, error: OSError) -> ReleaseError:
    hint = None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "free some space: flask-supervisor doctor says how much there is"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        hint = "the state folder has to be writable: flask-supervisor doctor"
    return ReleaseError(f"cannot keep a release of app '{app}': {error.strerror}", hint=hint)
