"""What is done with the files of an app: keep, compare, stage, put in place, take back.

Made of `trees`, `releases`, `archives` and `swap`; decides nothing of its own. Everything here
blocks on the disk, so the main process calls it in a child by way of `answer`.
"""

import functools
import os
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.process.throwaway import TaskFailed, call_in_child
from supervisor.releases import archives, swap
from supervisor.releases.store import About, Release, ReleaseError, Releases
from supervisor.source import app_entries, file_tree
from supervisor.source.file_tree import Tree, TreeError
from supervisor.source.git_state import git_state
from supervisor.source.manifest import Manifest, compare
from supervisor.values.errors import SupervisorError
from supervisor.values.redaction import Redaction

LIVE = "live"  # what a person calls the files in place
PROVEN = "proven good"  # the note of a release that was kept for that
_IMPORT_MARGIN_S = 2.0

Document = dict[str, Any]


def answer(function: Callable[..., Document], *arguments: Any) -> Document:
    """Call ``function`` and give its JSON with ``ok``; an error that a person reads becomes one."""
    try:
        return {"ok": True, **function(*arguments)}
    except SupervisorError as error:
        return {"ok": False, "reason": error.message, "hint": error.hint}


@dataclass(frozen=True, slots=True, kw_only=True)
class AppCode:
    """The code of one app: where it lies, and where its releases are kept.

    ``include`` names what belongs to it; ``others`` what belongs to apps with the same folder.
    """

    app: str
    path: Path
    include: tuple[str, ...]
    state_dir: Path
    others: tuple[str, ...] = ()

    @property
    def store(self) -> Releases:
        """Where its releases are kept."""
        return Releases(self.state_dir / "releases")

    def scan(self, root: Path | None = None, include: Collection[str] = ()) -> Tree:
        """Look at its files, or those of another version of it at ``root``; raises `TreeError`."""
        chosen = include or self.include
        return file_tree.scan(root or self.path, chosen, skip=[str(self.state_dir)])

    def is_unchanged(self, tree: Tree) -> bool:
        """Say whether the live files still are what ``tree`` says."""
        try:
            return self.scan(include=tree.include).fingerprints == tree.fingerprints
        except TreeError:
            return False


# ---- looking


def describe(code: AppCode, before: Mapping[str, str] | None) -> Document:
    """Say which version the live files are: ``digest``, ``commit``, ``dirty``.

    ``before`` are the fingerprints from before the app imported them: with another one now, the
    files aren't what runs. Raises `TreeError`.
    """
    tree = _as_imported(code, before)
    manifest = file_tree.manifest_of(tree)
    git = git_state(code.path, tree.include) or {"commit": None, "dirty": None}
    return {"digest": manifest.digest, **git}


def fingerprints(code: AppCode) -> dict[str, str]:
    """Give the fingerprint of each entry that may belong to the app: to be taken before imports."""
    include = code.include or app_entries.candidates(code.path)
    return file_tree.fingerprints(code.path, include, skip=[str(code.state_dir)])


def listing(code: AppCode) -> Document:
    """Give the releases, newest first, and which of them the live files are."""
    good = [release.digest for release in code.store.good(code.app)]
    live = _live_digests(code)
    found = [
        _document(release, good, live(release.include)) for release in code.store.all_of(code.app)
    ]
    return {"releases": found}


def _live_digests(code: AppCode) -> Callable[[tuple[str, ...]], str | None]:
    """Give a function: the digest of the live files in such places; None: they can't be read.

    It reads the same places only once.
    """

    @functools.cache
    def digest(include: tuple[str, ...]) -> str | None:
        try:
            return file_tree.manifest_of(code.scan(include=include)).digest
        except TreeError:
            return None  # is no reason to show no releases

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
    """Say which files differ between two releases, or the `LIVE` files and one."""
    found = compare(_manifest(code, old, new), _manifest(code, new, old))
    return {
        "added": list(found.added),
        "removed": list(found.removed),
        "changed": list(found.changed),
    }


