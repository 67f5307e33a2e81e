"""The reason of an error of the disk, in words that name the place."""

import errno
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: OSError) -> bool:
    """Return whether a file system, or what a user may take of it, is full."""
    return error.errno in _FULL


def reason(error: OSError, folder: Path) -> str:
    """Return why something in ``folder`` failed; of a full file system the place is named."""
    text = error.strerror or str(error)
    return f"{text}: the file system of {folder} is full" if is_full(error) else text
