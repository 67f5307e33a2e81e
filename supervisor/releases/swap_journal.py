"""The plan of a swap, and the journal file that it is written to."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from supervisor.files import atomic_file
from supervisor.releases import disk_errors
from supervisor.source.manifest import is_safe_path
from supervisor.values.errors import SupervisorError

_JOURNAL = "journal.json"


class SwapError(SupervisorError):
    """The new files can't be put in place; the old ones are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One file or folder that changes places; ``old`` and ``new`` say in which version it is."""

    path: str
    old: bool
    new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """The plan of a swap; ``staged`` is where the new version lies in the work folder."""

    staged: str
    moves: tuple[Move, ...]
    made: tuple[str, ...]  # folders that the swap creates, outer ones first
    old_paths: tuple[str, ...]
    new_paths: tuple[str, ...]


def is_under_way(work: Path) -> bool:
    """Return whether a swap with this work folder has begun, and is neither final nor undone."""
    return (work / _JOURNAL).exists()


def write_journal(work: Path, journal: Journal) -> None:
    """Write the journal, whole; raises OSError."""
    real = Path(os.path.realpath(work))  # the app's folder may lie behind a link of its owner
    atomic_file.write_whole(real / _JOURNAL, json.dumps(asdict(journal)).encode())


def remove_journal(work: Path) -> None:
    """Remove the journal, which ends the swap; raises OSError."""
    (work / _JOURNAL).unlink()
    atomic_file.sync_folder(work)


def read_journal(work: Path) -> Journal:
    """Return the journal of a swap; raises `SwapError`."""
    try:
        fields: dict[str, Any] = json.loads((work / _JOURNAL).read_bytes())
        journal = Journal(
            staged=fields["staged"],
            moves=tuple(Move(**move) for move in fields["moves"]),
            made=tuple(fields["made"]),
            old_paths=tuple(fields["old_paths"]),
            new_paths=tuple(fields["new_paths"]),
        )
        paths = [journal.staged, *journal.made, *(move.path for move in journal.moves)]
        is_sound = all(is_safe_path(path) for path in paths)
    except OSError as error:
        raise cannot("read the journal of the deploy", work.parent, error) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_sound = False
    if not is_sound:
        raise SwapError(
            f"the journal of a deploy is damaged: {work / _JOURNAL}",
            hint=f"what belongs to the old version lies in {work / 'old'}; then remove {work}",
        )
    return journal


def cannot(what: str, root: Path, error: OSError) -> SwapError:
    """Return the error that says what could not be done in the folder ``root``, and why."""
    where = error.filename2 or error.filename
    place = f" ({os.path.relpath(where, root)})" if isinstance(where, str) else ""
    return SwapError(
        f"cannot {what}: {disk_errors.reason(error, root)}{place}",
        hint=f"{root} has to be writable, with enough space left",
    )