def _manifest(code: AppCode, which: str, other: str) -> Manifest:
    if which != LIVE:
        return code.store.find(code.app, which).manifest
    kept = () if other == LIVE else code.store.find(code.app, other).include
    return file_tree.manifest_of(code.scan(include={*code.include, *kept}))


# ---- keeping


def keep_good(
    code: AppCode, before: Mapping[str, str] | None, created: str, in_use: Collection[Path] = ()
) -> Document:
    """Keep the files of an app that has proven good; raises an error when they changed since.

    Gives ``name``, ``digest``, ``written`` and ``git``.
    """
    tree = _as_imported(code, before)
    kept = _keep(code, tree, PROVEN, created, in_use)
    code.store.mark_good(code.app, str(kept["digest"]))
    return kept


def keep_live(code: AppCode, note: str, created: str, in_use: Collection[Path] = ()) -> Document:
    """Keep the live files, whatever they are worth, before they are replaced.

    Gives ``fingerprints`` too, for `put_in_place`. Where there are none, nothing is kept, and
    ``name`` is null.
    """
    tree = code.scan()
    seen = {"include": list(tree.include), "fingerprints": tree.fingerprints}
    if not tree.files:
        return {"name": None, "digest": None, "written": False, "git": None, **seen}
    return {**_keep(code, tree, note, created, in_use), **seen}


def _as_imported(code: AppCode, before: Mapping[str, str] | None) -> Tree:
    tree = code.scan()
    if before is not None:
        for entry, fingerprint in tree.fingerprints.items():
            if before.get(entry) != fingerprint:
                raise ReleaseError(
                    f"{entry} has changed since app '{code.app}' started",
                    hint=f"what runs isn't what is on the disk: flask-supervisor reload {code.app}",
                )
    return tree


def _keep(code: AppCode, tree: Tree, note: str, created: str, in_use: Collection[Path]) -> Document:
    manifest = file_tree.manifest_of(tree)
    git = git_state(code.path, tree.include)
    about = About(created=created, note=note, include=tree.include, git=git)
    release, written = code.store.keep(
        code.app,
        tree.root,
        manifest,
        about,
        is_unchanged=lambda: code.is_unchanged(tree),
        in_use=in_use,
    )
    return {"name": release.name, "digest": release.digest, "written": written, "git": git}


# ---- staging


def stage_source(code: AppCode, source: Path, explicit: bool) -> Document:
    """Unpack what is to be deployed beside the app; gives where it lies, as ``staged``.

    ``explicit``: the configuration says what belongs to the app, and nothing else is looked for.
    """
    folder = swap.prepare(code.path)
    only = None
    if source.is_dir():
        names = {entry.split("/")[0] for entry in code.include}
        only = names if explicit else names | set(app_entries.candidates(source))
    archives.unpack(source, folder, only=only)
    wanted = code.include or tuple(app_entries.candidates(folder))
    return {"staged": str(archives.find_root(folder, wanted))}


def stage_release(code: AppCode, wanted: str | None) -> Document:
    """Copy a release beside the app; without a name the last good one that isn't live.

    Gives ``staged``, ``name`` and the release's ``include``.
    """
    release = code.store.find(code.app, wanted) if wanted else _to_go_back_to(code)
    folder = swap.prepare(code.path)
    code.store.copy_out(release, folder)
    return {"staged": str(folder), "name": release.name, "include": list(release.include)}


def _to_go_back_to(code: AppCode) -> Release:
    store, live = code.store, _live_digests(code)
    for release in [*store.good(code.app), *store.all_of(code.app)]:
        if release.digest != live(release.include):
            return release
    raise ReleaseError(
        f"there is no release of app '{code.app}' that differs from what is in place",
        hint=f"see: flask-supervisor releases {code.app}",
    )


