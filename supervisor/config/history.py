"""Keeps the text of every configuration that a supervisor came up with, to go back to.

``FOLDER/000012-1a2b3c4d.toml`` (number, beginning of the digest) is such a text unchanged, readable
by its owner only; ``...-replaced.toml`` is a text that `restore` has replaced and that no
supervisor came up with. Other files and damaged ones are ignored.
"""

import contextlib
import hashlib
import os
import re
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from supervisor.files import atomic_file, safe_folder
from supervisor.files.state_dir import opened_state
from supervisor.files.text import SIZE_MAX
from supervisor.values.errors import SupervisorError

KEPT = 20
_SHORT = 8
_NAME = re.compile(rf"(\d{{6,9}})-([0-9a-f]{{{_SHORT}}})(-replaced)?\.toml")


class HistoryError(SupervisorError):
    """A configuration can't be kept, found or restored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptConfig:
    """A kept text; ``worked``: a supervisor came up with it; ``time_s``: when, as Unix time."""

    number: int
    digest: str
    path: Path
    time_s: float
    worked: bool

    @property
    def name(self) -> str:
        """Its name for commands and messages, as in "12-1a2b3c4d"."""
        return f"{self.number}-{self.digest[:_SHORT]}"


def digest_of(text: bytes) -> str:
    """Return the SHA-256 of a configuration's text."""
    return hashlib.sha256(text).hexdigest()


class ConfigHistory:
    """The texts in one folder, which `keep` creates."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def entries(self) -> list[KeptConfig]:
        """Return all undamaged entries, newest first."""
        try:
            paths = list(self._folder.iterdir())
        except OSError:
            return []
        found = [entry for entry in map(_entry, paths) if entry is not None]
        return sorted(found, key=lambda entry: entry.number, reverse=True)

    def read(self, entry: KeptConfig) -> bytes:
        """Return the text of an entry. Raises `HistoryError`."""
        try:
            return entry.path.read_bytes()
        except OSError as error:
            raise HistoryError(f"cannot read {entry.path}: {error.strerror}") from error

    def find(self, wanted: str) -> KeptConfig:
        """Return the entry with this number, name or beginning of its digest.

        Raises `HistoryError` if there is none, or more than one.
        """
        entries = self.entries()
        matching = [e for e in entries if wanted in (str(e.number), e.name)]
        if not matching and len(wanted) >= 4:
            matching = [e for e in entries if e.digest.startswith(wanted)]
        if len(matching) != 1:
            known = ", ".join(entry.name for entry in entries) or "none"
            what = "more than one configuration" if matching else "no configuration"
            raise HistoryError(f"there is {what} {wanted!r} in the history", hint=f"known: {known}")
        return matching[0]

    def is_newest(self, text: bytes) -> bool:
        """Return whether a text is the newest with which a supervisor came up."""
        newest = next((entry for entry in self.entries() if entry.worked), None)
        return newest is not None and newest.digest == digest_of(text)

    def keep(self, text: bytes, *, worked: bool = True) -> bool:
        """Keep a text as the newest one; return whether something was written.

        Writes nothing if it is the newest already; moves an older one up. Removes all but the
        newest `KEPT`. Raises `HistoryError`, and leaves no partial file then.
        """
        entries = [entry for entry in self.entries() if entry.worked is worked]
        digest = digest_of(text)
        if entries and entries[0].digest == digest:
            return False
        try:
            self._write(text, digest, worked)
            for entry in entries:
                if entry.digest == digest:
                    entry.path.unlink(missing_ok=True)
            self._tidy(worked)
        except OSError as error:
            raise HistoryError(
                f"cannot keep the configuration: {error.strerror}",
                hint="see: flask-supervisor doctor",
            ) from error
        return True

    def restore(self, entry: KeptConfig, file: Path) -> None:
        """Replace ``file`` by the text of an entry, as `replace` does."""
        self.replace(self.read(entry), file)

    def replace(self, text: bytes, file: Path) -> None:
        """Replace ``file`` atomically by ``text``, after keeping its present text.

        Mode and owner of the file stay; a link still points to it. Raises `HistoryError`.
        """
        mode, owner, present = 0o600, None, None
        try:
            target = safe_folder.resolve(file)
        except OSError as error:
            raise _cannot_write(file, error) from error
        try:
            with safe_folder.opened(target.parent) as folder:
                present, status = safe_folder.read_file(target.name, folder)
            mode, owner = stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
        except FileNotFoundError:
            pass  # nothing to keep
        except OSError as error:
            raise _cannot_write(file, error) from error
        if present is not None and self._folder.parent.is_dir():  # sudo would create it for root
            self._keep_replaced(present)
        try:
            atomic_file.write_whole(target, text, mode=mode, owner=owner)
        except OSError as error:
            raise _cannot_write(file, error) from error

    def _keep_replaced(self, text: bytes) -> None:
        if digest_of(text) not in {entry.digest for entry in self.entries()}:
            self.keep(text, worked=False)

    def _write(self, text: bytes, digest: str, worked: bool) -> None:
        owner = self._make_folder()
        numbers = [_NAME.fullmatch(path.name) for path in self._folder.iterdir()]
        number = max((int(found[1]) for found in numbers if found), default=0) + 1
        mark = "" if worked else "-replaced"
        path = self._folder / f"{number:06}-{digest[:_SHORT]}{mark}.toml"
        atomic_file.write_whole(path, text, mode=0o600, owner=owner)

    def _make_folder(self) -> tuple[int, int]:
        """Create the folder if it is missing; return the owner (uid, gid) of the state folder.

        The supervisor has to be able to read what a restore with sudo writes.
        """
        with opened_state(self._folder.parent) as state:
            status = os.fstat(state)
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._folder.name, 0o700, dir_fd=state)
                with (
                    safe_folder.opened(Path(self._folder.name), within=state) as folder,
                    contextlib.suppress(PermissionError),  # only root may give it away
                ):
                    os.fchown(folder, status.st_uid, status.st_gid)
        return status.st_uid, status.st_gid

    def _tidy(self, worked: bool) -> None:
        """Remove the oldest entries, and incomplete files that a power cut left."""
        entries = [entry for entry in self.entries() if entry.worked is worked]
        for entry in entries[KEPT:]:
            entry.path.unlink(missing_ok=True)
        atomic_file.remove_incomplete(self._folder)


def _entry(path: Path) -> KeptConfig | None:
    named = _NAME.fullmatch(path.name)
    if named is None:
        return None
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > SIZE_MAX:
            return None
        digest = digest_of(path.read_bytes())
    except OSError:
        return None
    if digest[:_SHORT] != named[2]:
        return None  # damaged
    return KeptConfig(
        number=int(named[1]),
        digest=digest,
        path=path,
        time_s=status.st_mtime,
        worked=named[3] is None,
    )


def time_text(entry: KeptConfig) -> str:
    """Return the local time at which an entry was kept."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.time_s))


def _cannot_write(file: Path, error: OSError) -> HistoryError:
    hint = "repeat it with sudo" if isinstance(error, PermissionError) else None
    return HistoryError(f"cannot write {file}: {error.strerror}", hint=hint)
