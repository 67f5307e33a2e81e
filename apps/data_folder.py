"""What both apps keep in a folder of their own: a lock, a secret key, files written whole."""

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

_KEY_FILE = "secret_key"
_KEY_DIGITS = 64


@contextlib.contextmanager
def prepared_by_one(folder: Path) -> Iterator[None]:
    """Create ``folder`` and hold its lock inside the ``with`` block.

    The kernel releases the lock when its holder exits, so the wait lasts no longer than the start
    of another process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def secret_key(folder: Path) -> str:
    """Return the key in ``folder``; create it at the first start. The caller holds the lock."""
    path = folder / _KEY_FILE
    with contextlib.suppress(FileNotFoundError):
        key = path.read_text(errors="replace")
        if re.fullmatch(f"[0-9a-f]{{{_KEY_DIGITS}}}", key):  # else a power cut truncated it
            return key
    key = secrets.token_hex(_KEY_DIGITS // 2)
    write_whole(path, key)
    return key


def write_whole(path: Path, text: str) -> None:
    """Replace ``path`` by a file with ``text`` for its owner only; the caller holds the lock.

    After an error or a power cut the old one remains. Raises OSError.
    """
    whole = path.with_name(f"{path.name}.new")
    whole.unlink(missing_ok=True)
    with open(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    whole.rename(path)
