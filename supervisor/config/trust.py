"""Whether root may use a configuration file that it came across: who could have written it."""

import pwd
import shlex
import stat
from pathlib import Path

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def why_distrusted(file: Path, trusted: set[int]) -> tuple[str, str] | None:
    """Return why others than the ``trusted`` users (uids) could have written ``file``.

    The reason comes with a command that changes it; None if nobody else could. Links are followed,
    and the folders on the way checked as well. Raises OSError.
    """
    seen: list[Path] = []
    for path in (file.absolute(), file.resolve()):
        seen += [one for one in (path, *path.parents) if one not in seen]
    for path in seen:
        distrusted = _why(path, trusted)
        if distrusted is not None:
            return distrusted
    return None


def _why(path: Path, trusted: set[int]) -> tuple[str, str] | None:
    status = path.lstat()
    what = "folder" if stat.S_ISDIR(status.st_mode) else "file"
    quoted = shlex.quote(str(path))
    if status.st_uid not in trusted:
        return f"the {what} {path} belongs to {_name(status.st_uid)}", f"chown root {quoted}"
    is_sticky = what == "folder" and status.st_mode & stat.S_ISVTX
    if status.st_mode & _OTHERS and not is_sticky and not stat.S_ISLNK(status.st_mode):
        return f"others may write to the {what} {path}", f"chmod go-w {quoted}"
    return None


def _name(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"uid {uid}"
