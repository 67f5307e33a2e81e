"""Tells which commit an app's files were checked out from, and whether they are as committed.

The commit is read from the repository's own files, so it is known where no git is installed;
only what was changed since is left to git, in a child with a time limit. Looking never fails: what
can't be known is null.
"""

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_FILE_MAX = 4 * 1024 * 1024
_LINKS_MAX = 5  # a reference names a reference at most so often


def git_state(
    root: Path, include: Iterable[str], *, timeout_s: float = 10.0
) -> dict[str, Any] | None:
    """Give ``commit`` and ``dirty`` of the entries ``include`` below ``root``; None: no checkout.

    ``dirty`` is true when one of them differs from the commit, or isn't in it; null when git can't
    tell. Starts a process: only to be called in a child.
    """
    found = _find(Path(os.path.realpath(root)))
    if found is None:
        return None
    top, repository = found
    commit = _commit(repository)
    if commit is None:
        return None
    return {"commit": commit, "dirty": _is_dirty(root, top, include, timeout_s)}


def _find(folder: Path) -> tuple[Path, Path] | None:
    """Give the top of the checkout and the repository's folder (gitrepository-layout(5))."""
    for top in (folder, *folder.parents):
        entry = top / ".git"
        if entry.is_dir():
            return top, entry
        text = _read(entry)
        if text is not None and text.startswith("gitdir: "):  # a worktree, or a submodule
            return top, Path(os.path.normpath(top / text.removeprefix("gitdir: ").strip()))
    return None


def _commit(repository: Path) -> str | None:
    common = _read(repository / "commondir")
    shared = repository if common is None else Path(os.path.normpath(repository / common.strip()))
    text = _read(repository / "HEAD")
    for _ in range(_LINKS_MAX):
        if text is None:
            return None
        word = text.strip()
        if not word.startswith("ref: "):
            return word if _COMMIT.fullmatch(word) else None
        name = word.removeprefix("ref: ")
        if not name.startswith("refs/") or ".." in name:
            return None
        text = _read(repository / name) or _read(shared / name) or _packed(shared, name)
    return None


def _packed(repository: Path, name: str) -> str | None:
    for line in (_read(repository / "packed-refs") or "").splitlines():
        commit, _, found = line.partition(" ")
        if found == name:
            return commit
    return None


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            return stream.read(_FILE_MAX).decode("utf-8", "replace")
    except OSError:
        return None


def _is_dirty(root: Path, top: Path, include: Iterable[str], timeout_s: float) -> bool | None:
    """Ask git; nothing that the repository configures is run, and nothing is written."""
    safe = f"safe.directory={top}"  # it may belong to another user: we run its code anyway
    command = ["git", "-c", safe, "-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false"]
    command += ["status", "--porcelain", "--ignored=no", "--untracked-files=all", "--", *include]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_OPTIONAL_LOCKS": "0",
        "LC_ALL": "C",
    }
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return bool(done.stdout.strip()) if done.returncode == 0 else None
