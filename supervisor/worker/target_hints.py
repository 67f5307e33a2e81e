"""Says what to write in place of a target that names no app: looks at the module and beside it.

Needs the standard library alone, because a worker may run on the interpreter of the app's own
virtual environment.
"""

import difflib
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from supervisor.source.built_in import hidden_text
from supervisor.values.targets import is_target, quoted

if TYPE_CHECKING:
    from supervisor.source.app_scan import SourceFacts

_NO_APP = "no Flask app was found in it; correct `target` in the configuration"
_RETURN = "let the function return the app"
_FILES_MAX = 50  # of a folder that are read


def write(target: str) -> str:
    """Return the advice to write ``target``."""
    return f"write target = {quoted(target)}"


def absent(owner: object, name: str) -> str:
    """Return what to do when ``owner`` lacks the attribute ``name`` of the target."""
    hint = _absent_of_module(owner, name) if isinstance(owner, ModuleType) else None
    close = similar(name, [one for one in dir(owner) if one[0] != "_"])
    return hint or (f"did you mean {close}?" if close else _NO_APP)


def _absent_of_module(module: ModuleType, name: str) -> str | None:
    if module.__name__ == "__main__":
        return "__main__ is flask-supervisor here: name the module of the app's file"
    if hiding := _other_module(module):
        return hiding
    apps = dict(apps_in(module))
    close = similar(name, list(apps))
    if close or len(apps) == 1:
        return write(f"{module.__name__}:{apps[close or next(iter(apps))]}")
    if apps:
        return instead(module)
    return _unreached(scan(module), name) or _in_package(module)


def _other_module(module: ModuleType) -> str | None:
    """Return the hint if the import found another module than the app's own file."""
    top = module.__name__.partition(".")[0]
    file = _file_of(module)
    if file is not None and file.name == "__init__.py" and file.parent.with_suffix(".py").exists():
        return f"the folder {top}/ hides the file {top}.py: rename one of them"
    if top not in sys.stdlib_module_names or (file is not None and file.is_relative_to(Path.cwd())):
        return None
    own = Path(f"{top}.py")  # the working folder is the app's `path`
    if own.exists():
        return hidden_text(own.name)
    return f"{top} is a module of Python itself, and `path` has no {own}: {instead_in(Path())}"


def _unreached(facts: "SourceFacts", name: str) -> str | None:
    """Return the hint for an app that the source makes where an import doesn't get it."""
    if name in facts.guarded:
        return (
            f'{name} is made under if __name__ == "__main__": and an import skips that; make it '
            "above, and leave only app.run() there"
        )
    if name in facts.local:
        return (
            f"{name} is made inside of {facts.local[name]}(): make it outside, or let that "
            "function return it, and name the function with ()"
        )
    for app in facts.apps:
        if app.name == name:
            return (
                f"line {app.line} makes it, but the import did not get there: look at the "
                "condition or the except around it"
            )
    return None


def _in_package(module: ModuleType) -> str | None:
    found = apps_beside(map(Path, getattr(module, "__path__", [])), f"{module.__name__}.")
    return one_of(found) if found else None


def instead(module: ModuleType, path: str = "") -> str:
    """Return the hint that names the apps of the module; ``path`` is the target's."""
    apps = [f"{module.__name__}:{app}" for app in dict(apps_in(module)).values()]
    if apps and apps != [path]:
        return one_of(apps)
    if path.endswith(")"):
        return _RETURN
    return "let the target name the Flask object, or the function that makes it with ()"


def instead_in(folder: Path) -> str:
    """Return the hint that names the apps in the modules of a folder."""
    return one_of(apps_beside([folder])) or "correct `target` in the configuration"


def one_of(found: Sequence[str]) -> str:
    """Return the advice to write one of the targets that were found."""
    if len(found) == 1:
        return write(found[0])
    return "it has: " + ", ".join(found) if found else ""


def apps_beside(folders: "Iterator[Path] | Sequence[Path]", prefix: str = "") -> list[str]:
    """Return the targets of the apps in the modules of ``folders``, which are read and not run."""
    found = []
    for folder in folders:
        for file in islice(sorted(folder.glob("*.py")), _FILES_MAX):
            for app in _scan_file(file).apps:
                if app.interface == "WSGI" and not app.needs_arguments:
                    name = prefix.rstrip(".") if file.stem == "__init__" else prefix + file.stem
                    found.append(f"{name}:{app.name}{'()' if app.is_factory else ''}")
    return [one for one in found if is_target(one)]


def similar(name: str, names: list[str], *, cutoff: float = 0.6) -> str | None:
    """Return which of ``names`` differs from ``name`` in its case, or else resembles it.

    ``cutoff``: how much, from 0 to 1; see `difflib.get_close_matches`.
    """
    for one in names:
        if one.lower() == name.lower():
            return one
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=cutoff)), None)


def apps_in(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Yield the apps of a module, and then its factories: the name, and how a target writes it."""
    names = vars(module)
    for name, value in names.items():
        if is_flask(value) and not name.startswith("_"):
            yield name, name
    for app in scan(module).apps:
        if app.interface != "WSGI" or app.name.partition(".")[0] not in names:
            continue
        if app.is_factory:
            yield app.name, f"{app.name}({'...' if app.needs_arguments else ''})"
        elif names[app.name.partition(".")[0]] is not None:
            yield app.name, app.name


def is_flask(value: object) -> bool:
    """Return whether ``value`` is a Flask object."""
    return hasattr(type(value), "wsgi_app")  # of the type: a proxy may raise anything


def scan(module: ModuleType) -> "SourceFacts":
    """Return what the source of a module has."""
    return _scan_file(_file_of(module))


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file) if isinstance(file, str) else None


def _scan_file(file: Path | None) -> "SourceFacts":
    from supervisor.source import app_scan  # for a wrong target only

    try:
        return app_scan.scan(b"" if file is None else file.read_bytes())
    except (OSError, ValueError):
        return app_scan.SourceFacts()
