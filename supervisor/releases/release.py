"""One release as a value, and its ``manifest.json`` on the disk."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervisor.source.manifest import SHORT, BadManifest, Manifest
from supervisor.values.errors import SupervisorError

_NAME = re.compile(rf"(\d{{6,9}})-([0-9a-f]{{{SHORT}}})")
_FORMAT = 1
MANIFEST = "manifest.json"
FILES = "files"


class ReleaseError(SupervisorError):
    """A release can't be kept, found or used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A complete release; ``files`` is the folder that takes the place of the app's ``path``."""

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
        return self.folder / FILES

    @property
    def name(self) -> str:
        """The name that operators use."""
        return f"{self.number}-{self.digest[:SHORT]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is stored with a release beside its files."""

    created: str
    note: str
    include: tuple[str, ...]
    git: dict[str, Any] | None = None


def folder_name(number: int, manifest: Manifest) -> str:
    """Return the name of a release's folder."""
    return f"{number:06}-{manifest.digest[:SHORT]}"


def write_manifest(folder: Path, app: str, number: int, manifest: Manifest, about: About) -> None:
    """Write the manifest of a release into its folder; not synced. Raises OSError."""
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
    (folder / MANIFEST).write_text(json.dumps(document, indent=1) + "\n", encoding="ascii")


def read_release(app: str, folder: Path) -> Release:
    """Return the release in a folder, its files not examined; raises OSError or `BadManifest`."""
    named = _NAME.fullmatch(folder.name)
    if named is None:
        raise BadManifest("the folder has no name of a release")
    try:
        document = json.loads((folder / MANIFEST).read_bytes())
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
    if not (folder / FILES).is_dir():
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
