"""The code of one app: where it lies, what belongs to it, and where its releases are."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.releases.release import ReleaseError
from supervisor.releases.store import Releases
from supervisor.source import file_tree
from supervisor.source.file_tree import Tree, TreeError

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppCode:
    """The code of one app below ``path``.

    ``include`` names the entries that belong to it; ``others`` those that belong to apps with the
    same folder.
    """

    app: str
    path: Path
    include: tuple[str, ...]
    state_dir: Path
    others: tuple[str, ...] = ()

    @property
    def store(self) -> Releases:
        """The store of its releases."""
        return Releases(self.state_dir / "releases")

    def scan(self, root: Path | None = None, include: Collection[str] = ()) -> Tree:
        """Return its files, or those of another version of it at ``root``; raises `TreeError`."""
        chosen = include or self.include
        return file_tree.scan(root or self.path, chosen, skip=[str(self.state_dir)], home=self.path)

    def scan_as_imported(self, before: Mapping[str, str] | None) -> Tree:
        """Return its files; raises `TreeError`, and `ReleaseError` for files that changed.

        ``before`` are the fingerprints from before the app imported them, None if they don't
        matter: with another one now, the files are not what runs.
        """
        tree = self.scan()
        if before is not None:
            for entry, fingerprint in tree.fingerprints.items():
                if before.get(entry) != fingerprint:
                    raise ReleaseError(
                        f"{entry} has changed since app '{self.app}' started",
                        hint="what runs isn't what is on the disk: "
                        f"flask-supervisor reload {self.app}",
                    )
        return tree

    def is_unchanged(self, tree: Tree) -> bool:
        """Return whether the live files still have the fingerprints of ``tree``."""
        try:
            return self.scan(include=tree.include).fingerprints == tree.fingerprints
        except TreeError:
            return False
