"""Which files below an app's folder are its data: no release holds them, no deploy removes them."""

import fnmatch
from collections.abc import Collection

_CODE = (".py", ".pyi", ".so", ".pth")
_TEMPLATES = "templates"


class AppData:
    """The files that match the patterns ``exclude``, and those that the app has ``written``.

    A pattern matches a path below the app's folder, a folder with all that lies in it, or, without
    a slash, any name. A path of ``written`` that ends with a slash stands for a whole folder.
    """

    def __init__(self, exclude: Collection[str], written: Collection[str]) -> None:
        self._exclude = exclude
        self._files = {path for path in written if not path.endswith("/")}
        self._folders = tuple(path for path in written if path.endswith("/"))

    def holds(self, path: str) -> bool:
        """Return whether the file ``path``, relative to the app's folder, is data."""
        if self._exclude and self._is_excluded(path):
            return True
        if path in self._files:
            return True
        return path.startswith(self._folders) and not is_code_by_name(path)

    def _is_excluded(self, path: str) -> bool:
        parts = path.split("/")
        wholes = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        return any(
            fnmatch.fnmatchcase(name, pattern.rstrip("/"))
            for pattern in self._exclude
            for name in (wholes if "/" in pattern.rstrip("/") else parts)
        )


def is_code_by_name(path: str) -> bool:
    """Return whether a file is code whoever brought it: a module, or a template."""
    return path.endswith(_CODE) or _TEMPLATES in path.split("/")[:-1]
