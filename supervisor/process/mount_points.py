"""Where file systems are mounted, as this process sees it."""

import os
import re
from pathlib import Path

_OCTAL = re.compile(rb"\\([0-7]{3})")


def mount_points() -> set[str]:
    """Return the paths on which something is mounted; proc_pid_mountinfo(5). Raises OSError.

    `os.path.ismount` compares device numbers, and takes each file of an overlay for one.
    """
    lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    return {_plain(line.split(b" ")[4]) for line in lines}


def _plain(quoted: bytes) -> str:
    """Return a path without the octal numbers that stand for spaces and the like."""
    return os.fsdecode(_OCTAL.sub(lambda found: bytes([int(found[1], 8)]), quoted))