def overlay(code: AppCode, staged: Path, include: Collection[str]) -> None:
    """Let all that lies beside the app's files be found beside the staged ones too, by links.

    So that the staged version can be imported before it is in place. `put_in_place` drops them.
    """

    def link(prefix: str) -> None:
        for name in os.listdir(code.path / prefix):
            path = f"{prefix}{name}"
            if path in include or name == swap.WORK or os.path.lexists(staged / path):
                inner = any(entry.startswith(f"{path}/") for entry in include)
                if inner and (staged / path).is_dir():
                    link(f"{path}/")
                continue
            os.symlink(code.path / path, staged / path)

    link("")


def try_staged(
    code: AppCode,
    staged: Path,
    target: str,
    environment: dict[str, str],
    timeout_s: float,
    secrets: Collection[str] = (),
) -> Document:
    """Import the staged version in a child; gives ``imported``: the entries that it is made of.

    Raises `ReleaseError` with the reason, without ``secrets``, when it can't be imported.
    """
    overlay(code, staged, code.include)
    try:
        found: Document = call_in_child(
            _import_staged,
            code,
            staged,
            target,
            environment,
            timeout_s,
            secrets,
            timeout_s=timeout_s + _IMPORT_MARGIN_S,
        )
    except TaskFailed as error:
        raise ReleaseError(f"the process ended while it imported the app: {error}") from error
    if found["reason"] is not None:
        raise ReleaseError(found["reason"], hint=found["hint"])
    return {"imported": found["imported"]}


def _import_staged(
    code: AppCode,
    staged: Path,
    target: str,
    environment: dict[str, str],
    timeout_s: float,
    secrets: Collection[str],
) -> Document:
    from supervisor.worker.importing import import_app

    sys.dont_write_bytecode = True  # what is staged goes into place as it is
    os.environ.update(environment)
    _app, report = import_app(target, staged, timeout_s=timeout_s, hide=Redaction(secrets))
    if report is not None:
        return {"reason": report.cause.reason, "hint": report.cause.hint, "imported": []}
    found = entries_of(staged, app_entries.loaded_files())
    return {"reason": None, "hint": None, "imported": found}


def entries_of(staged: Path, module_files: Collection[str]) -> list[str]:
    """Give the entries of the staged version that modules came from; of `overlay`, none."""
    found = app_entries.imported(staged, module_files)
    return [entry for entry in found if not (staged / entry).is_symlink()]


# ---- putting in place


def put_in_place(
    code: AppCode,
    staged: Path,
    include: Collection[str],
    expected: Mapping[str, str],
    hook: Callable[[str], None] = lambda _step: None,
) -> Document:
    """Swap the staged files in; ``include`` is what they are made of.

    ``expected`` are the fingerprints that `keep_live` gave: files that changed since would be
    lost. Raises an error when it couldn't be done; the old files are in place then.
    """
    tree = code.scan(include=expected.keys()) if expected else None
    if tree is not None and tree.fingerprints != dict(expected):
        raise ReleaseError(
            f"files of app '{code.app}' changed while it was being replaced",
            hint="repeat it when nobody else is working on them",
        )
    chosen = {*code.include, *include, *expected}
    gone = {entry for entry in code.others if not os.path.lexists(staged / entry)}
    chosen -= gone  # of another app, and not in the new version: it stays
    swap.begin(
        code.path,
        staged,
        include=chosen,
        old_paths=[file.path for file in code.scan(include=chosen).files],
        new_paths=[file.path for file in code.scan(staged, chosen).files],
        hook=hook,
    )
    return {}


def make_final(code: AppCode) -> Document:
    """Make the new files final."""
    swap.commit(code.path)
    return {}


def take_back(code: AppCode) -> Document:
    """Put the old files back, if they are not in place; remove what was staged."""
    return {"found": str(swap.recover(code.path))}


def recover(paths: Collection[Path]) -> Document:
    """Bring the folders of apps in order at the start; gives what was found, and what failed."""
    undone, problems = [], []
    for path in sorted(set(paths)):
        try:
            if swap.recover(path) is swap.Recovered.UNDONE:
                undone.append(str(path))
        except SupervisorError as error:
            problems.append(str(error))
    return {"undone": undone, "problems": problems}
