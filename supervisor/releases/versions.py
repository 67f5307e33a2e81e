"""Answers which version of an app is live, which releases there are, and how they differ."""

import functools
from collections.abc import Callable, Mapping

from supervisor.releases.app_code import AppCode, Document
from supervisor.releases.release import Release
from supervisor.source import app_entries, file_tree
from supervisor.source.file_tree import TreeError
from supervisor.source.git_state import git_state
from supervisor.source.manifest import Manifest, compare

LIVE = "live"  # the name of the files in place, for an operator


def describe(code: AppCode, before: Mapping[str, str] | None) -> Document:
    """Return which version the live files are: ``digest``, ``commit``, ``dirty``.

    ``before`` as in `AppCode.scan_as_imported`, which raises the same errors.
    """
    tree = code.scan_as_imported(before)
    manifest = file_tree.manifest_of(tree)
    git = git_state(code.path, tree.include) or {"commit": None, "dirty": None}
    return {"digest": manifest.digest, **git}


def stamps(code: AppCode) -> dict[str, str]:
    """Return the stamp of each file that may belong to the app; call it before imports."""
    include = code.include or app_entries.candidates(code.path)
    return file_tree.stamps(code.path, include, skip=[str(code.state_dir)])


def listing(code: AppCode, *compared: str) -> Document:
    """Return the releases, newest first, and which of them the live files are.

    Also the `difference` of the two that are ``compared``, if any.
    """
    good = [release.digest for release in code.store.good(code.owner)]
    live = live_digests(code)
    found = [
        _document(release, good, live(release.include)) for release in code.store.all_of(code.owner)
    ]
    return {"releases": found, **({"difference": difference(code, *compared)} if compared else {})}


def live_digests(code: AppCode) -> Callable[[tuple[str, ...]], str | None]:
    """Return a function that returns the digest of the live files in such entries.

    None: they can't be read. It reads the same entries only once.
    """

    @functools.cache
    def digest(include: tuple[str, ...]) -> str | None:
        try:
            return file_tree.manifest_of(code.scan(include=include)).digest
        except TreeError:
            return None  # no reason to list no releases

    return digest


def _document(release: Release, good: list[str], live: str | None) -> Document:
    return {
        "name": release.name,
        "number": release.number,
        "digest": release.digest,
        "created": release.created,
        "note": release.note,
        "git": release.git,
        "files": len(release.manifest.entries),
        "bytes": release.manifest.size,
        "good": release.digest in good,
        "last_good": release.digest == (good[0] if good else None),
        "live": release.digest == live,
    }


def difference(code: AppCode, old: str, new: str) -> Document:
    """Return which files differ between two releases, or between a release and the `LIVE` files."""
    found = compare(_manifest(code, old, new), _manifest(code, new, old))
    return {
        "added": list(found.added),
        "removed": list(found.removed),
        "changed": list(found.changed),
    }


def _manifest(code: AppCode, which: str, other: str) -> Manifest:
    if which != LIVE:
        return code.store.find(code.owner, which).manifest
    kept = () if other == LIVE else code.store.find(code.owner, other).include
    return file_tree.manifest_of(code.scan(include={*code.include, *kept}))


def live_files(code: AppCode) -> Document:
    """Return what each live file holds, by path: to compare with another machine's."""
    manifest = file_tree.manifest_of(code.scan())
    return {
        "digest": manifest.digest,
        "files": {entry.path: entry.content for entry in manifest.entries},
    }
