"""What the hints for a failed import look at."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple


class Failure(NamedTuple):
    """A failed import: the exception and its text, the app's folder, its target.

    ``files`` are those of the frames, ``missing`` is the module that wasn't found, ``is_timeout``
    says that the import took too long.
    """

    error: BaseException
    text: str
    path: Path
    target: str
    files: Collection[str]
    missing: str | None = None
    is_timeout: bool = False

    @property
    def module(self) -> str:
        """The module of the target."""
        return self.target.partition(":")[0]

    def is_in(self, *ends: str) -> bool:
        """Return whether it was raised in, or below, a file whose name ends with one of these."""
        return any(file.endswith(ends) for file in self.files)
