"""Trees of /proc and /sys, unpacked from the files in tests/host/machines."""

import re
from pathlib import Path

from harness import REPOSITORY

MACHINES = REPOSITORY / "tests" / "host" / "machines"


def unpack(name: str, root: Path) -> Path:
    """Write the files of the machine ``name`` below ``root``; return that."""
    text = (MACHINES / f"{name}.txt").read_text(encoding="utf-8")
    parts = re.split(r"^== (\S+)\n", text, flags=re.MULTILINE)
    for path, content in zip(parts[1::2], parts[2::2], strict=True):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content.replace("\\0", "\0"), encoding="utf-8")
    for folder in ("var/lib/flask-supervisor", "media/root-ro"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    return root


def change(root: Path, path: str, content: str) -> None:
    """Write another content into a file of an unpacked machine."""
    (root / path).write_text(content, encoding="utf-8")
