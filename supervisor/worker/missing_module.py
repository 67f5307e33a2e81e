"""Says what to do about a module that an import did not find: looks at the disk, then names pip."""

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path

# Modules whose package on PyPI has another name; those that are common on Raspberry Pis.
_PACKAGE_OF_MODULE = {
    "RPi": "RPi.GPIO",
    "PIL": "Pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "flask_sqlalchemy": "Flask-SQLAlchemy",
    "serial": "pyserial",
    "sklearn": "scikit-learn",
    "smbus": "smbus2",
    "socketio": "python-socketio",
    "yaml": "PyYAML",
    "zmq": "pyzmq",
}
_ENTRIES_MAX = 500  # of a folder
DEBIAN = "/usr/lib/python3/dist-packages"
_ENVIRONMENTS = (".venv", "venv", "env")
_SKIPPED = frozenset({"__pycache__", "node_modules", *_ENVIRONMENTS})


def hint(missing: str, path: Path, target: str, *, debian: str = DEBIAN) -> str:
    """Return the hint for a module that is ``missing`` for the app in the folder ``path``.

    It was not copied, has a slightly different name, lies elsewhere, or is a package. ``debian`` is
    where the packages of Debian's own Python are.
    """
    top, *rest = missing.split(".")
    if rest and (path / top).is_dir():
        return _inside_package(missing, path)
    if rest and top in sys.modules:
        return f"the installed {top} has no such module: is it the right version?"
    names = _modules_in(path)
    if close := _similar(top, names):
        module, _, attribute = target.partition(":")
        first, dot, inner = module.partition(".")
        if first == top:
            return f'write target = "{close}{dot}{inner}:{attribute}"'
        return f"did you mean {close}?"
    package = _PACKAGE_OF_MODULE.get(top, top)
    return (
        _other_name(top, path)
        or _elsewhere(top, path, target, debian)
        or f"copy {top}.py beside the app, or install the package: pip install {package}"
    )


def _inside_package(missing: str, path: Path) -> str:
    *parents, last = missing.split(".")
    if close := _similar(last, _modules_in(path.joinpath(*parents))):
        return f"did you mean {'.'.join([*parents, close])}?"
    return f"the file {missing.replace('.', '/')}.py is missing: was it copied?"


def _similar(name: str, names: list[str]) -> str | None:
    for one in names:
        if one.lower() == name.lower() or one.replace("-", "_") == name:
            return one
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.8)), None)


def _other_name(top: str, path: Path) -> str | None:
    """Return what to do about a file that was saved or downloaded under another name."""
    for entry in _entries(path):
        stem = entry.name.partition(".")[0].strip().lower()
        is_copy = stem.startswith((f"{top.lower()} (", f"{top.lower()}(", f"{top.lower()} -"))
        if entry.is_file() and (stem == top.lower() or is_copy):
            if entry.suffix == ".ipynb":
                return f"{entry.name} is a notebook: save it as {top}.py"
            if entry.suffix == ".pyc":
                return f"there is only the compiled {entry.name}: copy {top}.py"
            if ".py" in entry.name.lower():
                return f"rename {entry.name} to {top}.py"
    return None


def _elsewhere(top: str, path: Path, target: str, debian: str) -> str | None:
    """Return what to do about a module that lies where the app doesn't look."""
    for folder in _folders_below(path):
        if _holds(folder, top):
            shown = folder.relative_to(path)
            return f"it is in {shown}/: let `path` of this app end in /{shown}"
    if path.name == top and (path / "__init__.py").is_file():
        module, _, attribute = target.partition(":")
        return (
            f"`path` is inside the package {top}: let it be the folder above, and write "
            f'target = "{top}.{module}:{attribute}"'
        )
    for name in _ENVIRONMENTS:
        if any(_holds(site, top) for site in path.glob(f"{name}/lib/python3*/site-packages")):
            return f"it is installed in {name}/: let `python` name {name}/bin/python"
    if _holds(Path(debian), top) and debian not in sys.path:
        return (
            "it is installed for Debian's own Python: make the app an environment that sees it, "
            "python3 -m venv --system-site-packages .venv, and let `python` name .venv/bin/python"
        )
    return None


def _folders_below(path: Path) -> Iterator[Path]:
    for folder in _entries(path):
        if folder.is_dir() and folder.name not in _SKIPPED and not folder.name.startswith("."):
            yield folder
            yield from (
                inner
                for inner in _entries(folder)
                if inner.is_dir() and inner.name.isidentifier() and inner.name not in _SKIPPED
            )


def _holds(folder: Path, module: str) -> bool:
    try:
        return (folder / f"{module}.py").is_file() or (folder / module / "__init__.py").is_file()
    except OSError:
        return False


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())[:_ENTRIES_MAX]
    except OSError:
        return []


def _modules_in(folder: Path) -> list[str]:
    return [
        entry.stem
        for entry in _entries(folder)
        if entry.suffix == ".py" or (entry / "__init__.py").exists()
    ]
