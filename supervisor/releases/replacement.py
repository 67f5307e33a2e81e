"""Which files a deploy or a rollback replaces, adds and removes, and which stay."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from supervisor.releases.app_code import AppCode, Document
from supervisor.releases.app_data import is_code_by_name
from supervisor.releases.release import ReleaseError
from supervisor.source import file_tree

_NAMED = 5  # files in a message


class WouldRemove(ReleaseError):
    """A deploy would remove files that SOURCE lacks, and was not asked to."""

    def __init__(self, app: str, paths: Collection[str]) -> None:
        super().__init__(
            f"SOURCE lacks {named(paths)}, which app '{app}' has",
            hint="--delete removes what SOURCE lacks; --only replaces only what SOURCE has",
        )
        self.paths = sorted(paths)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How a version takes the place of another one.

    ``only``: nothing is removed. ``delete``: what the new version lacks is removed without a
    question. ``is_rollback``: what deploys have created since is removed, and nothing else.
    """

    only: bool = False
    delete: bool = False
    is_rollback: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """The files below the app's folder that change, in the entries ``include``.

    ``old`` leave their places, ``new`` come into them; ``stamps`` are those of the live code.
    ``data`` are files of the new version that stay as the app has written them.
    """

    include: tuple[str, ...]
    old: tuple[str, ...]
    new: tuple[str, ...]
    stamps: dict[str, str]
    data: tuple[str, ...] = ()

    def to_json(self) -> Document:
        """Return a JSON object that the constructor takes."""
        return {
            "include": list(self.include),
            "old": list(self.old),
            "new": list(self.new),
            "stamps": self.stamps,
            "data": list(self.data),
        }


def plan_replacement(
    code: AppCode, staged: Path, include: Collection[str], mode: Mode
) -> Replacement:
    """Return what putting the staged version in place changes; raises `WouldRemove`."""
    chosen = {*code.include, *include}
    chosen -= {entry for entry in code.others if not os.path.lexists(staged / entry)}
    live = code.scan(include=chosen)
    stamps = live.stamps
    everything = {file.path for file in file_tree.scan(staged, chosen, home=code.path).files}
    data = {
        path for path in everything if code.data.holds(path) and os.path.lexists(code.path / path)
    }
    new = everything - data
    lacking = stamps.keys() - new
    return Replacement(
        include=live.include,  # without entries that lie in another one
        old=tuple(sorted((stamps.keys() & new) | _removed(code, lacking, mode))),
        new=tuple(sorted(new)),
        stamps=stamps,
        data=tuple(sorted(data)),
    )


def _removed(code: AppCode, lacking: Collection[str], mode: Mode) -> set[str]:
    if mode.only:
        return set()
    if mode.is_rollback:
        return {path for path in lacking if path in code.store.notes(code.app).created}
    released = {
        entry.path for release in code.store.all_of(code.app) for entry in release.manifest.entries
    }
    # a file of no release that no module is: nobody says that it came with the code
    removed = {path for path in lacking if is_code_by_name(path) or path in released}
    if removed and not mode.delete:
        raise WouldRemove(code.app, removed)
    return removed


def check_unchanged(code: AppCode, plan: Replacement) -> None:
    """Raise `ReleaseError` if somebody has changed the live code since the plan was made."""
    now = code.scan(include=plan.include).stamps
    new_code = {path for path in now.keys() - plan.stamps.keys() if is_code_by_name(path)}
    changed = {path for path in plan.old if now.get(path) != plan.stamps.get(path)} | new_code
    if changed:
        raise ReleaseError(
            f"{named(changed)} of app '{code.app}' changed while it was being replaced",
            hint="repeat it when nobody else is working on them",
        )


def named(paths: Collection[str]) -> str:
    """Return the first few of the paths, and how many more there are, for a message."""
    first = sorted(paths)[:_NAMED]
    more = f" and {len(paths) - len(first)} more" if len(paths) > len(first) else ""
    return ", ".join(first) + more
