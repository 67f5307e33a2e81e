"""Which module a Python file is, and from which folder it is imported: by its text and place."""

from pathlib import Path

from supervisor.source.app_scan import SourceFacts
from supervisor.source.required_module import has_source


def module_of(file: Path, root: Path, facts: SourceFacts) -> tuple[Path, str]:
    """Return the folder for the search path, and the module that ``file`` is with it.

    Packages are searched up to ``root``; ``facts`` has the imports of the file.
    """
    parts = [] if file.stem == "__init__" else [file.stem]
    folder = file.parent
    if folder != root and _is_package(folder, facts):
        parts.insert(0, folder.name)
        folder = folder.parent
        while folder != root and (folder / "__init__.py").is_file():
            parts.insert(0, folder.name)
            folder = folder.parent
    if not parts:  # the root itself is a package
        return folder.parent, folder.name
    return folder, ".".join(parts)


def _is_package(folder: Path, facts: SourceFacts) -> bool:
    """Return whether a source in ``folder`` is part of a package, and no script with its modules.

    A folder with an ``__init__.py`` is one, unless the source imports modules of it without a dot.
    A folder without is one if the source imports modules of it by the folder's name, or by a dot.
    """
    is_beside = False
    for name in facts.imported.values():
        top, _, inner = name.partition(".")
        if top in ("", folder.name):
            if has_source(folder, inner.partition(".")[0]):
                return True
        elif has_source(folder, top):
            is_beside = True
    return (folder / "__init__.py").is_file() and not is_beside
