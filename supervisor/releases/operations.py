"""What is done with the files of an app: keep them, put new ones in place, take those back.

Everything here blocks on the disk: the main process calls it in a child by way of `answer`.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from supervisor.releases import swap
from supervisor.releases.app_code import AppCode, Document
from supervisor.releases.release import About
from supervisor.releases.replacement import (
    Mode,
    Replacement,
    check_unchanged,
    plan_replacement,
)
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
        found = {"ok": False, "reason": error.message, "hint": error.hint}
        return {**found, "would_remove": getattr(error, "paths", [])}


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

    Return the same as `keep_good`. Without files nothing is kept, and ``name`` is null.
    """
    tree = code.scan()
    if not tree.files:
        return {"name": None, "digest": None, "written": False, "git": None}
    return _keep(code, tree, note, created, in_use)


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


def prepare(
    code: AppCode,
    staged: Path,
    include: Collection[str],
    mode: Mode,
    note: str,
    created: str,
    in_use: Collection[Path] = (),
) -> Document:
    """Decide what changes, and keep the live files as a release before they are replaced.

    Return ``plan``, for `put_in_place`, and what `keep_live` returns. ``include`` names the entries
    that the staged version is made of. Raises `WouldRemove`, and the errors of `keep_live`.
    """
    code = replace(code, include=tuple(sorted({*code.include, *include})))
    plan = plan_replacement(code, staged, include, mode)
    return {**keep_live(code, note, created, in_use), "plan": plan.to_json()}


def put_in_place(
    code: AppCode,
    staged: Path,
    plan: Document,
    hook: Callable[[str], None] = lambda _step: None,
) -> Document:
    """Swap the staged files in, as `prepare` planned it.

    Raises an error when it couldn't be done; the old files are in place then.
    """
    replacement = Replacement(**plan)
    check_unchanged(code, replacement)
    swap.begin(
        code.path,
        staged,
        include=replacement.include,
        old_paths=replacement.old,
        new_paths=replacement.new,
        hook=hook,
    )
    return {}


def make_final(code: AppCode, plan: Document) -> Document:
    """Make the new files final, and note which of them were not there before."""
    swap.commit(code.path)
    old, new = set(plan["old"]), set(plan["new"])
    code.store.change_notes(code.app, lambda notes: notes.with_created(new - old, old - new))
    return {}


def note_written(code: AppCode, paths: Collection[str]) -> Document:
    """Note files that the app has written itself: they are its data from now on."""
    code.store.change_notes(code.app, lambda notes: notes.with_written(paths))
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
