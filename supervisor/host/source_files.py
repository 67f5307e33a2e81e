"""Reading the small text files of /proc and /sys; an absent or unreadable one is None."""

from collections.abc import Iterator
from pathlib import Path

_TEXT_MAX = 65536  # bytes; /proc/stat of a machine with many cores is the longest


def read_text(path: Path) -> str | None:
    """Return the stripped text of ``path``, None where it is absent, unreadable or empty.

    Device-tree strings end with a NUL byte, which is stripped too.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_TEXT_MAX)
    except OSError:  # absent, or a driver that answers EIO or ENODATA
        return None
    return content.decode("utf-8", "replace").strip("\0 \t\r\n") or None


def read_number(path: Path, *, base: int = 10) -> int | None:
    """Return the integer in ``path``, None where there is none."""
    text = read_text(path)
    if text is None:
        return None
    try:
        return int(text, base)
    except ValueError:
        return None


def folders(parent: Path, pattern: str) -> Iterator[Path]:
    """Yield what matches ``pattern`` in ``parent``, in order of names; none where absent."""
    try:
        yield from sorted(parent.glob(pattern))
    except OSError:
        return
