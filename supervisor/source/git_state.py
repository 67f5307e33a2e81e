"""Asks git which commit an app's files were checked out from, and whether they are as committed.

git runs programs that a repository's configuration names, as the user that runs git
(CVE-2022-24765). So it is called only for repositories that no user but root and our own can
change, without the configuration of the system and the user, with hooks, file system monitor,
pager, transports and credentials off. ``git status`` prints no differences, so no external diff
and no textconv runs. Filters can't be switched off: where one is configured, ``dirty`` is null.
"""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_OVERRIDES = (  # git-config(1)
    *("core.fsmonitor=false", "core.hooksPath=/dev/null", "core.pager=cat"),
    *("core.untrackedCache=false", "core.askPass=", "core.sshCommand=false"),
    *("credential.helper=", "protocol.allow=never", "submodule.recurse=false"),
    *("status.submoduleSummary=false", "diff.external=", "gc.auto=0", "maintenance.auto=false"),
)
_ENVIRONMENT = {  # git(1); nothing else is passed on, HOME neither
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
_RUNS_OR_READS_OTHERS = r"^(filter|include|includeif)\."
_POINTER_MAX = 4096  # bytes of a file that holds a path


def git_state(
    root: Path, include: Iterable[str], *, timeout_s: float = 10.0
) -> dict[str, Any] | None:
    """Return ``commit`` and ``dirty`` of the entries ``include`` below ``root``.

    ``dirty`` is true when one of them differs from the commit or is not in it, null when that is
    not known. None without a checkout, without git, or if another user could change the
    repository. Runs git up to three times, each for at most ``timeout_s``: call it in a child.
    """
    root = Path(os.path.realpath(root))
    program = shutil.which("git")
    found = _find(root)
    if found is None or program is None or not os.path.isabs(program):
        return None
    top, repository = found
    command = [program, f"--git-dir={repository}", f"--work-tree={top}", "-C", str(root)]
    command += ["--no-pager", "--literal-pathspecs"]
    command += [word for override in _OVERRIDES for word in ("-c", override)]
    _, commit = _run([*command, "rev-parse", "--verify", "--quiet", "HEAD"], timeout_s)
    if not commit:
        return None
    return {"commit": commit, "dirty": _is_dirty(command, include, timeout_s)}


def _is_dirty(command: list[str], include: Iterable[str], timeout_s: float) -> bool | None:
    query = ["config", "--name-only", "--get-regexp", _RUNS_OR_READS_OTHERS]
    if _run([*command, *query], timeout_s)[0] != 1:  # 1: none of these keys is set
        return None
    status = ["status", "--porcelain", "--no-renames", "--untracked-files=all", "--ignored=no"]
    status += ["--ignore-submodules=all", "--", *include]
    code, changes = _run([*command, *status], timeout_s)
    return bool(changes) if code == 0 else None


def _run(command: list[str], timeout_s: float) -> tuple[int | None, str]:
    """Return the exit code and the output; the code is None if git did not end in time."""
    environment = {**_ENVIRONMENT, "PATH": os.environ.get("PATH", os.defpath)}
    try:
        done = subprocess.run(
            command,
            cwd="/",
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None, ""
    return done.returncode, done.stdout.decode("utf-8", "replace").strip()


def _find(folder: Path) -> tuple[Path, Path] | None:
    """Return the top of the checkout and the repository's folder (gitrepository-layout(5)).

    None if there is none, or if it is not safe to let git read it.
    """
    try:
        for top in (folder, *folder.parents):
            entry = top / ".git"
            if os.path.lexists(entry):
                repository = _named_in(entry, "gitdir: ") if entry.is_file() else entry
                return (top, repository) if _is_safe(entry, repository) else None
    except OSError:
        return None
    return None


def _is_safe(entry: Path, repository: Path) -> bool:
    """Return whether only root and our user can change a repository, and the way to it."""
    shared = repository
    if _is_ours(repository) and (repository / "commondir").exists():  # of a linked worktree
        shared = _named_in(repository / "commondir", "")
    folders = {repository, shared}
    files = [folder / name for folder in folders for name in os.listdir(folder)]
    files += [path for folder in folders for path in (folder / "info").glob("*")]
    return all(map(_is_ours, [entry, *folders, *files]))


def _is_ours(path: Path) -> bool:
    """Return whether a path and all folders on the way belong to root or our user.

    Links count as not ours, and so do folders that everybody may write to; the sticky bit keeps
    others from replacing what is in them (inode(7)).
    """
    for part in (path, *path.parents):
        status = part.lstat()
        is_open = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
        if status.st_uid not in (0, os.geteuid()) or stat.S_ISLNK(status.st_mode) or is_open:
            return False
    return True


def _named_in(file: Path, prefix: str) -> Path:
    """Return the path that a file of git names."""
    with file.open("rb") as stream:
        text = os.fsdecode(stream.read(_POINTER_MAX)).strip()
    if not text.startswith(prefix):
        raise OSError(f"{file} names no repository")
    return Path(os.path.normpath(file.parent / text.removeprefix(prefix)))
