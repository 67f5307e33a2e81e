"""What another user may reach, and how a child of root becomes that user."""

import grp
import os
import pwd
from collections.abc import Iterable
from pathlib import Path

from supervisor.process.prctl import allow_own_proc, die_with_parent


def become(user: str, groups: Iterable[str] = ()) -> None:
    """Go on as ``user``, with that user's groups and home, and further ``groups``; for a child.

    Raises KeyError when there is no such user or group, OSError when this isn't root.
    """
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgroups([*os.getgroups(), *(grp.getgrnam(group).gr_gid for group in groups)])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    die_with_parent()  # prctl(2): the kernel forgets it with a change of the user
    allow_own_proc()
    os.environ.update(environment(user))


def environment(user: str) -> dict[str, str]:
    """Return the variables that name ``user``, as systemd.exec(5) sets them."""
    return {"HOME": pwd.getpwnam(user).pw_dir, "USER": user, "LOGNAME": user}


def barrier(path: Path) -> Path | None:
    """Return what this user may not enter or read on the way to ``path``, None for nothing.

    Links are followed. A missing file is no barrier.
    """
    return _barrier(path) or _barrier(Path(os.path.realpath(path)))


def _barrier(path: Path) -> Path | None:
    for one in [*reversed(path.parents), path]:
        if not os.path.lexists(one):
            return None
        if os.path.islink(one):
            continue  # it is followed afterwards
        wanted = os.R_OK if one == path else 0
        if not os.access(one, wanted | (os.X_OK if os.path.isdir(one) else 0)):
            return one
    return None


def owner_of(path: Path) -> str:
    """Return the name of the user who owns ``path``; "another user" where it isn't known."""
    try:
        return path.owner()
    except (KeyError, OSError):
        return "another user"
