"""What is done with the files of an app: keep them, put new ones in place, take those back.

Everything here blocks on the disk: the main process calls it in a child by way of `answer`.
"""

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from supervisor.releases import swap
from supervisor.releases.app_code import AppCode, Document
from supervisor.releases.release import About, ReleaseError
from supervisor.source import file_tree
from supervisor.source.file_tree import Tree
from supervisor.source.git_state import git_state
from supervisor.values.errors import SupervisorError

PROVEN = "proven good"  # the note of a release that was kept for that


def answer(function: Callable[..., Document], *arguments: Any) -> Document:
    """Return the JSON that ``function`` returns with ``ok``, or ``reason`` and ``hint``."""
    try:
        return {"ok": True, **function(*arguments)}
    except SupervisorError as error:
        return {"ok": False, "reason": error.message, "hint": error.hint}


# ---- keep


def keep_good(
    code: AppCode, before: Mapping[str, str] | None, created: str, in_use: Collection[Path] = ()
) -> Document:
    """Keep the files of an app that has proven good, as its last good release.

    Return ``name``, ``digest``, ``written`` and ``git``. ``before`` as in
    `AppCode.scan_as_imported`, which raises the same errors.
    """
    tree = code.scan_as_imported(before)
    kept = _keep(code, tree, PROVEN, created, in_use)
    code.store.mark_good(code.app, str(kept["digest"]))
    return kept


def keep_live(code: AppCode, note: str, created: str, in_use: Collection[Path] = ()) -> Document:
    """Keep the live files before they are replaced, whether they work or not.

    Return ``fingerprints`` too, for `put_in_place`. Without files nothing is kept, and ``name`` is
    null.
    """
    tree = code.scan()
    seen = {"include": list(tree.include), "fingerprints": tree.fingerprints}
    if not tree.files:
        return {"name": None, "digest": None, "written": False, "git": None, **seen}
    return {**_keep(code, tree, note, created, in_use), **seen}


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


# ---- put in place


def put_in_place(
    code: AppCode,
    staged: Path,
    include: Collection[str],
    expected: Mapping[str, str],
    hook: Callable[[str], None] = lambda _step: None,
) -> Document:
    """Swap the staged files in; ``include`` names the entries they are made of.

    ``expected`` are the fingerprints that `keep_live` returned: files that changed since would be
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
    """Finish what an earlier supervisor left in the folders of apps.

    Return the folders where the old version was put back, as ``undone``, and ``problems``.
    """
    undone, problems = [], []
    for path in sorted(set(paths)):
        try:
            if swap.recover(path) is swap.Recovered.UNDONE:
                undone.append(str(path))
        except SupervisorError as error:
            problems.append(str(error))
    return {"undone": undone, "problems": problems}
