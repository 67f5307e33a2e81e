"""The code of one app: where it lies, what belongs to it, and where its releases are."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from supervisor.releases.app_data import AppData, is_code_by_name
from supervisor.releases.release import ReleaseError
from supervisor.releases.store import Releases
from supervisor.source import file_tree
from supervisor.source.file_tree import Tree, TreeError

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class AppCode:
    """The code of one app below ``path``.

    ``include`` names the entries that belong to it; ``exclude`` has patterns of files that never
    do; ``others`` are the entries of apps with the same folder.
    """

    app: str
    path: Path
    include: tuple[str, ...]
    state_dir: Path
    others: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def store(self) -> Releases:
        """The store of its releases."""
        return Releases(self.state_dir / "releases")

    @cached_property
    def data(self) -> AppData:
        """Which files are the app's data, as known when it is asked for first."""
        return AppData(self.exclude, self.store.notes(self.app).written)

    def scan(self, root: Path | None = None, include: Collection[str] = ()) -> Tree:
        """Return its files, or those of another version of it at ``root``; raises `TreeError`."""
        return file_tree.scan(
            root or self.path,
            include or self.include,
            skip=[str(self.state_dir)],
            home=self.path,
            is_data=self.data.holds,
        )

    def scan_as_imported(self, before: Mapping[str, str] | None) -> Tree:
        """Return the files that it was imported from; raises `TreeError`.

        ``before`` are the stamps from before the import, None if they don't matter. Files that
        came since are left out, unless they are code; raises `ReleaseError` for those that changed.
        """
        tree = self.scan()
        if before is None:
            return tree
        known = [file for file in tree.files if file.path in before or is_code_by_name(file.path)]
        for file in known:
            if before.get(file.path) != file.stamp:
                raise self._changed(file.path)
        lost = self._below(tree.include, before) - {file.path for file in known}
        if lost:
            raise self._changed(min(lost))
        return Tree(root=tree.root, include=tree.include, files=tuple(known))

    def _below(self, include: Collection[str], paths: Collection[str]) -> set[str]:
        return {
            path
            for path in paths
            if not self.data.holds(path)
            and any(one in (".", path) or path.startswith(f"{one}/") for one in include)
        }

    def _changed(self, path: str) -> ReleaseError:
        return ReleaseError(
            f"{path} has changed since app '{self.app}' started",
            hint=f"what runs isn't what is on the disk: flask-supervisor reload {self.app}",
        )

    def is_unchanged(self, tree: Tree) -> bool:
        """Return whether the live files still have the stamps of ``tree``."""
        try:
            now = self.scan(include=tree.include).stamps
        except TreeError:
            return False
        return all(now.get(path) == stamp for path, stamp in tree.stamps.items())
